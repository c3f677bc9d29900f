"""Attention as explicit products, with its gradient: for bfloat16 on a CPU.

SDPA's CPU kernel takes 3 times as long there at 256 tokens. What autograd makes of the same
products takes 1.15 times as long: it multiplies what causality then hides, and stores every step.

Shapes: B sequences, T tokens, S tokens that can be seen, H heads, K width of a head.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

EXPLICIT_LENGTH = 512  # beyond, the memory of all weights outgrows what is gained
HALVED_LENGTH = 192  # below, two calls of everything cost more than what they leave out


def prefers_explicit(device: torch.device, dtype: torch.dtype, length: int) -> bool:
    """Whether the explicit products beat SDPA."""
    return device.type == "cpu" and dtype == torch.bfloat16 and length <= EXPLICIT_LENGTH


def explicit_attention(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, *, is_causal: bool
) -> Tensor:
    """softmax(query key' / sqrt(K) + bias) value, for each head. No second derivative.

    A causal half of the queries sees half of the keys: a quarter of the products is left out.

    Args:
        query: (B, H, T, K).
        key: (B, H, S, K).
        value: (B, H, S, K).
        bias: as in attend, and not learnt: it gets no gradient.
        is_causal: as in attend.

    Returns:
        (B, H, T, K), the transpose of a contiguous (B, T, H, K).
    """
    mixed: Tensor = _Explicit.apply(query, key, value, bias, is_causal)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return mixed


class _Explicit(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, is_causal: bool
    ) -> Tensor:
        """Keeps the weights of each block of queries, as many columns as these see."""
        batch, heads, length, width = query.shape
        scaled = torch.empty(query.shape, dtype=query.dtype)
        torch.mul(query, width**-0.5, out=scaled)
        queries, keys, values = (_flat(x) for x in (scaled, key, value))
        mixed = query.new_empty(batch, length, heads, width).transpose(1, 2)
        kept = []
        blocks = _blocks(length, key.shape[2], is_causal)
        for first, last, seen in blocks:
            scores = torch.bmm(queries[:, first:last], keys[:, :seen].transpose(1, 2))
            by_head = scores.view(batch, heads, last - first, seen)
            if bias is not None:
                by_head += _part(bias, first, last, seen)
            elif is_causal:  # columns before `first` are all visible
                by_head[..., first:] += _triangle(last - first, scores)
            weights = torch.softmax(scores, dim=-1, out=scores)
            mixed[:, :, first:last] = torch.bmm(weights, values[:, :seen]).view(
                batch, heads, last - first, width
            )
            kept.append(weights)
        ctx.save_for_backward(queries, keys, values, *kept)
        ctx.blocks = blocks
        return mixed

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, by_mixed: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        """Block by block: four products and the derivative of softmax."""
        batch, heads, _, width = by_mixed.shape
        queries, keys, values, *kept = ctx.saved_tensors
        by_out = _flat(by_mixed)
        by_query = torch.empty_like(queries)
        by_key, by_value = torch.zeros_like(keys), torch.zeros_like(values)
        for (first, last, seen), weights in zip(ctx.blocks, kept, strict=True):
            out = by_out[:, first:last]
            by_weights = torch.bmm(out, values[:, :seen].transpose(1, 2))
            by_scores = torch.ops.aten._softmax_backward_data.out(
                by_weights, weights, -1, weights.dtype, grad_input=by_weights
            )
            by_query[:, first:last] = torch.bmm(by_scores, keys[:, :seen])
            by_key[:, :seen] += torch.bmm(by_scores.transpose(1, 2), queries[:, first:last])
            by_value[:, :seen] += torch.bmm(weights.transpose(1, 2), out)
        by_query *= width**-0.5
        by_query, by_key, by_value = (
            x.view(batch, heads, x.shape[1], width) for x in (by_query, by_key, by_value)
        )
        return by_query, by_key, by_value, None, None


def _blocks(length: int, seen: int, is_causal: bool) -> list[tuple[int, int, int]]:
    """First and last row of each block of queries, and how many keys it sees."""
    if not is_causal or length < HALVED_LENGTH:
        return [(0, length, seen)]
    half = length // 2
    return [(0, half, half), (half, length, length)]


def _flat(x: Tensor) -> Tensor:
    """(B, H, T, K) -> (B H, T, K), contiguous: products of strided heads copy far slower."""
    return x.contiguous().flatten(0, 1)


def _part(bias: Tensor, first: int, last: int, seen: int) -> Tensor:
    """The rows and columns of one block; an axis of size 1 stands for all."""
    rows = slice(None) if bias.shape[-2] == 1 else slice(first, last)
    columns = slice(None) if bias.shape[-1] == 1 else slice(seen)
    return bias[..., rows, columns]


def _triangle(size: int, like: Tensor) -> Tensor:
    """(size, size), -inf above the diagonal."""
    return like.new_full((size, size), -math.inf).triu_(1)
