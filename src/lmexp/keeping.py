"""Which checkpoints a run saves, and when."""

import math
import time
from pathlib import Path
from typing import Any

import lightning
from lightning import Callback

from lmexp.callbacks import Recorder, Segments
from lmexp.checkpoint import kept_by_step, rotate, step_name
from lmexp.checkpoint_files import clear, link, remove
from lmexp.ranks import Ranks
from lmexp.stopping import Signals, Stopper, Terminated
from lmexp.tasks.interface import NonFiniteError


class Keeper(Callback):
    """Saves checkpoints: the newest and the best, always at the end of a step.

    Runs after Recorder, whose figures it reads, and before Stopper takes the run down.

    Args:
        folder: of the run.
        contents: recipe, tokenizer and data hash, which make a checkpoint complete.
        every: steps between two checkpoints; None after validations only.
        keep_best: how many of the best are kept.
        keep_last: how many of the newest: last.ckpt and previous.ckpt are two; where it is more,
            each of them is step-<n>.ckpt besides.
        resumed_from: the checkpoint that the run goes on from, if it does.
    """

    def __init__(
        self,
        folder: Path,
        contents: dict[str, Any],
        *,
        every: int | None,
        keep_best: int,
        keep_last: int,
        resumed_from: Path | None,
        recorder: Recorder,
        stopper: Stopper,
        segments: Segments,
        signals: Signals,
        ranks: Ranks,
    ) -> None:
        self.folder = folder / "checkpoints"
        self.contents = contents
        self.every = every
        self.keep_best = keep_best
        self.keep_last = keep_last
        self.resumed_from = resumed_from
        self.kept: list[tuple[float, str]] = []  # best first
        self._recorder, self._stopper = recorder, stopper
        self._segments, self._signals, self._ranks = segments, signals, ranks
        self._validation_is_due = False

    def state_dict(self) -> dict[str, Any]:
        """The best so far."""
        return {"kept": [list(pair) for pair in self.kept]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.kept = [(value, name) for value, name in state_dict["kept"]]

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, task: Any, checkpoint: dict[str, Any]
    ) -> None:
        """Make the file self-contained."""
        checkpoint.update(self.contents)
        checkpoint["validation_is_due"] = self._validation_is_due

    def on_train_start(self, trainer: lightning.Trainer, task: Any) -> None:
        """From now on a signal waits for the end of a step."""
        self._begin(task.steps_done)

    def on_sanity_check_start(self, trainer: lightning.Trainer, task: Any) -> None:
        """A validation that an earlier session was stopped in is made up for."""
        self._begin(task.steps_done)

    def _begin(self, step: int) -> None:
        self._ranks.gathered(None)  # all have read the checkpoint: files may change
        if self._ranks.is_first:
            self._mend(step)
        self._signals.waits_for_step = True

    def _mend(self, step: int) -> None:
        """Make the files what the checkpoint says: a kill may have come between it and a link.

        Links are made after the checkpoint of the same step, so one that is missing is that file;
        files of the best that the checkpoint knows nothing of are of steps that will come again,
        as are those of later steps.
        """
        clear(self.folder)
        names = {name for _, name in self.kept}
        if self.resumed_from is not None and _best_name(step) in names:
            self._link(self.resumed_from, _best_name(step))
        for file in self.folder.glob("best-*.ckpt"):
            if file.name not in names:
                remove(file)
        self.kept = [pair for pair in self.kept if (self.folder / pair[1]).exists()]
        if self.kept:
            self._link(self.folder / self.kept[0][1], "best.ckpt")
        for later, file in kept_by_step(self.folder).items():
            if later > step:
                remove(file)
        if self.resumed_from is not None:
            self._keep_newest(self.resumed_from, step)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, task: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save every so many steps; where a validation follows, after it."""
        follows = self._segments.ends_at(task.steps_done)
        if task.ballot.signal is not None:
            self._end(trainer, task, validation_is_due=follows)
        if self.every is not None and task.steps_done % self.every == 0 and not follows:
            self.save(trainer, task)

    def on_validation_batch_end(
        self,
        trainer: lightning.Trainer,
        task: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """A signal during a validation ends it; the run goes on with it when it is resumed."""
        task.vote()
        if task.ballot.signal is not None:
            task.put_weights_back()
            self._end(trainer, task, validation_is_due=True)

    def on_test_batch_end(
        self,
        trainer: lightning.Trainer,
        task: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """A signal during the test: all is saved."""
        task.vote()
        if task.ballot.signal is not None:
            raise Terminated(task.ballot.signal, is_agreed=True)

    def on_validation_end(self, trainer: lightning.Trainer, task: Any) -> None:
        """Save; keep it if it is among the best.

        Raises:
            NonFiniteError: the validation loss is NaN or infinite.
        """
        if task.ballot.signal is not None:  # while a sample was put out
            self._end(trainer, task, validation_is_due=True)
        value = self._recorder.figures[task.monitor]
        if not math.isfinite(value):
            what = f"{task.monitor} after step {task.steps_done} is not finite"
            raise NonFiniteError(what, is_of_a_step=False)
        value = -value if task.greater_is_better else value
        if task.schedule is not None:
            task.schedule.observe(value)
        if self._stopper.validated(value):
            self._recorder.best = {"step": task.steps_done, **self._recorder.figures}
        best = _best_name(task.steps_done)
        ranked = sorted([*self.kept, (value, best)])
        self.kept, dropped = ranked[: self.keep_best], ranked[self.keep_best :]
        self.save(trainer, task)
        if self._ranks.is_first:
            self._keep_best(best, [old for _, old in dropped])

    def _keep_best(self, name: str, dropped: list[str]) -> None:
        """Name the checkpoint just saved as one of the best, if it is; delete those that were."""
        last = self.folder / "last.ckpt"
        names = [kept for _, kept in self.kept]
        if name in names:
            self._link(last, name)
            if names[0] == name:
                self._link(last, "best.ckpt")
        for old in dropped:
            remove(self.folder / old)

    def _link(self, file: Path, name: str) -> None:
        link(file, self.folder / name)

    def _end(self, trainer: lightning.Trainer, task: Any, *, validation_is_due: bool) -> None:
        self._validation_is_due = validation_is_due
        self.save(trainer, task)
        raise Terminated(task.ballot.signal, is_agreed=True)

    def save(self, trainer: lightning.Trainer, task: Any) -> None:
        """Write last.ckpt; the one before becomes previous.ckpt, the oldest goes."""
        began = time.perf_counter()
        trainer.save_checkpoint(self.folder / "newest.ckpt")  # written by the first rank
        self.resumed_from = None  # its name is another file's now
        if self._ranks.is_first:
            rotate(self.folder)
            self._keep_newest(self.folder / "last.ckpt", task.steps_done)
            self._recorder.record.cover(task.steps_done)
        self._recorder.leave_out(time.perf_counter() - began)

    def _keep_newest(self, file: Path, step: int) -> None:
        """Number the checkpoint of a step, and delete the numbered ones that are too old."""
        if self.keep_last == 2:
            return  # two are kept without a number
        self._link(file, step_name(step))
        for old in list(kept_by_step(self.folder).values())[self.keep_last :]:
            remove(old)


def _best_name(step: int) -> str:
    return f"best-{step}.ckpt"
