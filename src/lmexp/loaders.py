"""Loaders over token stores: endless training steps, and evaluations that score each token once."""

from collections.abc import Iterator
from typing import NamedTuple, TypeVar

import torch
from torch import distributed
from torch.utils.data import DataLoader, Dataset, Sampler

from lmexp.batch import EvalBatch, TrainStep
from lmexp.batch_plan import Plan, ScoringPlan, deal
from lmexp.collate import collate_spans, collate_windows
from lmexp.packing import TokenStore

T = TypeVar("T")
Position = tuple[int, int]  # (epoch, step in it)


class Rank(NamedTuple):
    """This process among those that train together."""

    number: int
    world_size: int


def current_rank() -> Rank:
    """From torch.distributed, or the only one."""
    if distributed.is_available() and distributed.is_initialized():
        return Rank(distributed.get_rank(), distributed.get_world_size())
    return Rank(0, 1)


class TrainSteps(Dataset[TrainStep]):
    """The step at a position of the plan, as one rank reads it."""

    def __init__(self, store: TokenStore, plan: Plan, rank: Rank, *, document_mask: bool) -> None:
        self._store = store
        self._plan = plan
        self._rank = rank
        self._document_mask = document_mask

    def __getitem__(self, position: Position) -> TrainStep:
        epoch, step = position
        micro_batches = [
            collate_windows(
                self._store.tokens,
                starts,
                self._plan.width(step),
                document_mask=self._document_mask,
            )
            for starts in deal(self._plan.step(epoch, step), *self._rank)
        ]
        return TrainStep(micro_batches, epoch, step, carries=self._plan.carries(step))


class Positions(Sampler[Position]):
    """Positions of a plan from `start` on, epoch after epoch, without end."""

    def __init__(self, steps_per_epoch: int, start: Position) -> None:
        self._steps_per_epoch = steps_per_epoch
        self.start = start

    def __iter__(self) -> Iterator[Position]:
        epoch, step = self.start
        while True:
            epoch, step = epoch + step // self._steps_per_epoch, step % self._steps_per_epoch
            yield epoch, step
            step += 1


class EvalBatches(Dataset[EvalBatch]):
    """The batches of one rank; every rank has as many, some of them may score nothing."""

    def __init__(self, store: TokenStore, plan: ScoringPlan, rank: Rank) -> None:
        self._store = store
        self._plan = plan
        self._batches = plan.batches(*rank)

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> EvalBatch:
        rows = self._batches[index]
        batch = collate_spans(self._store.tokens, self._plan.spans(rows))
        return EvalBatch(batch, carries=self._plan.carries(rows))


def train_loader(
    dataset: Dataset[TrainStep], positions: Positions, *, num_workers: int, pin_memory: bool
) -> DataLoader[TrainStep]:
    """Endless; nothing is drawn from torch's generator."""
    return DataLoader(
        dataset,
        batch_size=None,
        sampler=positions,
        num_workers=num_workers,
        collate_fn=_as_it_is,
        pin_memory=pin_memory,
        generator=torch.Generator(),
    )


def eval_loader(dataset: Dataset[T], *, pin_memory: bool) -> DataLoader[T]:
    """Every batch once, in order; nothing is drawn from torch's generator."""
    return DataLoader(
        dataset,
        batch_size=None,
        collate_fn=_as_it_is,
        pin_memory=pin_memory,
        generator=torch.Generator(),
    )


def _as_it_is(item: T) -> T:
    return item
