"""Multi-head self-attention (Vaswani et al. 2017, section 3.2), with grouped queries and a cache,
and the layer around it.

Shapes: B sequences, T tokens, S tokens that can be seen, D model width, H query heads, G key and
value heads, K width of a head.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmexp.networks.cache import KeyValueCache, LayerCache
from lmexp.networks.explicit_attention import explicit_attention, prefers_explicit
from lmexp.networks.layers import (
    Activation,
    Dropout,
    FeedForward,
    Norm,
    Rotation,
    make_norm,
    rotate,
)


class SelfAttention(nn.Module):
    """Queries, keys and values in one product; scaled dot products; one product out.

    Args:
        d_model: D.
        num_heads: H, of width K = D / H.
        num_kv_heads: G; each serves H / G query heads (Ainslie et al. 2023).
        bias: of both linear layers.
        is_causal: a token sees those before it and itself; False: all of them.
    """

    def __init__(
        self, d_model: int, num_heads: int, num_kv_heads: int, *, bias: bool, is_causal: bool
    ) -> None:
        super().__init__()
        self.is_causal = is_causal
        self.num_heads = num_heads
        self.num_kv_heads = num_kv_heads
        self.head_width = d_model // num_heads
        self.pair_flops = 4 * d_model
        self.qkv = nn.Linear(d_model, (num_heads + 2 * num_kv_heads) * self.head_width, bias=bias)
        self.out = nn.Linear(d_model, d_model, bias=bias)

    def forward(
        self,
        x: Tensor,
        bias: Tensor | None,
        turn: Rotation | None,
        cache: LayerCache | None = None,
    ) -> Tensor:
        """Attend within x and, with a cache, to all that was read before.

        Args:
            x: (B, T, D).
            bias: broadcastable to (B, 1, T, S), added to the scores; in a causal layer it hides
                what comes later as well, and only tokens that a cache goes before need one.
            turn: rotary positions of x; None: x knows its positions.
            cache: where the keys and values of x are written, changed in place.

        Returns:
            (B, T, D).
        """
        query, key, value = self._project(x, turn)
        dtype = query.dtype
        if cache is not None:
            key, value = cache.write(key, value)
            query = query.to(key.dtype)  # of the cache
        is_causal = self.is_causal and 1 < x.shape[1] == key.shape[2]
        mixed = attend(query, key, value, bias, is_causal=is_causal)
        mixed = mixed.to(dtype)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out

    def weights(
        self, x: Tensor, bias: Tensor | None, turn: Rotation | None, cache: None = None
    ) -> Tensor:
        """The arguments of forward, without a cache -> (B, H, T, T), how much is mixed in."""
        query, key, _ = self._project(x, turn)
        key = key.repeat_interleave(self.num_heads // self.num_kv_heads, dim=1)
        scores = torch.matmul(query * self.head_width**-0.5, key.transpose(-1, -2))
        if bias is None and self.is_causal:
            bias = causal_bias(x.shape[1], None, scores.device, scores.dtype)
        return (scores if bias is None else scores + bias).softmax(dim=-1)

    def _project(self, x: Tensor, turn: Rotation | None) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, D) -> queries (B, H, T, K), keys and values (B, G, T, K)."""
        heads, groups = self.num_heads, self.num_kv_heads
        mixed = self.qkv(x).unflatten(-1, (-1, self.head_width))  # (B, T, H + 2G, K)
        if turn is None:
            query, key, value = torch.split(mixed, [heads, groups, groups], dim=2)
        else:
            both, value = torch.split(mixed, [heads + groups, groups], dim=2)
            query, key = torch.split(rotate(both, turn), [heads, groups], dim=2)
        return query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)


class TransformerLayer(nn.Module):
    """Self-attention and feed-forward layer, each with its norm and residual connection.

    Args: those of Transformer, and is_causal as in SelfAttention.
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
        *,
        is_causal: bool,
    ) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.attention_norm = make_norm(norm, d_model, bias=bias)
        self.attention = SelfAttention(
            d_model, num_heads, num_kv_heads, bias=bias, is_causal=is_causal
        )
        self.feed_forward_norm = make_norm(norm, d_model, bias=bias)
        self.feed_forward = FeedForward(d_model, d_ff, activation, bias=bias)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        bias: Tensor | None,
        turn: Rotation | None,
        cache: LayerCache | None = None,
    ) -> Tensor:
        """(B, T, D) -> (B, T, D); the other arguments as in SelfAttention."""
        if self.norm_first:
            x = x + self.dropout(self.attention(self.attention_norm(x), bias, turn, cache))
            x = x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))
        else:
            x = self.attention_norm(x + self.dropout(self.attention(x, bias, turn, cache)))
            x = self.feed_forward_norm(x + self.dropout(self.feed_forward(x)))
        return x


def attend(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, *, is_causal: bool
) -> Tensor:
    """softmax(query key' / sqrt(K) + bias) value, for each head.

    Short sequences in bfloat16 on a CPU get explicit products where something is hidden from some
    position; everything else, a compiled network and a bias that is learnt get SDPA.

    Args:
        query: (B, H, T, K).
        key: (B, G, S, K); query heads h * H/G ... (h + 1) * H/G - 1 share head h.
        value: (B, G, S, K).
        bias: broadcastable to (B, H, T, S), in the dtype of the scores; None: add nothing.
        is_causal: position t sees 0..t; a bias has to say so as well. Only with T = S.

    Returns:
        (B, H, T, K).
    """
    assert not is_causal or query.shape[2] == key.shape[2], (query.shape, key.shape)
    group = query.shape[1] // key.shape[1]
    is_plain = bias is None and not is_causal
    is_left_to_torch = torch.compiler.is_compiling() or (bias is not None and bias.requires_grad)
    length = max(query.shape[2], key.shape[2])
    if is_plain or is_left_to_torch or not prefers_explicit(query.device, query.dtype, length):
        is_causal = is_causal and bias is None
        return F.scaled_dot_product_attention(
            query, key, value, attn_mask=bias, is_causal=is_causal, enable_gqa=group > 1
        )
    if group > 1:
        key, value = (x.repeat_interleave(group, dim=1) for x in (key, value))
    return explicit_attention(query, key, value, bias, is_causal=is_causal)


def causal_bias(
    length: int, document_ids: Tensor | None, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """0 where position t may look, -inf elsewhere: at 0..t, and at its own document only.

    Args:
        length: T.
        document_ids: (B, T), or None: one document a row.
        device: of the result.
        dtype: of the scores.

    Returns:
        (T, T), or (B, 1, T, T) with documents. Every position sees itself: no row is all -inf.
    """
    bias = torch.full((length, length), -math.inf, device=device, dtype=dtype).triu_(1)
    if document_ids is None:
        return bias
    others = document_ids.unsqueeze(-1) != document_ids.unsqueeze(-2)  # (B, T, T)
    return bias.masked_fill(others, -math.inf).unsqueeze(1)


def cached_bias(cache: KeyValueCache, new: int) -> Tensor | None:
    """What is added to the scores of the newest n columns of a cache that has just read them.

    Returns:
        Broadcastable to (B, 1, n, S); None: as SelfAttention takes it.
    """
    if cache.length == new:
        return None
    bias = None if cache.bias is None else cache.bias[..., : cache.length]
    if new > 1:
        like = cache.keys[0]
        causal = causal_bias(cache.length, None, like.device, like.dtype)[-new:]
        bias = causal if bias is None else bias + causal
    return bias


def padding_bias(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """0 on real tokens; on padding the least number, which softmax turns into 0.

    Not -inf: in a row that is all padding softmax would divide 0 by 0.

    Args:
        mask: (B, S) bool, True on real tokens.
        dtype: of the scores.

    Returns:
        (B, 1, 1, S).
    """
    bias = torch.zeros(mask.shape, device=mask.device, dtype=dtype)
    return bias.masked_fill_(~mask, torch.finfo(dtype).min)[:, None, None]


def initialise(network: nn.Module, d_model: int, num_writers: int) -> None:
    """GPT-2's initial weights (Radford et al. 2019, section 2.3), at any width.

    GPT-2 draws N(0, 0.02) at a width of 768. Here the variance goes with 1 / D from there, so that
    what passes through a matrix keeps its size (Yang et al. 2021, table 3): a narrow network would
    learn slowly from 0.02 itself, 2.10 nats instead of 1.94 after 1,000 steps of
    shakespeare_char_cpu. Matrices that write into the residual stream are divided by the square
    root of their number; biases are 0.

    Args:
        network: all its matrices are drawn, those of embeddings too.
        d_model: D.
        num_writers: matrices that write into one residual stream: 2L in a stack of L layers.
    """
    std = 0.02 * math.sqrt(768 / d_model)
    writers = ("attention.out.weight", "feed_forward.down.weight")
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        elif parameter.dim() == 2:
            scale = 1 / math.sqrt(num_writers) if name.endswith(writers) else 1.0
            nn.init.normal_(parameter, std=std * scale)


def first_gain(d_model: int, *, tied: bool, norm_first: bool) -> float:
    """Where the gain of the norm before the output layer starts.

    After post-norm with tied weights at 1 / sqrt(D), as T5 scales (Raffel et al. 2020): hidden
    states there still resemble the embedding of their own token, and a wide network would start
    far above ln V.
    """
    return d_model**-0.5 if tied and not norm_first else 1.0
