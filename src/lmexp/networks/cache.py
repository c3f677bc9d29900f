"""What a transformer remembers while it generates.

Shapes: B sequences, n new tokens, G key and value heads, K width of a head, C columns of cache.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lmexp.networks.layers import product_dtype

FIRST_COLUMNS = 256  # of a cache that has just begun


class LayerCache(NamedTuple):
    """Keys and values of one layer, with room for more."""

    keys: Tensor  # (B, G, C, K), the first `length` of C columns filled
    values: Tensor  # (B, G, C, K)
    length: int

    def write(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """(B, G, n, K) new keys and values -> all S = length + n of them."""
        end = self.length + key.shape[2]
        self.keys[:, :, self.length : end] = key
        self.values[:, :, self.length : end] = value
        if self.length == 0:
            return key, value
        return self.keys[:, :, :end], self.values[:, :, :end]


class KeyValueCache(NamedTuple):
    """Keys and values of every layer, with room for C columns; C doubles whenever it is full.

    Who reorders a cache does so after every token and copies all of it: until the next step it has
    no more room than it needs, as tensors without holes are copied and read twice as fast.

    The new tokens of all rows stand in the same columns. Where rows differ in length the columns
    of padding between are hidden by `bias`, and `lengths` counts the real tokens of a row.
    """

    keys: tuple[Tensor, ...] = ()  # of each layer, (B, G, C, K)
    values: tuple[Tensor, ...] = ()  # of each layer, (B, G, C, K)
    length: int = 0  # columns filled
    lengths: Tensor | None = None  # (B,) int64; None: `length` in every row
    bias: Tensor | None = None  # (B, 1, 1, C): -inf on padding; None: there is none
    is_tight: bool = False  # has been reordered since the last step

    def make_room(
        self, layers: int, shape: tuple[int, int, int, int], like: Tensor
    ) -> "KeyValueCache":
        """This cache, with room for n more columns.

        Args:
            layers: their number.
            shape: (B, G, n, K).
            like: a tensor of the device and dtype of the keys.
        """
        batch, groups, new, width = shape
        columns = self.keys[0].shape[2] if self.keys else 0
        if self.length + new <= columns:
            return self
        if self.is_tight:
            columns = self.length + new
        else:
            columns = max(FIRST_COLUMNS, 2 * columns, 2 ** (self.length + new - 1).bit_length())

        def longer(filled: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            empty = tuple(like.new_empty(batch, groups, columns, width) for _ in range(layers))
            for old, longer in zip(filled, empty, strict=False):
                longer[:, :, : self.length] = old[:, :, : self.length]
            return empty

        bias = self.bias
        if bias is not None:
            bias = F.pad(bias, (0, columns - bias.shape[-1]))
        keys, values = longer(self.keys), longer(self.values)
        return self._replace(keys=keys, values=values, bias=bias, is_tight=False)

    def read(self, new: int, attention_mask: Tensor | None) -> "KeyValueCache":
        """This cache once n more columns are filled, of which attention_mask (B, n) are real."""
        end = self.length + new
        if self.lengths is None and (attention_mask is None or bool(attention_mask.all())):
            return self._replace(length=end)
        batch, _, columns, _ = self.keys[0].shape
        like = self.keys[0]
        lengths, bias = self.lengths, self.bias
        if lengths is None or bias is None:
            lengths = torch.full((batch,), self.length, device=like.device)
            bias = like.new_zeros(batch, 1, 1, columns)
        if attention_mask is None:
            return self._replace(length=end, lengths=lengths + new)
        bias = bias.clone()
        bias[:, 0, 0, self.length : end].masked_fill_(~attention_mask, -math.inf)
        return self._replace(length=end, lengths=lengths + attention_mask.sum(dim=1), bias=bias)

    def positions(self, new: int, device: torch.device) -> Tensor:
        """(n,) or (B, n): the positions of the next n columns, padding counted."""
        positions = torch.arange(self.length, self.length + new, device=device)
        if self.lengths is not None:
            positions = positions + (self.lengths - self.length).unsqueeze(1)
        return positions

    def last_real(self, x: Tensor, before: "KeyValueCache") -> Tensor:
        """(B, n, D) of the columns read since `before` -> (B, D), the last real one of each row."""
        if x.shape[1] == 1 or self.lengths is None:
            return x[:, -1]
        past = before.length if before.lengths is None else before.lengths
        last = (self.lengths - past - 1).clamp(min=0)
        return x[torch.arange(len(x), device=x.device), last]

    def reorder(self, rows: Tensor) -> "KeyValueCache":
        """The cache of the given rows (R,) int64."""

        def chosen(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.index_select(0, rows)

        def filled(parts: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return tuple(part[:, :, : self.length].index_select(0, rows) for part in parts)

        bias = None if self.bias is None else self.bias[..., : self.length]
        return KeyValueCache(
            filled(self.keys),
            filled(self.values),
            self.length,
            chosen(self.lengths),
            chosen(bias),
            is_tight=True,
        )


def cache_dtype(weight: Tensor) -> torch.dtype:
    """What keys and values are kept in, by a network of such weights.

    float32 on a CPU: for one query SDPA's bfloat16 kernel there takes 2.4 times as long.
    """
    device = weight.device.type
    if device == "cpu" and not torch.is_autocast_enabled(device):
        return torch.float32
    return product_dtype(weight)
