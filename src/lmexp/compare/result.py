"""What a comparison has found: plain values, of which every output is written.

Percentages, nats and so on are those of the figure; costs are in the units of Cost.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lmexp.compare.curves import Curve
from lmexp.compare.guard import Mismatch
from lmexp.compare.over_examples import ExampleRow
from lmexp.compare.runs import Cost
from lmexp.compare.seeds import Aggregate
from lmexp.compare.verdicts import Row

FORMAT = 2


@dataclass(frozen=True)
class RunResult:
    """One run.

    Args:
        folder: as it was found.
        group: whose statistics it is part of; None: of none.
        seed: of its recipe.
        status: finished, or why not.
        cause: of a job that failed.
        error: what it said last.
        left_out: why it is part of no statistics; None if it is.
        overrides: of its sweep.
        figure: the one that is compared.
        figures: all of its test and best validation.
        cost: what it took.
        budgets: that were asked of it, such as {"minutes": 5}.
        signature: what its figure depends on.
    """

    folder: str
    group: str | None
    seed: Any
    status: str
    cause: str | None
    error: str | None
    left_out: str | None
    overrides: list[str]
    figure: float | None
    figures: dict[str, float]
    cost: Cost
    budgets: dict[str, float]
    signature: dict[str, Any]


@dataclass(frozen=True)
class GroupResult:
    """Runs that differ in their seed alone.

    Args:
        name: of the group.
        baseline: the group of its data set that it is compared with; itself, of a baseline.
        choices: what it is named by, by key.
        seeds: of its runs.
        figures: of its runs, in the order of seeds.
        aggregate: mean, deviation, interval of the mean.
        row: how it stands to the baseline over seeds; None of a group that must not be compared.
        over_examples: the same over examples; None of the baseline, or where there is no such test.
        examples: N of it; None where there is none.
        unit: what an example is, such as document; None where there is none.
        mismatches: why it must not be compared with the baseline; empty if it may be.
        cost: means over its runs.
        curve: of the live figure; None without one.
    """

    name: str
    baseline: str
    choices: dict[str, Any]
    seeds: list[Any]
    figures: list[float]
    aggregate: Aggregate
    row: Row | None
    over_examples: ExampleRow | None
    examples: int | None
    unit: str | None
    mismatches: list[Mismatch]
    cost: Cost
    curve: Curve | None


@dataclass(frozen=True)
class Result:
    """A whole comparison.

    Args:
        figure: by which runs are compared, such as test/loss.
        greater_is_better: of it.
        live: what of metrics.jsonl the curves are of.
        confidence: of intervals; tests are at 1 less it.
        baseline: name of the group that was chosen; of other data sets see GroupResult.
        resamples: of the tests over examples.
        groups: data set by data set, in the order of their first runs.
        runs: all that were found.
        remarks: sentences: what was refused or left out, and why.
    """

    figure: str
    greater_is_better: bool
    live: str
    confidence: float
    baseline: str
    resamples: int
    groups: list[GroupResult]
    runs: list[RunResult]
    remarks: list[str]

    @property
    def by_baseline(self) -> dict[str, list[GroupResult]]:
        """The groups of each data set, with their baseline among them."""
        found: dict[str, list[GroupResult]] = {}
        for group in self.groups:
            found.setdefault(group.baseline, []).append(group)
        return found

    def as_dict(self) -> dict[str, Any]:
        """For JSON: tuples with names become mappings, numbers that are not finite None."""
        plain: dict[str, Any] = _plain(asdict(self, dict_factory=dict))
        return {"format": FORMAT, **plain}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return _plain(value._asdict())
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
