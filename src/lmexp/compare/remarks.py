"""Sentences of a comparison: what was refused, and what has to be known beside its numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

from lmexp.breakdown import REMEDY, Breakdown
from lmexp.compare import guard
from lmexp.compare.baselines import Part
from lmexp.compare.groups import Group, other_differences
from lmexp.compare.runs import Run
from lmexp.compare.signature import Scored

LISTED = 6  # groups, keys or runs that a remark names
FEW_SEEDS = {
    1: "one seed has no spread and no test over seeds; seed=1,2,3 would have both",
    2: "two seeds are too few for a test over seeds",
}


def listed(names: Sequence[str]) -> str:
    """Names with commas; of many the first, and how many more there are."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def left_out(why: Sequence[tuple[Run, str]]) -> list[str]:
    """Runs that are part of no group: a sentence a reason, which runs may share.

    Args:
        why: runs with their reasons.
    """
    folders: dict[str, list[str]] = {}
    for run, reason in why:
        folders.setdefault(reason, []).append(str(run.folder))
    return [
        f"{listed(own)} {'is' if len(own) == 1 else 'are'} left out: {reason}"
        for reason, own in folders.items()
    ]


def several_data(parts: Sequence[Part]) -> list[str]:
    """Which baselines there are, where there are several."""
    if len(parts) < 2:
        return []
    return [
        f"there are {len(parts)} data sets, whose figures do not compare: groups are compared with "
        f"their own baseline ({listed([part.baseline.name for part in parts])}), and p-values "
        "corrected over all comparisons"
    ]


def refusals(parts: Sequence[Part]) -> list[str]:
    """Why groups are not compared: a sentence a field, with both values.

    Groups that are refused for the same share one.
    """
    names: dict[tuple[str, str], list[str]] = {}
    for part in parts:
        for group in part.groups:
            other = "its own first run" if group is part.baseline else part.baseline.name
            for field, theirs, own, reason in part.mismatches[group.name]:
                values = f"{field} is {_told(own)}, and that of {other} {_told(theirs)}: {reason}"
                names.setdefault((other, values), []).append(group.name)
    return [
        f"{listed(own)} must not be compared with {other}: {'its' if len(own) == 1 else 'their'} "
        f"{values}"
        for (other, values), own in names.items()
    ]


def _told(value: Any) -> str:
    """A value in a sentence; of a hash its beginning."""
    if value is None:
        return "not recorded"
    text = str(value)
    return f"{text[:12]}…" if len(text) >= 32 and text.isalnum() else text


def _breakdowns(groups: Sequence[Group]) -> list[str]:
    """Which groups have runs that lost again what they had learnt: their figures say little."""
    found = {
        group.name: [own for run in group.runs if (own := Breakdown.of(run.summary))]
        for group in groups
    }
    names = [
        f"{group.name} ({len(found[group.name])} of {len(group.runs)})"
        for group in groups
        if found[group.name]
    ]
    if not names:
        return []
    first = next(own for of_group in found.values() for own in of_group)
    return [
        f"trainings of {listed(names)} broke down, in the first {first.told()}: their figures are "
        f"those of a checkpoint before that, or of what was left, and say little; {REMEDY}"
    ]


def cautions(groups: Sequence[Group], scored: Mapping[int, Scored]) -> list[str]:
    """What does not forbid a comparison, but has to be known.

    Args:
        groups: all of them.
        scored: by id of the run.
    """
    remarks = []
    for count, what in FEW_SEEDS.items():
        if few := [group.name for group in groups if len(group.runs) == count]:
            remarks.append(f"{listed(few)}: {what}")
    remarks.extend(_breakdowns(groups))
    for field in guard.OF_ALL_FIGURES:
        known = [scored[id(run)].signature.get(field) for group in groups for run in group.runs]
        values = dict.fromkeys(str(value) for value in known if value is not None)
        if len(values) > 1:
            remarks.append(f"runs were tested in {field} {' and '.join(values)}: rounding differs")
    others = other_differences(groups)
    if others:
        named = [
            f"{key} ({listed([str(value) for value in values])})" for key, values in others.items()
        ]
        remarks.append(f"recipes also differ in {listed(named)}")
    return remarks
