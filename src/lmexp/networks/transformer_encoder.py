"""Transformer encoder (Vaswani et al. 2017), and BERT's, whose input knows its segment.

Shapes: B sequences, T tokens, D model width, V vocabulary.
"""

import torch
from torch import Tensor, nn

from lmexp.networks.attention import TransformerLayer, initialise, padding_bias
from lmexp.networks.layers import (
    Activation,
    Dropout,
    Norm,
    Positions,
    make_norm,
    position_table,
    positioned,
    product_dtype,
)


class TransformerEncoder(nn.Module):
    """Embedding and layers in which every token sees all others.

    Args:
        vocab_size: V.
        num_segments: kinds of segment that a token may belong to, each with an embedding of its own
            (Devlin et al. 2019, figure 2); 0: segment ids are read past.
        norms_embeddings: normalise what goes into the first layer, as BERT does.
        Others: those of Transformer.
    """

    def __init__(
        self,
        vocab_size: int,
        d_model: int,
        num_layers: int,
        num_heads: int,
        num_kv_heads: int,
        d_ff: int,
        activation: Activation,
        norm: Norm,
        norm_first: bool,
        positions: Positions,
        max_length: int | None,
        dropout: float,
        bias: bool,
        *,
        num_segments: int = 0,
        norms_embeddings: bool = False,
    ) -> None:
        super().__init__()
        self.d_model = d_model
        self.rotary_width = d_model // num_heads if positions == "rotary" else None
        self.embed = nn.Embedding(vocab_size, d_model)
        self.positions = position_table(positions, max_length, d_model)
        self.segments = nn.Embedding(num_segments, d_model) if num_segments else None
        self.embed_norm: nn.Module = nn.Identity()
        if norms_embeddings:
            self.embed_norm = make_norm(norm, d_model, bias=bias)
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(
            TransformerLayer(
                *(d_model, num_heads, num_kv_heads, d_ff, activation, norm, norm_first),
                *(dropout, bias),
                is_causal=False,
            )
            for _ in range(num_layers)
        )
        self.norm: nn.Module = nn.Identity()  # after a norm in the last layer another does nothing
        if norm_first:
            self.norm = make_norm(norm, d_model, bias=bias)
        initialise(self, d_model, 2 * num_layers)

    @property
    def max_length(self) -> int | None:
        """Tokens in a sequence, at most; None: any number."""
        return None if self.positions is None else self.positions.num_embeddings

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        segment_ids: Tensor | None = None,
        features: Tensor | None = None,
    ) -> Tensor:
        """(B, T) token ids -> (B, T, D); no token sees padding.

        Args:
            input_ids: (B, T) int64.
            attention_mask: (B, T) bool, True on real tokens; None: all are.
            segment_ids: (B, T) int64 below num_segments; None: all are 0.
            features: (B, T, D), added to the embeddings; None: nothing is.
        """
        length, device = input_ids.shape[1], input_ids.device
        x = self.embed(input_ids) if features is None else self.embed(input_ids) + features
        bias = None
        if attention_mask is not None:
            bias = padding_bias(attention_mask, product_dtype(self.embed.weight))
        positions = torch.arange(length, device=device)
        x, turn = positioned(x, positions, length, self.positions, self.rotary_width)
        if self.segments is not None:
            x = x + self.segments(
                torch.zeros_like(input_ids) if segment_ids is None else segment_ids
            )
        x = self.dropout(self.embed_norm(x))
        for layer in self.layers:
            x = layer(x, bias, turn)
        normed: Tensor = self.norm(x)
        return normed
