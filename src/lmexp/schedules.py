"""Learning-rate schedules: the factor on the optimizer's learning rate, as a function of the step.

`step` counts optimizer steps from 0: factor(0) is used by the first. All but Plateau are closed
forms without state, so that a resumed run needs nothing but its step.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

from annotated_types import Ge, Gt, Le

Fraction = Annotated[float, Ge(0), Le(1)]


class Schedule(Protocol):
    """A learning-rate schedule."""

    def factor(self, step: int) -> float:
        """What the learning rate of this step is multiplied by."""
        ...

    def observe(self, value: float) -> None:
        """Take note of a validation loss; only Plateau does."""
        ...

    def state(self) -> dict[str, Any]:
        """What has to be saved: empty for a closed form."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        ...


class ClosedForm:
    """A schedule that depends on the step alone."""

    def observe(self, value: float) -> None:
        """A closed form ignores validation."""

    def state(self) -> dict[str, Any]:
        """Nothing to save."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""


def _warmup(step: int, warmup_steps: int) -> float:
    """Linear from 1/warmup_steps to 1, reached at step warmup_steps - 1."""
    return min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0


@dataclass(frozen=True)
class Constant(ClosedForm):
    """Linear warm-up, then constant."""

    warmup_steps: Annotated[int, Ge(0)]

    def factor(self, step: int) -> float:
        """min(1, (step + 1) / warmup_steps)."""
        return _warmup(step, self.warmup_steps)


@dataclass(frozen=True)
class WarmupCosine(ClosedForm):
    """Linear warm-up, then half a cosine down to final_factor (Loshchilov & Hutter 2017, eq. 5).

    Args:
        warmup_steps: steps of the linear part.
        final_factor: factor at total_steps and after; GPT-3 and nanoGPT use 0.1.
        total_steps: optimizer steps of the run.
    """

    warmup_steps: Annotated[int, Ge(0)]
    final_factor: Fraction
    total_steps: Annotated[int, Gt(0)]

    def factor(self, step: int) -> float:
        """final + (1 - final) (1 + cos(pi t)) / 2, t the share of the steps after warm-up done."""
        if step < self.warmup_steps:
            return _warmup(step, self.warmup_steps)
        span = max(1, self.total_steps - self.warmup_steps)
        done = min(1.0, (step - self.warmup_steps) / span)
        cosine = (1.0 + math.cos(math.pi * done)) / 2
        return self.final_factor + (1.0 - self.final_factor) * cosine


@dataclass(frozen=True)
class InverseSqrt(ClosedForm):
    """Linear warm-up, then the inverse square root of the step (Vaswani et al. 2017, eq. 3).

    Differs from the paper in that the peak is the optimizer's learning rate, not d_model ** -0.5.
    """

    warmup_steps: Annotated[int, Gt(0)]

    def factor(self, step: int) -> float:
        """min((step + 1) / warmup, sqrt(warmup / (step + 1)))."""
        position = step + 1
        return min(position / self.warmup_steps, math.sqrt(self.warmup_steps / position))


@dataclass(frozen=True)
class WarmupStableDecay(ClosedForm):
    """Linear warm-up, constant, then a decay over the last steps (Hu et al. 2024, section 4.2).

    Args:
        warmup_steps: steps of the linear part.
        decay_steps: length of the last part, which falls as 1 - sqrt (Hägele et al. 2024).
        final_factor: factor at total_steps.
        total_steps: optimizer steps of the run.
    """

    warmup_steps: Annotated[int, Ge(0)]
    decay_steps: Annotated[int, Gt(0)]
    final_factor: Fraction
    total_steps: Annotated[int, Gt(0)]

    def factor(self, step: int) -> float:
        """1 until total - decay, then final + (1 - final) (1 - sqrt(share of the decay done))."""
        begin = self.total_steps - self.decay_steps
        if step < begin:
            return _warmup(step, self.warmup_steps)
        done = min(1.0, (step - begin) / self.decay_steps)
        decayed = self.final_factor + (1.0 - self.final_factor) * (1.0 - math.sqrt(done))
        return min(_warmup(step, self.warmup_steps), decayed)


@dataclass(frozen=True)
class StepDecay(ClosedForm):
    """Constant, then multiplied by decay once every so many steps (Zaremba et al. 2014, section 4).

    Args:
        hold_steps: steps before the first decay.
        every_steps: steps between two decays.
        decay: in (0, 1); 0.5 for the paper's small network.
    """

    hold_steps: Annotated[int, Ge(0)]
    every_steps: Annotated[int, Gt(0)]
    decay: Annotated[float, Gt(0), Le(1)]

    def factor(self, step: int) -> float:
        """Decay to the power of the number of decays begun by this step."""
        if step < self.hold_steps:
            return 1.0
        return float(self.decay ** (1 + (step - self.hold_steps) // self.every_steps))


class Plateau:
    """Linear warm-up, then multiplied by decay whenever the validation loss stops falling.

    Args:
        warmup_steps: steps of the linear part.
        patience: validations without an improvement that are waited for.
        decay: factor applied after that.
        min_factor: the factor never falls below it.
    """

    def __init__(
        self,
        warmup_steps: Annotated[int, Ge(0)],
        patience: Annotated[int, Ge(0)],
        decay: Annotated[float, Gt(0), Le(1)],
        min_factor: Fraction,
    ) -> None:
        self.warmup_steps = warmup_steps
        self.patience = patience
        self.decay = decay
        self.min_factor = min_factor
        self._level, self._best, self._waited = 1.0, math.inf, 0

    def factor(self, step: int) -> float:
        """Warm-up times the level reached by the decays so far."""
        return _warmup(step, self.warmup_steps) * self._level

    def observe(self, value: float) -> None:
        """One validation loss; every patience + 1 of them without a new best lower the level."""
        if value < self._best:
            self._best, self._waited = value, 0
            return
        self._waited += 1
        if self._waited > self.patience:
            self._level = max(self.min_factor, self._level * self.decay)
            self._waited = 0

    def state(self) -> dict[str, Any]:
        """Level, best loss so far, validations waited."""
        return {"level": self._level, "best": self._best, "waited": self._waited}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self._level, self._best = float(state["level"]), float(state["best"])
        self._waited = int(state["waited"])
