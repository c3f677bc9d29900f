"""What a run measures and writes while Lightning trains."""

import resource
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import lightning
import torch
from lightning import Callback

from lmexp.batch import TrainStep
from lmexp.record import Record
from lmexp.tasks.base import Task
from lmexp.tasks.causal_lm import ScoredText


class ShowsProgress(Protocol):
    """A progress bar."""

    def update(self, step: int, loss: float, tokens_per_second: float) -> None:
        """Show where the run stands."""
        ...


class Segments:
    """The steps up to the next validation, each time that Lightning begins one of its epochs.

    Args:
        steps: the plan's steps, from where the run begins or goes on.
        done: steps of the plan that lie behind.
        total: steps of the run.
        every: steps between two validations; the last step is always followed by one.
    """

    def __init__(self, steps: Iterator[TrainStep], done: int, total: int, every: int) -> None:
        self._steps = steps
        self._taken = done
        self._total = total
        self._every = every

    def ends_at(self, step: int) -> bool:
        """Whether a validation follows after so many steps."""
        return step % self._every == 0 or step >= self._total

    def __iter__(self) -> Iterator[TrainStep]:
        """Steps until the next one that a validation follows."""
        while self._taken < self._total:
            self._taken += 1
            yield next(self._steps)
            if self.ends_at(self._taken):
                return


def peak_memory_bytes() -> int:
    """The most memory held so far: the GPU's where there is one, else this process's."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class Recorder(Callback):
    """Writes train/ and val/ figures, and what the steps cost.

    Args:
        record: where to.
        progress: told of every step.
        every: steps between two lines of training figures.
        flops_per_token: of the network, forward and backward.
        peak_flops: of the device, for the utilisation.
        scored: totals of the validation text.
        sample: a text from the network as it stands; None for no samples.
    """

    def __init__(
        self,
        record: Record,
        progress: ShowsProgress,
        *,
        every: int,
        flops_per_token: float,
        peak_flops: float,
        scored: ScoredText,
        sample: Callable[[], str] | None,
    ) -> None:
        self.record = record
        self.progress = progress
        self.every = every
        self.scored = scored
        self.sample = sample
        self.epoch = 0
        self.tokens = 0
        self.best: dict[str, float] = {}
        self.tokens_per_second = 0.0
        self._share_of_peak = flops_per_token / peak_flops
        self._objective, self._count = 0.0, 0
        self._skipped = 0
        self._forget_times()

    def _forget_times(self) -> None:
        self._last = time.perf_counter()
        self._waited = self._busy = 0.0
        self._timed_steps = self._timed_tokens = 0

    def state_dict(self) -> dict[str, Any]:
        """What the next line's figures are made of, and the totals so far."""
        names = ("tokens", "best", "_objective", "_count", "_skipped")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        for name, value in state_dict.items():
            setattr(self, name, value)

    def on_train_epoch_start(self, trainer: lightning.Trainer, task: Any) -> None:
        """Time spent validating is not the steps'."""
        self._last = time.perf_counter()

    def on_train_batch_start(
        self, trainer: lightning.Trainer, task: Any, batch: TrainStep, batch_idx: int
    ) -> None:
        """The wait for data ends here."""
        now = time.perf_counter()
        self._waited += now - self._last
        self._last = now
        self.epoch = batch.epoch

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        task: Any,
        outputs: Any,
        batch: TrainStep,
        batch_idx: int,
    ) -> None:
        """Add the step up, and write a line every so many."""
        sums = task.last_sums
        self._objective += sums.objective
        self._count += sums.tokens
        self._skipped += not sums.tokens
        self.tokens += int(sums.tokens)
        self._timed_steps += 1
        self._timed_tokens += sums.tokens
        now = time.perf_counter()
        self._busy += now - self._last
        self._last = now
        if task.steps_done % self.every == 0:
            self._write(task)
        self.progress.update(
            task.steps_done, sums.objective / max(sums.tokens, 1), self.tokens_per_second
        )

    def _write(self, task: Task) -> None:
        seconds = self._busy + self._waited
        self.tokens_per_second = self._timed_tokens / seconds
        line: dict[str, float | int | str] = {
            "epoch": self.epoch,
            "tokens": self.tokens,
            "train/gradient_norm": task.gradient_norm,
            "train/learning_rate": task.learning_rate,
            "train/tokens_per_second": round(self.tokens_per_second, 1),
            "train/step_seconds": seconds / self._timed_steps,
            "train/data_wait_share": self._waited / seconds,
            "train/flops_utilisation": self.tokens_per_second * self._share_of_peak,
            "train/peak_memory_bytes": peak_memory_bytes(),
        }
        if self._count:
            line["train/loss"] = self._objective / self._count
        if self._skipped:
            line["train/skipped_steps"] = self._skipped
        self.record.write(task.steps_done, line)
        self._objective, self._count = 0.0, 0
        self._forget_times()

    def on_validation_epoch_end(self, trainer: lightning.Trainer, task: Any) -> None:
        """Write the figures of a validation and a sample, the averaged weights still in place."""
        figures = {f"val/{name}": value for name, value in task.validated(self.scored).items()}
        self.record.write(task.steps_done, {"epoch": self.epoch, "tokens": self.tokens, **figures})
        self.figures = figures
        if self.sample is not None:
            self.record.sample(task.steps_done, self.sample())
