"""Why and when a run stops: its last step, its time, patience, or a signal."""

import math
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import lightning
from lightning import Callback

from lmexp.forwarding import OBEYED, SAME_SECONDS, hand_back, take_over


class Terminated(Exception):
    """The run was asked to end by a signal; its exit status is 128 + the signal's number.

    Args:
        number: of the signal.
        is_agreed: whether all ranks know, and end with this one.
    """

    def __init__(self, number: int, *, is_agreed: bool = False) -> None:
        super().__init__(f"{signal.Signals(number).name} received")
        self.number = number
        self.is_agreed = is_agreed


class Signals:
    """SIGTERM, SIGINT, SIGHUP: obeyed at once outside training, at the end of the step within it.

    A second signal is obeyed at once, unless it comes so soon that it is the same request. Under
    nohup SIGHUP is left ignored.
    """

    def __init__(self) -> None:
        self.received: int | None = None  # and not obeyed yet
        self._first: float | None = None  # when the first one came, by time.monotonic
        self.waits_for_step = False
        self._is_over = False
        self._before: dict[int, Any] = {}

    def install(self) -> None:
        """Take the signals over, until restore()."""
        self._before = take_over(self._handle)

    def restore(self) -> None:
        """Give the signals back to who had them; what comes meanwhile comes too late."""
        self._is_over = True
        hand_back(self._before)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._is_over or (self._first is not None and now < self._first + SAME_SECONDS):
            return
        self._first = self._first or now
        if self.received is not None or not self.waits_for_step:
            raise Terminated(number)
        self.received = number


class Ballot:
    """What the ranks agree on in every step: a signal that any of them received, the first's clock.

    Args:
        signals: of this process.
        time_is_over: asked on the first rank.
        is_first: whether this is it.
    """

    def __init__(
        self, signals: Signals, time_is_over: Callable[[], bool], *, is_first: bool
    ) -> None:
        self.signal: int | None = None
        self.time_is_over = False
        self._signals, self._look = signals, time_is_over
        self._is_first = is_first

    def is_asked(self) -> bool:
        """Whether this rank has got a signal that the others may not know of."""
        return self._signals.received is not None

    def cast(self) -> list[float]:
        """This rank's votes."""
        received = self._signals.received
        numbers = [float(received == number) for number in OBEYED]
        return [*numbers, float(self._is_first and self._look())]

    def count(self, votes: list[float]) -> None:
        """The votes of all; SIGTERM goes before SIGINT."""
        *numbers, time_is_over = votes
        for number, ranks in zip(OBEYED, numbers, strict=True):
            if ranks and self.signal is None:
                self.signal = number
        self.time_is_over = bool(time_is_over)


class Stopper(Callback):
    """Ends the fit at the last step, after max_time, or when validation stops improving.

    Args:
        total_steps: of the run, those before a resume included.
        max_seconds: of training, those before a resume included; None for no limit.
        patience: validations without an improvement that are allowed; None for no limit.
    """

    def __init__(self, total_steps: int, max_seconds: float | None, patience: int | None) -> None:
        self.total_steps = total_steps
        self.max_seconds = max_seconds
        self.patience = patience
        self.best: float | None = None
        self.waited = 0
        self.reason = ""
        self.seconds_before = 0.0
        self.trained_seconds: float | None = None  # until the end was seen
        self._had_ended = False  # when the checkpoint was written
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds of training so far, those before a resume included."""
        return self.seconds_before + time.monotonic() - self._started

    def state_dict(self) -> dict[str, Any]:
        """Best loss, validations waited, seconds, and when and why the run ends if it does."""
        return {
            "best": self.best,
            "waited": self.waited,
            "seconds": self.seconds,
            "trained_seconds": self.trained_seconds,
            "reason": self.reason,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.best, self.waited = state_dict["best"], state_dict["waited"]
        self.seconds_before = state_dict["seconds"]
        self.trained_seconds = state_dict.get("trained_seconds")  # not in older checkpoints
        self._had_ended = bool(state_dict["reason"])
        self._started = time.monotonic()

    def ending(self) -> dict[str, Any]:
        """For the summary of a run that has been trained to its end."""
        seconds = self.seconds if self.trained_seconds is None else self.trained_seconds
        return {"stopped_because": self.reason, "training_seconds": round(seconds, 3)}

    def on_train_start(self, trainer: lightning.Trainer, task: Any) -> None:
        """A run that was killed after its end has nothing left but the test."""
        if self._had_ended or task.steps_done >= self.total_steps:
            self._look_at_the_end(trainer, task.steps_done, self.is_late())
        self._look_at_patience(trainer)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, task: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop at the last step or when the time is over."""
        self._look_at_the_end(trainer, task.steps_done, task.ballot.time_is_over)

    def seconds_left(self) -> float:
        """Until max_time is over by this process's clock; infinite without one."""
        return math.inf if self.max_seconds is None else self.max_seconds - self.seconds

    def is_late(self) -> bool:
        """Whether max_time is over by this process's clock."""
        return self.seconds_left() < 0

    def _look_at_the_end(self, trainer: lightning.Trainer, step: int, is_late: bool) -> None:
        if step >= self.total_steps:
            self._stop(trainer, f"all {self.total_steps:,} steps are done")
        elif is_late:
            limit = "trainer.max_time or budget.minutes"
            self._stop(trainer, f"{limit} is over after step {step:,}")

    def validated(self, value: float) -> bool:
        """Take note of a validation loss; whether it is the best so far."""
        improved = self.best is None or value < self.best
        self.best = value if improved else self.best
        self.waited = 0 if improved else self.waited + 1
        return improved

    def on_validation_end(self, trainer: lightning.Trainer, task: Any) -> None:
        """Stop when patience is over."""
        self._look_at_patience(trainer)

    def _look_at_patience(self, trainer: lightning.Trainer) -> None:
        if self.patience is not None and self.waited >= self.patience:
            self._stop(trainer, f"no better validation loss in {self.waited} validations")

    def _stop(self, trainer: lightning.Trainer, reason: str) -> None:
        self.reason = self.reason or reason
        if self.trained_seconds is None:
            self.trained_seconds = self.seconds
        trainer.should_stop = True
