"""What is done about steps that would spoil a training: losses that are not finite, or leap up."""

import math
from typing import Any, Literal

Nonfinite = Literal["stop", "skip"]
Spike = Literal["report", "skip"]

MOST_IN_A_ROW = 10  # skipped steps: more of them are no accident of a batch
DECAY = 0.98  # of mean and variance, a step: they remember about fifty
FIRST_STEPS = 50  # that no spike is looked for in: the loss falls fast


class Guard:
    """Judges each step by its loss, the same on all ranks.

    Args:
        on_nonfinite: end the training, or leave the step out.
        on_spike: say so, or also leave the step out.
        spike_deviations: standard deviations above the mean of the last steps' losses that make a
            spike (Chowdhery et al. 2022, section 5.1, skipped such steps by hand).
    """

    def __init__(
        self,
        on_nonfinite: Nonfinite = "stop",
        on_spike: Spike = "report",
        spike_deviations: float = 6.0,
    ) -> None:
        self.on_nonfinite, self.on_spike = on_nonfinite, on_spike
        self.spike_deviations = spike_deviations
        self.skipped = 0  # steps
        self.spikes = 0
        self._nonfinite = self._leaps = 0  # in a row
        self._seen = 0  # steps that mean and variance were taken of
        self._mean, self._variance = 0.0, 0.0

    def state(self) -> dict[str, float]:
        """For a checkpoint."""
        return {name: value for name, value in vars(self).items() if name in _STATE}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from state()."""
        vars(self).update({name: state[name] for name in _STATE})

    def may_skip_nonfinite(self) -> bool:
        """Whether a step whose loss or gradient is not finite is left out; False: the run ends."""
        return self.on_nonfinite == "skip" and self._nonfinite < MOST_IN_A_ROW

    def skip_nonfinite(self) -> None:
        """Count a step that is left out for that."""
        self.skipped += 1
        self._nonfinite += 1

    def skip_spike(self) -> None:
        """Count a step that is left out because is_spike() said so."""
        self.skipped += 1

    def took(self) -> None:
        """A step has changed the weights."""
        self._nonfinite = 0

    def is_spike(self, loss: float) -> bool:
        """Whether a step's loss, nats per token, leaps up from those before; takes note of it."""
        limit = self._mean + self.spike_deviations * math.sqrt(self._variance)
        leaps = self._seen >= FIRST_STEPS and loss > limit
        if leaps and self._leaps < MOST_IN_A_ROW:
            self.spikes += 1
            self._leaps += 1
            return True
        self._leaps = 0  # what goes on for long is where the loss now is
        self._seen += 1
        share = max(1 - DECAY, 1 / self._seen)
        difference = loss - self._mean
        self._mean += share * difference
        self._variance = (1 - share) * (self._variance + share * difference**2)
        return False


_STATE = ("skipped", "spikes", "_nonfinite", "_leaps", "_seen", "_mean", "_variance")
