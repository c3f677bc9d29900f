"""Whether a training lost again what it had learnt."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Self

LEVELS = 10  # of a curve: means, as the losses of single steps differ by their batches
LEAST_LEARNT = 0.1  # of the first loss: below it there is little to lose
MOST_LOST = 0.5  # of what had been learnt
SUMMARY_PREFIX = "breakdown/"
REMEDY = "try a lower optimizer.lr or more schedule.warmup_steps"


class Breakdown(NamedTuple):
    """A training loss that fell, and rose again most of the way.

    Args:
        step: the last one at the lower level.
        lowest: level of the training loss up to there, nats.
        highest: the highest level after it.
    """

    step: int
    lowest: float
    highest: float

    @classmethod
    def of(cls, summary: Mapping[str, Any]) -> Self | None:
        """As a summary has it; None: it has none."""
        if f"{SUMMARY_PREFIX}step" not in summary:
            return None
        return cls(*(summary[f"{SUMMARY_PREFIX}{name}"] for name in cls._fields))

    def facts(self) -> dict[str, float]:
        """For a summary."""
        return {f"{SUMMARY_PREFIX}{name}": value for name, value in self._asdict().items()}

    def told(self) -> str:
        """Numbers alone."""
        rise = f"from {self.lowest:.3g} to {self.highest:.3g} after step {self.step:,}"
        return f"the training loss rose {rise}"


def find_breakdown(losses: Iterable[tuple[int, float]]) -> Breakdown | None:
    """The greatest loss of what had been learnt, if it was more than half; else None.

    Too high a rate ends in this without a leap or a loss that is not finite: networks that
    normalise after their sublayers are the known ones (Xiong et al. 2020, arXiv:2002.04745). What
    is tested is the best checkpoint, often from before, so that no figure of the test tells.

    Args:
        losses: (step, training loss) of a whole run, in order; those not finite are left out.
    """
    curve = [(step, loss) for step, loss in losses if math.isfinite(loss)]
    width = len(curve) // LEVELS
    if width < 2:
        return None
    first = curve[0][1]
    found, worst = None, MOST_LOST
    step, lowest = curve[0]
    for begin in range(0, LEVELS * width, width):
        part = curve[begin : begin + width]
        level = sum(loss for _, loss in part) / width
        if level < lowest:
            step, lowest = part[-1][0], level
        learnt = first - lowest
        if learnt >= LEAST_LEARNT * abs(first) and level - lowest > worst * learnt:
            found, worst = Breakdown(step, lowest, level), (level - lowest) / learnt
    return found
