"""An encoder with the heads of masked language modelling (Devlin et al. 2019, figure 1).

Shapes: B sequences, T tokens, D model width, V vocabulary.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmexp.tasks.encoding import OverEncoder, initialised


class MaskedNetwork(OverEncoder):
    """An encoder with a head that restores tokens and, perhaps, one that judges pairs.

    Args:
        encoder: as networks.interface.Encoder; its embedding is the output layer's matrix too.
        has_pairs: whether there is a pooler and a pair head (Devlin et al. 2019, figure 1).
    """

    def __init__(self, encoder: Any, *, has_pairs: bool) -> None:
        super().__init__(encoder)
        d_model: int = encoder.d_model
        if encoder.embed.embedding_dim != d_model:
            raise ValueError(
                f"the encoder's embedding is {encoder.embed.embedding_dim} wide and its layers "
                f"{d_model}: the output layer of masked_lm is the embedding, and needs one width"
            )
        self.transform = nn.Linear(d_model, d_model)
        self.transform_norm = nn.LayerNorm(d_model, eps=getattr(encoder, "norm_eps", 1e-5))
        self.output = nn.Linear(d_model, encoder.embed.num_embeddings)
        self.pooler = nn.Linear(d_model, d_model) if has_pairs else None
        self.pair = nn.Linear(d_model, 2) if has_pairs else None
        for layer in (self.transform, self.output, self.pooler, self.pair):
            if layer is not None:
                initialised(layer)
        self.output.weight = encoder.embed.weight  # tied, last: it keeps its own first values

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, segment_ids: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """(B, T) each -> (B, T, V) logits of tokens, and (B, 2) of pairs: apart, together."""
        hidden = self.hidden(input_ids, attention_mask, segment_ids)
        return self.output(self.restored(hidden)), self.judged(hidden)

    def hidden(
        self, input_ids: Tensor, attention_mask: Tensor, segment_ids: Tensor | None = None
    ) -> Tensor:
        """(B, T) each -> (B, T, D), what the heads read."""
        hidden: Tensor = self.encoder(input_ids, attention_mask, segment_ids)
        return hidden

    def restored(self, hidden: Tensor) -> Tensor:
        """(..., D) -> (..., D), what the output layer reads."""
        normed: Tensor = self.transform_norm(F.gelu(self.transform(hidden)))
        return normed

    def judged(self, hidden: Tensor) -> Tensor | None:
        """(B, T, D) -> (B, 2) logits, from the first token; None without a pair head."""
        if self.pooler is None or self.pair is None:
            return None
        logits: Tensor = self.pair(torch.tanh(self.pooler(hidden[:, 0])))
        return logits
