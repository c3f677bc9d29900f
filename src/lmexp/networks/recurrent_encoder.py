"""Bidirectional recurrent encoder (Schuster & Paliwal 1997).

Shapes: B sequences, S tokens, D model width, V vocabulary.
"""

import torch
from torch import Tensor, nn

from lmexp.networks.layers import Dropout, LockedDropout
from lmexp.networks.segments import (
    Cell,
    count_states,
    initialise_biases,
    make_layer,
    run_layer,
)


class BidirectionalLayer(nn.Module):
    """One recurrent layer in each direction, their outputs side by side (Schuster & Paliwal 1997).

    Each is D / 2 wide, so that stacked layers, keys and contexts are D wide without a projection;
    of an odd D the first takes one more.

    Args:
        cell: rnn, lstm or gru.
        d_model: D.
    """

    def __init__(self, cell: Cell, d_model: int) -> None:
        super().__init__()
        self.left_to_right = make_layer(cell, d_model, d_model - d_model // 2)
        self.right_to_left = make_layer(cell, d_model, d_model // 2)

    def forward(self, x: Tensor, mirror: Tensor) -> Tensor:
        """(B, S, D) -> (B, S, D).

        Padding follows the real tokens in both directions, where none of them sees it: faster than
        a packed batch, in the proportion of 1.4 on a CPU.

        Args:
            x: (B, S, D).
            mirror: (B, S) int64, the columns with each row's real tokens in reverse.
        """
        rows = torch.arange(len(x), device=x.device)[:, None]
        ahead = _run(self.left_to_right, x)
        back = _run(self.right_to_left, x[rows, mirror])[rows, mirror]
        return torch.cat([ahead, back], dim=-1)


def _run(layer: nn.RNNBase, x: Tensor) -> Tensor:
    dtype = next(layer.parameters()).dtype
    zeros = x.new_zeros(count_states(layer), len(x), layer.hidden_size, dtype=dtype)
    return run_layer(layer, x, zeros.unbind())[0]


def mirrored(mask: Tensor) -> Tensor:
    """(B, S) bool, True on real tokens -> (B, S) columns, those of the real ones in reverse."""
    columns = torch.arange(mask.shape[1], device=mask.device)
    lengths = mask.sum(dim=1, keepdim=True)
    return torch.where(mask, lengths - 1 - columns, columns)


class RecurrentEncoder(nn.Module):
    """Embedding and stacked layers that read in both directions.

    Args:
        vocab_size: V.
        Others: those of Recurrent.
    """

    def __init__(
        self,
        vocab_size: int,
        cell: Cell,
        d_model: int,
        num_layers: int,
        dropout: float,
        variational: bool,
    ) -> None:
        super().__init__()
        self.d_model = d_model
        self.embed = nn.Embedding(vocab_size, d_model)
        self.dropout = LockedDropout(dropout) if variational else Dropout(dropout)
        self.layers = nn.ModuleList(BidirectionalLayer(cell, d_model) for _ in range(num_layers))
        nn.init.uniform_(self.embed.weight, -0.1, 0.1)  # as RecurrentDecoder's
        for layer in self.layers.modules():
            if isinstance(layer, nn.RNNBase):
                initialise_biases(layer)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        segment_ids: Tensor | None = None,
        features: Tensor | None = None,
    ) -> Tensor:
        """(B, S) token ids -> (B, S, D); no token sees padding, which is on the right.

        segment_ids are accepted and unused: a recurrent network reads where a segment ends.
        features (B, S, D) are added to the embeddings.
        """
        mask = torch.ones_like(input_ids, dtype=torch.bool)
        mirror = mirrored(mask if attention_mask is None else attention_mask)
        x = self.embed(input_ids) if features is None else self.embed(input_ids) + features
        for layer in self.layers:
            x = layer(self.dropout(x), mirror)
        dropped: Tensor = self.dropout(x)
        return dropped
