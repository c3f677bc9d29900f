"""A live figure over the steps of a group's runs: their mean, the least and the greatest."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lmexp.compare.runs import Run

MOST_POINTS = 1000  # of a curve; more cannot be told apart


class Curve(NamedTuple):
    """Equally long lists."""

    steps: list[int]
    mean: list[float]
    low: list[float]  # least of the runs
    high: list[float]  # greatest


def curve(runs: Sequence[Run], name: str) -> Curve | None:
    """Of the steps at which every run has a finite value; None if there are none.

    A mean over the runs that are left would jump where one of them ends.

    Args:
        runs: of a group.
        name: of metrics.jsonl, such as val/loss.
    """
    values = [
        {step: value for step, value in run.live(name) if math.isfinite(value)} for run in runs
    ]
    steps = sorted(set.intersection(*(set(own) for own in values))) if values else []
    if not steps:
        return None
    steps = steps[:: math.ceil(len(steps) / MOST_POINTS)]
    table = np.array([[own[step] for step in steps] for own in values])
    return Curve(
        steps,
        table.mean(axis=0).tolist(),
        table.min(axis=0).tolist(),
        table.max(axis=0).tolist(),
    )
