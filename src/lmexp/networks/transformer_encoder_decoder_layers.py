"""Attention to a source (Vaswani et al. 2017, section 3.2.3) and the decoder's layer around it.

Shapes: B sequences, S source tokens, T target tokens, D model width, H query heads, G key and value
heads, K width of a head.
"""

import torch
from torch import Tensor, nn

from lmexp.networks.attention import SelfAttention, attend
from lmexp.networks.cache import LayerCache
from lmexp.networks.layers import Activation, Dropout, FeedForward, Norm, Rotation, make_norm

Source = Tensor | tuple[Tensor, Tensor]  # (B, S, D), or its keys and values, (B, G, S, K) each


class CrossAttention(nn.Module):
    """Queries of the target; keys and values of the source, in one product.

    Args:
        d_model: D.
        num_heads: H, of width K = D / H.
        num_kv_heads: G; each serves H / G query heads.
        bias: of all linear layers.
    """

    def __init__(self, d_model: int, num_heads: int, num_kv_heads: int, *, bias: bool) -> None:
        super().__init__()
        self.head_width = d_model // num_heads
        self.pair_flops = 4 * d_model
        self.query = nn.Linear(d_model, d_model, bias=bias)
        self.key_value = nn.Linear(d_model, 2 * num_kv_heads * self.head_width, bias=bias)
        self.out = nn.Linear(d_model, d_model, bias=bias)

    def forward(self, x: Tensor, source: Source, bias: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D), what the source tells each target token.

        Args:
            x: (B, T, D).
            source: hidden states of the encoder, or what `project` made of them.
            bias: (B, 1, 1, S), added to the scores.
        """
        key, value = self.project(source) if isinstance(source, Tensor) else source
        query = self._heads(self.query(x))
        mixed = attend(query.to(key.dtype), key, value, bias, is_causal=False).to(query.dtype)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out

    def project(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """(B, S, D) -> keys and values (B, G, S, K)."""
        key, value = self._heads(self.key_value(hidden)).chunk(2, dim=1)
        return key, value

    def weights(self, x: Tensor, source: Tensor, bias: Tensor) -> Tensor:
        """The arguments of forward -> (B, H, T, S), how much of each source token is mixed in."""
        query, (key, _) = self._heads(self.query(x)), self.project(source)
        key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
        scores = torch.matmul(query * self.head_width**-0.5, key.transpose(-1, -2)) + bias
        return scores.softmax(dim=-1)

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:-1], -1, self.head_width).transpose(1, 2)


class CrossLayer(nn.Module):
    """Self-attention, attention to the source and feed-forward layer, each with its norm and
    residual connection.

    Args: those of Transformer.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        num_kv_heads: int,
        d_ff: int,
        activation: Activation,
        norm: Norm,
        norm_first: bool,
        dropout: float,
        bias: bool,
    ) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.attention_norm = make_norm(norm, d_model, bias=bias)
        self.attention = SelfAttention(d_model, num_heads, num_kv_heads, bias=bias, is_causal=True)
        self.cross_attention_norm = make_norm(norm, d_model, bias=bias)
        self.cross_attention = CrossAttention(d_model, num_heads, num_kv_heads, bias=bias)
        self.feed_forward_norm = make_norm(norm, d_model, bias=bias)
        self.feed_forward = FeedForward(d_model, d_ff, activation, bias=bias)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        bias: Tensor | None,
        turn: Rotation | None,
        source: Source,
        source_bias: Tensor,
        cache: LayerCache | None = None,
    ) -> Tensor:
        """(B, T, D) -> (B, T, D).

        Args:
            x: (B, T, D).
            bias: as in SelfAttention.
            turn: as in SelfAttention; the source knows no rotary positions here.
            source: as in CrossAttention.
            source_bias: (B, 1, 1, S).
            cache: as in SelfAttention.
        """
        drop, cross = self.dropout, self.cross_attention
        if self.norm_first:
            x = x + drop(self.attention(self.attention_norm(x), bias, turn, cache))
            x = x + drop(cross(self.cross_attention_norm(x), source, source_bias))
            x = x + drop(self.feed_forward(self.feed_forward_norm(x)))
        else:
            x = self.attention_norm(x + drop(self.attention(x, bias, turn, cache)))
            x = self.cross_attention_norm(x + drop(cross(x, source, source_bias)))
            x = self.feed_forward_norm(x + drop(self.feed_forward(x)))
        return x
