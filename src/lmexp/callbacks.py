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
from lmexp.record import NoRecord, Record
from lmexp.tasks.base import Task
from lmexp.tasks.causal_lm import ScoredText
from lmexp.tasks.interface import Interrupted, Sample


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
        self.waited_seconds = 0.0  # for the data

    def ends_at(self, step: int) -> bool:
        """Whether a validation follows after so many steps."""
        return step % self._every == 0 or step >= self._total

    def __iter__(self) -> Iterator[TrainStep]:
        """Steps until the next one that a validation follows."""
        while self._taken < self._total:
            self._taken += 1
            began = time.perf_counter()
            step = next(self._steps)
            self.waited_seconds += time.perf_counter() - began
            yield step
            if self.ends_at(self._taken):
                return


def peak_memory_bytes(device: torch.device) -> int:
    """The most memory held so far: the GPU's if the run is on one, else this process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class Recorder(Callback):
    """Writes train/ and val/ figures, and what the steps cost.

    Args:
        record: where to.
        progress: told of every step.
        segments: knows how long was waited for data.
        every: steps between two lines of training figures.
        flops_per_token: of the network, forward and backward, for each that is read.
        peak_flops: of all devices, for the utilisation.
        scored: totals of the validation text.
        sample: puts out something from the network as it stands, or None for no samples.
    """

    def __init__(
        self,
        record: Record | NoRecord,
        progress: ShowsProgress,
        segments: Segments,
        *,
        every: int,
        flops_per_token: float,
        peak_flops: float,
        scored: ScoredText,
        sample: Callable[[], Sample | None],
    ) -> None:
        self.record = record
        self.progress = progress
        self.segments = segments
        self.every = every
        self.scored = scored
        self.sample = sample
        self.epoch = 0
        self.tokens = 0
        self.step_seconds = 0.0  # of all steps, whatever lies between them left out
        self.best: dict[str, float] = {}
        self._flops_per_token, self._peak_flops = flops_per_token, peak_flops
        self._nll, self._count = 0.0, 0
        self._last = time.perf_counter()
        self._forget_interval()

    def _forget_interval(self) -> None:
        """Begin the times of the next line."""
        self._seconds = 0.0
        self._waited = self.segments.waited_seconds
        self._steps = self._tokens = 0

    @property
    def tokens_per_second(self) -> float:
        """Of all steps so far, those before a resume included."""
        return self.tokens / self.step_seconds if self.step_seconds else 0.0

    def state_dict(self) -> dict[str, Any]:
        """What the next line's figures are made of, and the totals so far."""
        names = ("epoch", "tokens", "step_seconds", "best", "_nll", "_count")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        for name, value in state_dict.items():
            setattr(self, name, value)

    def leave_out(self, seconds: float) -> None:
        """Time since the last step that is no step's: a checkpoint was written."""
        self._last += seconds

    def on_train_epoch_start(self, trainer: lightning.Trainer, task: Any) -> None:
        """Time spent validating, or fetching the first batch before training, is not the steps'."""
        self._last = time.perf_counter()
        if not self._steps:
            self._waited = self.segments.waited_seconds

    def on_train_batch_start(
        self, trainer: lightning.Trainer, task: Any, batch: TrainStep, batch_idx: int
    ) -> None:
        """Take note of the epoch."""
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
        read = round(sums.tokens * task.reads_per_label)
        if not task.left_out:
            self._nll += sums.nll
            self._count += sums.tokens
            self.tokens += read
        now = time.perf_counter()
        self._seconds += now - self._last
        self.step_seconds += now - self._last
        self._last = now
        self._steps += 1
        self._tokens += read
        if task.steps_done % self.every == 0:
            self._write(task)
        self.progress.update(
            task.steps_done, sums.nll / max(sums.tokens, 1), self.tokens_per_second
        )

    def _write(self, task: Task) -> None:
        speed = self._tokens / self._seconds
        line: dict[str, float | int | str] = {
            "epoch": self.epoch,
            "tokens": self.tokens,
            "train/gradient_norm": task.gradient_norm,
            "train/learning_rate": task.learning_rate,
            "train/tokens_per_second": round(speed, 1),
            "train/step_seconds": self._seconds / self._steps,
            "train/data_wait_share": (self.segments.waited_seconds - self._waited) / self._seconds,
            "train/flops_utilisation": speed * self._flops_per_token / self._peak_flops,
            "train/peak_memory_bytes": peak_memory_bytes(task.device),
        }
        if self._count:
            line["train/loss"] = self._nll / self._count
        if task.updates_done < task.steps_done:
            line["train/skipped_steps"] = task.steps_done - task.updates_done
        self.record.write(task.steps_done, line)
        self._nll, self._count = 0.0, 0
        self._forget_interval()

    def on_validation_epoch_end(self, trainer: lightning.Trainer, task: Any) -> None:
        """Write the figures of a validation and a sample, the averaged weights still in place."""
        figures = {f"val/{name}": value for name, value in task.validated(self.scored).items()}
        try:
            sample = self.sample()
        except Interrupted:  # the validation comes again when the run goes on
            return
        if sample is not None:
            figures |= {f"val/{name}": value for name, value in sample.figures.items()}
        self.record.write(task.steps_done, {"epoch": self.epoch, "tokens": self.tokens, **figures})
        self.figures = figures
        if sample is not None:
            self.record.sample(task.steps_done, sample.text)
