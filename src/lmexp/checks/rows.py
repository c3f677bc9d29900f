"""Typed batches taken apart into rows without padding, and put together again with any padding.

Shapes: B rows, N columns of an axis.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lmexp.batch import (
    IGNORE,
    LabelBatch,
    MatchBatch,
    PairBatch,
    QuestionBatch,
    SegmentBatch,
    SentenceBatch,
    TagBatch,
    TokenBatch,
)
from lmexp.tokenizers import PAD_ID, SPECIALS

FILLS = {"input_ids": PAD_ID, "source_ids": PAD_ID, "target_ids": PAD_ID, "labels": IGNORE}
IDS = ("input_ids", "source_ids", "target_ids")


class Axis(NamedTuple):
    """The fields of a batch that are padded together."""

    real: Callable[[Any], Tensor]  # (B, N) True where there is something
    fields: tuple[str, ...]
    is_of_tokens: bool = True  # False: of words or places, which no network reads


def _mask(batch: Any) -> Tensor:
    return batch.attention_mask  # type: ignore[no-any-return]


def _source(batch: Any) -> Tensor:
    return batch.source_mask  # type: ignore[no-any-return]


_TEXT = ("input_ids", "attention_mask")
_SOURCE = Axis(_source, ("source_ids", "source_mask"))
AXES: dict[type, tuple[Axis, ...]] = {
    TokenBatch: (Axis(_mask, (*_TEXT, "labels", "document_ids")),),
    PairBatch: (_SOURCE, Axis(lambda b: b.target_ids != PAD_ID, ("target_ids", "labels"))),
    MatchBatch: (_SOURCE, Axis(lambda b: b.labels != IGNORE, ("labels",))),
    SegmentBatch: (Axis(_mask, (*_TEXT, "segment_ids", "labels")),),
    TagBatch: (
        Axis(_mask, _TEXT),
        Axis(lambda b: b.firsts > 0, ("firsts", "labels", "spelling", "spelling_sizes"), False),
    ),
    LabelBatch: (Axis(_mask, (*_TEXT, "segment_ids")),),
    QuestionBatch: (
        Axis(_mask, (*_TEXT, "segment_ids")),
        Axis(lambda b: b.is_place, ("places", "is_place"), False),
    ),
    SentenceBatch: (Axis(_mask, (*_TEXT, "target_ids", "labels")),),
}


def is_known(batch: Any) -> bool:
    """Whether it is of a class that can be taken apart."""
    return type(batch) in AXES


def length(batch: Any) -> int:
    """Tokens of the longest side."""
    axes = (axis for axis in AXES[type(batch)] if axis.is_of_tokens)
    return max(int(getattr(batch, axis.fields[0]).shape[1]) for axis in axes)


def apart(batch: Any) -> list[Any]:
    """Each row of a batch in a batch of its own, without padding."""
    count = len(batch[0])
    return [_trimmed(_row(batch, row)) for row in range(count)]


def _row(batch: Any, row: int) -> Any:
    parts = [None if part is None else part[row : row + 1] for part in batch]
    return type(batch)(*parts)


def _trimmed(batch: Any) -> Any:
    changed = {}
    for axis in AXES[type(batch)]:
        places = axis.real(batch)[0].nonzero()
        width = int(places[-1]) + 1 if len(places) else 1
        for name in axis.fields:
            part = getattr(batch, name)
            changed[name] = None if part is None else part[:, :width]
    return batch._replace(**changed)


def cropped(batch: Any, tokens: int) -> Any:
    """Rows of text that goes on, cut after so many tokens; other batches as they are."""
    if not isinstance(batch, TokenBatch | SegmentBatch):
        return batch
    (axis,) = AXES[type(batch)]
    fields = ((name, getattr(batch, name)) for name in axis.fields)
    return batch._replace(**{name: part[:, :tokens] for name, part in fields if part is not None})


def together(rows: Sequence[Any], wider: int = 0) -> Any:
    """One batch of several.

    Args:
        rows: batches of one class.
        wider: columns of padding beyond what the longest needs, on every axis of tokens.
    """
    kind: Any = type(rows[0])
    sizes: dict[str, int] = {}
    for axis in AXES[kind]:
        widest = max(getattr(row, axis.fields[0]).shape[1] for row in rows)
        sizes |= dict.fromkeys(axis.fields, widest + wider * axis.is_of_tokens)
    joined: dict[str, Any] = {}
    for name in kind._fields:
        parts = [getattr(row, name) for row in rows]
        if name == "document_ids":
            parts = _numbered(parts, rows)
        if parts[0] is None:
            joined[name] = None
            continue
        if name in sizes:
            parts = [_padded(part, sizes[name], name) for part in parts]
        joined[name] = torch.cat(parts)
    return kind(**joined)


def _numbered(parts: list[Tensor | None], rows: Sequence[Any]) -> list[Any]:
    """Document ids of all rows or of none."""
    if all(part is None for part in parts):
        return list(parts)
    pairs = zip(parts, rows, strict=True)
    return [
        torch.zeros_like(row.input_ids, dtype=torch.int32) if p is None else p for p, row in pairs
    ]


def _padded(part: Tensor, size: int, name: str) -> Tensor:
    more = size - part.shape[1]
    if name == "document_ids":  # rises along a row: padding is of the last document
        return torch.cat([part, part[:, -1:].expand(-1, more)], dim=1)
    tail = [0, 0] * (part.dim() - 2) + [0, more]
    return F.pad(part, tail, value=FILLS.get(name, 0))


def emptied(batch: Any) -> Any:
    """The same shapes with nothing but padding in them."""
    changed = {}
    for name, part in zip(type(batch)._fields, batch, strict=True):
        if part is None or name in ("document_ids", "numbers", "sentences", "begins", "examples"):
            continue
        changed[name] = torch.full_like(part, FILLS.get(name, 0))
    for name in ("labels", "answers", "belongs"):  # of nothing
        if name in changed:
            changed[name] = torch.full_like(changed[name], IGNORE)
    if "is_place" in changed:
        changed["is_place"][:, 0] = True  # "not here", which every window has
    return batch._replace(**changed)


def redrawn(batch: Any, sizes: dict[str, int], rows: slice, generator: torch.Generator) -> Any:
    """Other ordinary ids in the place of the real ones of some rows; ends stay where they are.

    Args:
        batch: of any class in AXES.
        sizes: vocabulary of each field of ids.
        rows: that are changed.
        generator: of the draws.
    """
    changed = {}
    for name in IDS:
        part = getattr(batch, name, None)
        if part is None:
            continue
        drawn = drawn_ids(part.shape, sizes[name], generator)
        is_ordinary = part >= len(SPECIALS)
        new = torch.where(is_ordinary, drawn, part)
        changed[name] = part.clone()
        changed[name][rows] = new[rows]
    return batch._replace(**changed)


def drawn_ids(shape: Sequence[int], vocab_size: int, generator: torch.Generator) -> Tensor:
    """Ordinary ids, or any where the vocabulary has hardly more than the reserved ones."""
    lowest = len(SPECIALS) if vocab_size > len(SPECIALS) + 1 else 0
    return torch.randint(lowest, vocab_size, tuple(shape), generator=generator)
