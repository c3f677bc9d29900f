"""An encoder that tags words at their first tokens (Devlin et al. 2019, section 5.3).

Shapes: B windows, T tokens, W words, K tags, D model width.
"""

from typing import Any

import torch
from torch import Tensor, nn

from lmexp.batch import TagBatch
from lmexp.networks.crf import LinearChainCRF, iob2_rules
from lmexp.networks.layers import Dropout
from lmexp.networks.spelling import Spelling
from lmexp.tasks.encoding import OverEncoder, initialised


class TagNetwork(OverEncoder):
    """An encoder, a linear layer over the first token of each word, and perhaps a CRF after it.

    Args:
        encoder: as networks.interface.Encoder.
        labels: the tags, IOB2.
        spelling_size: of features from the bytes of words (networks.spelling); 0: none.
        crf: score whole taggings, of which those that IOB2 does not know are never given
            (Lample et al. 2016, section 2.2).
        dropout: on what the linear layer reads.
    """

    def __init__(
        self,
        encoder: Any,
        labels: tuple[str, ...],
        *,
        spelling_size: int,
        crf: bool,
        dropout: float,
    ) -> None:
        super().__init__(encoder)
        d_model: int = encoder.d_model
        self.spelling = Spelling(spelling_size, d_model) if spelling_size else None
        self.dropout = Dropout(dropout)
        self.head = initialised(nn.Linear(d_model, len(labels)))
        self.crf = LinearChainCRF(*iob2_rules(labels)) if crf else None

    def forward(self, batch: TagBatch) -> Tensor:
        """(B, W, K) scores of each word's tags."""
        features = None
        if self.spelling is not None and batch.spelling is not None:
            assert batch.spelling_sizes is not None
            features = self.spelling(
                batch.spelling, batch.spelling_sizes, batch.firsts, batch.input_ids.shape[1]
            )
        hidden = self.encoder(batch.input_ids, batch.attention_mask, features=features)
        rows = torch.arange(len(hidden), device=hidden.device)[:, None]
        scores: Tensor = self.head(self.dropout(hidden[rows, batch.firsts]))
        return scores
