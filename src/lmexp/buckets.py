"""Data modules whose steps are buckets: rows of similar length side by side."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

from torch.utils.data import DataLoader, Dataset

from lmexp.batch import TrainStep
from lmexp.batch_plan import deal
from lmexp.loaders import Positions, Rank, current_rank, eval_loader, train_loader
from lmexp.pair_plan import BucketPlan, Lengths, PairScoringPlan, Rows
from lmexp.preparation import Split


class Reads(NamedTuple):
    """What loaders have to know of a split.

    Args:
        lengths: of its rows.
        batch: of (numbers of rows, epoch).
        scored_lengths: of what is scored at once: of rows, or of examples that have several.
        scored: batch of numbers of them.
    """

    lengths: Lengths
    batch: Callable[[Rows, int], Any]
    scored_lengths: Lengths
    scored: Callable[[Rows], Any]


class EveryEpoch:
    """Batches that are the same in every epoch; of numbers of rows alone."""

    def __init__(self, batch: Callable[[Rows], Any]) -> None:
        self._batch = batch

    def __call__(self, rows: Rows, epoch: int) -> Any:
        """A batch of some rows."""
        return self._batch(rows)


class Buckets:
    """The loaders of a data module, which inherits from this beside Lightning's.

    A subclass sets the attributes below, says what it reads, and plans once it has it.
    """

    batch_size: int | None  # rows of an optimizer step; or
    batch_tokens: int | None  # tokens, padding included
    micro_batches: int
    num_workers: int
    seed: int
    evaluation: Any  # has a batch_size
    position: tuple[int, int] = (0, 0)  # epoch and step in it where training begins
    pin_memory = False  # set it for a GPU: copies of pageable memory wait for work under way

    plan: BucketPlan  # of the training split, once it is prepared

    @abstractmethod
    def reads(self, split: Split) -> Reads:
        """What is read of a prepared split."""

    @property
    @abstractmethod
    def num_predicted(self) -> float:
        """Predictions of an epoch: tokens, or whatever a task predicts."""

    def plan_training(self) -> None:
        """Rows of similar lengths side by side."""
        self.plan = BucketPlan(
            self.reads("train").lengths,
            batch_size=self.batch_size,
            batch_tokens=self.batch_tokens,
            micro_batches=self.micro_batches,
            seed=self.seed,
        )

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of an epoch; the same in every one."""
        return self.plan.steps_per_epoch

    @property
    def tokens_per_step(self) -> int:
        """Predictions of a step, on average over an epoch."""
        return max(1, round(self.num_predicted / self.steps_per_epoch))

    @property
    def row_length(self) -> int:
        """Tokens of a row, on average; of a pair's those of its target."""
        return max(1, round(float(self.reads("train").lengths.target.mean())))

    def start_at(self, position: tuple[int, int]) -> None:
        """(epoch, step in it) where train_dataloader begins."""
        self.position = position

    def train_dataloader(self) -> DataLoader[TrainStep]:
        """The steps of this rank from start_at on, epoch after epoch, without end."""
        return train_loader(
            BucketSteps(self.reads("train").batch, self.plan, current_rank()),
            Positions(self.steps_per_epoch, self.position),
            num_workers=self.num_workers,
            pin_memory=self.pin_memory,
        )

    def val_dataloader(self) -> DataLoader[Any]:
        """What is scored of the validation split."""
        return self.eval_dataloader("val")

    def test_dataloader(self) -> DataLoader[Any]:
        """What is scored of the test split."""
        return self.eval_dataloader("test")

    def eval_dataloader(self, split: Split) -> DataLoader[Any]:
        """Everything in a prepared split once, all rows of an example in the same batch."""
        scored, batches = self._scored(split)
        return eval_loader(ScoredBatches(scored, batches), pin_memory=self.pin_memory)

    def scored_rows(self, split: Split) -> list[Rows]:
        """What each batch of eval_dataloader is of."""
        return self._scored(split)[1]

    def _scored(self, split: Split) -> tuple[Callable[[Rows], Any], list[Rows]]:
        reads = self.reads(split)
        plan = PairScoringPlan(reads.scored_lengths, self.evaluation.batch_size)
        return reads.scored, deal(plan.batches(), *current_rank())

    def padding_facts(self) -> dict[str, float]:
        """Padding of the plan, and what it would be without buckets, for the record."""
        return {
            "padding": round(self.plan.padding(), 4),
            "padding_of_random_batches": round(self.plan.random_padding(), 4),
        }


class BucketSteps(Dataset[TrainStep]):
    """The step at a position of the plan, as one rank reads it."""

    def __init__(self, batch: Callable[[Rows, int], Any], plan: BucketPlan, rank: Rank) -> None:
        self._batch, self._plan, self._rank = batch, plan, rank

    def __getitem__(self, position: tuple[int, int]) -> TrainStep:
        epoch, step = position
        parts = deal(self._plan.step(epoch, step), *self._rank)
        return TrainStep([self._batch(rows, epoch) for rows in parts], epoch, step, carries=False)


class ScoredBatches(Dataset[Any]):
    """Batches of an evaluation."""

    def __init__(self, batch: Callable[[Rows], Any], batches: list[Rows]) -> None:
        self._batch, self._batches = batch, batches

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> Any:
        return self._batch(self._batches[index])
