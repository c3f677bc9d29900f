"""An encoder that says something of a text or two (Devlin et al. 2019, figure 4).

Shapes: B texts, T tokens, K labels, D model width.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from lmexp.batch import LabelBatch
from lmexp.networks.layers import Dropout
from lmexp.tasks.encoding import OverEncoder, initialised

Pooling = Literal["mean", "max", "first"]


class LabelNetwork(OverEncoder):
    """An encoder, one vector for all tokens, and a linear layer.

    Args:
        encoder: as networks.interface.Encoder.
        num_labels: K.
        pooling: see pooled.
        dropout: on what the linear layer reads.
    """

    def __init__(self, encoder: Any, num_labels: int, *, pooling: Pooling, dropout: float) -> None:
        super().__init__(encoder)
        self.pooling: Pooling = pooling
        self.dropout = Dropout(dropout)
        self.head = initialised(nn.Linear(encoder.d_model, num_labels))

    def forward(self, batch: LabelBatch) -> Tensor:
        """(B, K) scores of labels."""
        hidden = self.encoder(batch.input_ids, batch.attention_mask, batch.segment_ids)
        scores: Tensor = self.head(self.dropout(pooled(hidden, batch.attention_mask, self.pooling)))
        return scores


def pooled(hidden: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    """(B, T, D), (B, T) True on real tokens -> (B, D).

    Args:
        hidden: of each token.
        mask: a row without a real token gives zeros.
        pooling: mean of all tokens, largest value of each feature, or the first token.
    """
    if pooling == "first":
        return hidden[:, 0] * mask[:, :1]
    if pooling == "max":
        largest = hidden.masked_fill(~mask[..., None], -torch.inf).amax(dim=1)
        return torch.where(mask.any(dim=1, keepdim=True), largest, 0.0)
    real = mask[..., None].to(hidden.dtype)
    return (hidden * real).sum(dim=1) / real.sum(dim=1).clamp(min=1)
