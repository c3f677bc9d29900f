"""Which checkpoints a run saves, and when."""

from pathlib import Path
from typing import Any

import lightning
from lightning import Callback

from lmexp.callbacks import Recorder, Segments
from lmexp.checkpoint import keep_previous
from lmexp.stopping import Signals, Stopper, Terminated


class Keeper(Callback):
    """Saves checkpoints: the two newest and the best, always at the end of a step.

    Runs after Recorder, whose figures it reads, and before Stopper takes the run down.

    Args:
        folder: of the run.
        contents: recipe and tokenizer, which make a checkpoint complete.
        every: steps between two checkpoints; None after validations only.
        keep_best: how many of the best are kept.
    """

    def __init__(
        self,
        folder: Path,
        contents: dict[str, Any],
        *,
        every: int | None,
        keep_best: int,
        recorder: Recorder,
        stopper: Stopper,
        segments: Segments,
        signals: Signals,
    ) -> None:
        self.folder = folder / "checkpoints"
        self.contents = contents
        self.every = every
        self.keep_best = keep_best
        self.kept: list[tuple[float, str]] = []  # best first
        self._recorder, self._stopper = recorder, stopper
        self._segments, self._signals = segments, signals
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
        self._wait_for_steps()

    def on_sanity_check_start(self, trainer: lightning.Trainer, task: Any) -> None:
        """A validation that an earlier session was stopped in is made up for."""
        self._wait_for_steps()

    def _wait_for_steps(self) -> None:
        self._signals.install()  # Lightning has put its own in the way
        self._signals.waits_for_step = True

    def on_train_batch_end(
        self, trainer: lightning.Trainer, task: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save every so many steps; where a validation follows, after it."""
        follows = self._segments.ends_at(task.steps_done)
        if self._signals.received is not None:
            self._end(trainer, validation_is_due=follows)
        if self.every is not None and task.steps_done % self.every == 0 and not follows:
            self.save(trainer)

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
        if self._signals.received is not None:
            task.put_weights_back()
            self._end(trainer, validation_is_due=True)

    def on_validation_end(self, trainer: lightning.Trainer, task: Any) -> None:
        """Save; keep it if it is among the best."""
        name, _ = task.monitor
        value = self._recorder.figures[name]
        if task.schedule is not None:
            task.schedule.observe(value)
        if self._stopper.validated(value):
            self._recorder.best = {"step": task.steps_done, **self._recorder.figures}
        best = f"best-{task.steps_done}.ckpt"
        ranked = sorted([*self.kept, (value, best)])
        self.kept, dropped = ranked[: self.keep_best], ranked[self.keep_best :]
        self.save(trainer)
        if (value, best) in self.kept:
            self._link(best)
            if self.kept[0] == (value, best):
                self._link("best.ckpt")
        for _, old in dropped:
            (self.folder / old).unlink(missing_ok=True)

    def _link(self, name: str) -> None:
        """A second name for last.ckpt, where the filesystem has such; else a copy."""
        (self.folder / name).unlink(missing_ok=True)
        try:
            (self.folder / name).hardlink_to(self.folder / "last.ckpt")
        except OSError:
            unfinished = self.folder / (name + ".tmp")
            unfinished.write_bytes((self.folder / "last.ckpt").read_bytes())
            unfinished.replace(self.folder / name)

    def _end(self, trainer: lightning.Trainer, *, validation_is_due: bool) -> None:
        assert self._signals.received is not None
        self._validation_is_due = validation_is_due
        self.save(trainer)
        raise Terminated(self._signals.received)

    def save(self, trainer: lightning.Trainer) -> None:
        """Write last.ckpt; the one before becomes previous.ckpt."""
        newest = self.folder / "newest.ckpt"
        trainer.save_checkpoint(newest)
        keep_previous(self.folder)
        newest.replace(self.folder / "last.ckpt")
