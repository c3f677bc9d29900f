"""What each group is compared with: within a data set, the baseline or its counterpart there."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lmexp.compare.groups import DATA, Group, chosen_baseline, without_data
from lmexp.compare.guard import Mismatch


class Part(NamedTuple):
    """Groups of one data set, and the one among them that the others are compared with."""

    baseline: Group
    groups: list[Group]
    mismatches: Mapping[str, Sequence[Mismatch]]  # by group: why it must not be compared

    @property
    def comparable(self) -> list[Group]:
        """Those that may be compared; none where the baseline's own runs do not."""
        if self.mismatches.get(self.baseline.name):
            return []
        return [group for group in self.groups if not self.mismatches.get(group.name)]


def parts(groups: Sequence[Group], asked: str | None, hashes: Mapping[str, Any]) -> list[Part]:
    """Groups by data set, in the order of their first ones; without mismatches.

    Groups are of different data sets if data= is among the keys that name them and has other
    values, unless those name equal data. Data that differ under one name are one data set here:
    that is no choice that was made, and the guard refuses it.

    Args:
        groups: all of them.
        asked: name of the baseline, as chosen_baseline takes it. In its own data set it is the
            baseline; in others the group with its other choices is, or else the first.
        hashes: by group the hash of its data; None: not known.

    Raises:
        ValueError: no group, or several, have that name.
    """
    baseline = chosen_baseline(groups, asked)
    of_name: dict[Any, Any] = {}
    by_data: dict[Any, list[Group]] = {}
    for group in groups:
        name = group.choices.get(DATA)
        known = of_name.setdefault(name, hashes[group.name] or name)
        by_data.setdefault(known, []).append(group)
    return [Part(_baseline(baseline, own), own, {}) for own in by_data.values()]


def _baseline(chosen: Group, groups: Sequence[Group]) -> Group:
    if chosen in groups:
        return chosen
    alike = (group for group in groups if without_data(group) == without_data(chosen))
    return next(alike, groups[0])
