"""Sentences of a comparison: what was refused, and what has to be known beside its numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

from lmexp.compare import guard
from lmexp.compare.groups import Group, other_differences
from lmexp.compare.guard import Mismatch
from lmexp.compare.signature import Scored

LISTED = 6  # keys or runs that a remark names
FEW_SEEDS = {
    1: "one seed has no spread and no test over seeds; seed=1,2,3 would have both",
    2: "two seeds are too few for a test over seeds",
}


def refusals(
    groups: Sequence[Group], baseline: Group, wrong: Mapping[str, Sequence[Mismatch]]
) -> list[str]:
    """Why groups are not compared: a sentence a field, with both values."""
    remarks = []
    for group in groups:
        for field, theirs, own, reason in wrong[group.name]:
            other = "its own first run" if group is baseline else baseline.name
            remarks.append(
                f"{group.name} must not be compared with {other}: its {field} is {_told(own)}, and "
                f"that of {other} {_told(theirs)}: {reason}"
            )
    return remarks


def _told(value: Any) -> str:
    """A value in a sentence; of a hash its beginning."""
    if value is None:
        return "not recorded"
    text = str(value)
    return f"{text[:12]}…" if len(text) >= 32 and text.isalnum() else text


def cautions(groups: Sequence[Group], scored: Mapping[int, Scored]) -> list[str]:
    """What does not forbid a comparison, but has to be known.

    Args:
        groups: all of them.
        scored: by id of the run.
    """
    remarks = []
    for count, what in FEW_SEEDS.items():
        if few := [group.name for group in groups if len(group.runs) == count]:
            remarks.append(f"{', '.join(few)}: {what}")
    for field in guard.OF_ALL_FIGURES:
        known = [scored[id(run)].signature.get(field) for group in groups for run in group.runs]
        values = dict.fromkeys(str(value) for value in known if value is not None)
        if len(values) > 1:
            remarks.append(f"runs were tested in {field} {' and '.join(values)}: rounding differs")
    others = other_differences(groups)
    if others:
        named = [f"{key} ({', '.join(map(str, values))})" for key, values in others.items()]
        more = f" and {len(named) - LISTED} more keys" if len(named) > LISTED else ""
        remarks.append(f"recipes also differ in {', '.join(named[:LISTED])}{more}")
    return remarks
