"""Groups of seeds against a baseline: one row a group, with a verdict in words."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from lmexp.compare.seeds import SEEDS_FOR_A_TEST, Aggregate, Difference, aggregate, difference, holm

Verdict = Literal["better", "worse", "no difference shown", "too few seeds", "seeds change nothing"]


class Row(NamedTuple):
    """A group of seeds, and how it stands to the baseline."""

    group: str
    seeds: Aggregate
    against: Difference | None  # None: it is the baseline
    p_corrected: float | None  # Holm's, over all that had a test
    verdict: Verdict | None  # None: it is the baseline


def rows(
    groups: Mapping[str, Sequence[float]],
    baseline: str | Mapping[str, str],
    *,
    greater_is_better: bool,
    confidence: float = 0.95,
) -> list[Row]:
    """Every group against its baseline, corrected for the number of comparisons.

    A group is better or worse if its p-value after Holm's correction is at most 1 - confidence.
    Intervals are of one group or pair each, uncorrected: so one that leaves out 0 may stand beside
    "no difference shown".

    Args:
        groups: figures by seed.
        baseline: the name of one of them; or of several by group, where a baseline has itself.
        greater_is_better: False of losses, perplexities, error rates.
        confidence: of intervals, and 1 less the level of the tests; in (0, 1).

    Returns:
        In the order of the groups.

    Raises:
        ValueError: there is no such baseline, or a group has no figure or one that is not finite.
    """
    of = dict.fromkeys(groups, baseline) if isinstance(baseline, str) else baseline
    for name in of.values():
        if name not in groups:
            raise ValueError(f"the baseline {name!r} is none of the groups: {', '.join(groups)}")
    others = [name for name in groups if name != of[name]]
    found = {name: difference(groups[of[name]], groups[name], confidence) for name in others}
    corrected = dict(zip(others, holm([found[name].p for name in others]), strict=True))
    few = {name for name in groups if len(groups[name]) < SEEDS_FOR_A_TEST}
    table = []
    for name, figures in groups.items():
        against, p = found.get(name), corrected.get(name)
        verdict: Verdict | None = None
        if against is not None:
            too_few = bool(few & {name, of[name]})
            level = 1 - confidence
            verdict = _verdict(against.difference, p, too_few, level, greater_is_better)
        table.append(Row(name, aggregate(figures, confidence), against, p, verdict))
    return table


def _verdict(
    apart: float, p: float | None, has_too_few: bool, level: float, greater_is_better: bool
) -> Verdict:
    if has_too_few:
        return "too few seeds"
    if p is None and apart:
        return "seeds change nothing"  # in neither group: there is no spread to judge by
    if p is None or p > level:
        return "no difference shown"
    return "better" if (apart > 0) == greater_is_better else "worse"
