"""What the spelling of a word says: a convolution over its bytes (Ma & Hovy 2016, section 2.1).

Shapes: B sentences, W words, C bytes of a word, T tokens, F filters, D model width.
"""

import torch
from torch import Tensor, nn

WIDTH = 3  # bytes that a filter sees, as in the paper
NUM_BYTES = 256


class Spelling(nn.Module):
    """Features of words from their bytes, to be added to the embeddings of their first tokens.

    Bytes of UTF-8 take the place of the paper's characters: no vocabulary has to be fitted, and no
    character is unknown. Features begin as zeros, so that a pretrained encoder begins as it is.

    Args:
        size: width of a byte's embedding, and number of filters; 30 in the paper, section 3.2.
        d_model: D.
    """

    def __init__(self, size: int, d_model: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(NUM_BYTES, size)
        self.filters = nn.Conv1d(size, size, WIDTH, padding=WIDTH // 2)
        self.output = nn.Linear(size, d_model)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, spelling: Tensor, sizes: Tensor, firsts: Tensor, length: int) -> Tensor:
        """(B, W, C) bytes, (B, W) their numbers, (B, W) columns -> (B, T, D).

        Args:
            spelling: uint8.
            sizes: bytes of each word; 0: its features are 0.
            firsts: column of each word's first token; 0 where there is no word.
            length: T.
        """
        is_word = sizes > 0
        real = torch.arange(spelling.shape[2], device=spelling.device) < sizes[is_word][:, None]
        x = self.embed(spelling[is_word].long()) * real[..., None]  # (words, C, F)
        x = self.filters(x.transpose(1, 2))
        x = x.masked_fill(~real[:, None], -torch.inf)  # of what stands after a word nothing is seen
        features = self.output(torch.relu(x.amax(dim=2)))  # (words, D)
        placed: Tensor = features.new_zeros(*firsts.shape[:1], length, features.shape[-1])
        rows = torch.arange(len(firsts), device=firsts.device)[:, None].expand_as(firsts)
        return placed.index_put((rows[is_word], firsts[is_word]), features)
