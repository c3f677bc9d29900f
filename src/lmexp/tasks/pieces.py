"""Micro-batches cut by rows, for a device on which a whole one does not fit."""

from typing import Any, TypeVar

import torch
from torch import Tensor

from lmexp.networks.interface import State

Batch = TypeVar("Batch")


def lacks_memory(error: BaseException) -> bool:
    """Whether a device, or the machine, had no more memory to give."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    )


def cut(batch: Batch, count: int) -> list[Batch]:
    """At most so many pieces of a batch, none of them empty, of rows as even as possible."""
    if count == 1:
        return [batch]
    parts = [_cut(value, min(count, rows(batch))) for value in batch]  # type: ignore[attr-defined]
    return [type(batch)(*values) for values in zip(*parts, strict=True)]


def rows(batch: Any) -> int:
    """Rows of a batch."""
    return len(next(value for value in batch if value is not None))


def cut_state(state: State | None, count: int) -> list[State | None]:
    """The state, (L, B, D) tensors, of each piece of a batch that was cut so."""
    if state is None or count == 1:
        return [state] * count
    return list(zip(*(torch.tensor_split(part, count, dim=1) for part in state), strict=True))


def joined(states: list[State | None]) -> State | None:
    """The state of a whole batch out of those of its pieces."""
    if states[0] is None or len(states) == 1:
        return states[0]
    return tuple(torch.cat(parts, dim=1) for parts in zip(*states, strict=True))


def _cut(value: Tensor | None, count: int) -> list[Any]:
    return [None] * count if value is None else list(torch.tensor_split(value, count))


def on_cpu(carried: list[State | None]) -> list[list[Tensor] | None]:
    """States as a checkpoint holds them."""
    return [state if state is None else [part.cpu() for part in state] for state in carried]


def in_order(of_ranks: list[list[list[Tensor] | None]]) -> list[list[Tensor] | None]:
    """Micro-batches as they stand in the step, from those of each rank (batch_plan.deal)."""
    return [state for same in zip(*of_ranks, strict=True) for state in same]
