"""How well the budgets of runs were met."""

from typing import NamedTuple

from lmexp.compare.result import Result

BUDGETS = {  # name -> the cost that it limits, how many of those are one of it
    "parameters": ("parameters", 1.0),
    "tokens": ("tokens", 1.0),
    "flops": ("flops", 1.0),
    "minutes": ("training_seconds", 60.0),
}


class Met(NamedTuple):
    """A budget of a group, and what its runs came to."""

    group: str
    budget: str
    asked: float  # of each run, in the unit of the budget
    mean: float | None  # of what was met, likewise; None: it is not recorded
    low: float | None  # the least over what was asked
    high: float | None  # the greatest over what was asked


def met_budgets(result: Result) -> list[Met]:
    """Of every group and each budget that was asked of it."""
    found = []
    for group in result.groups:
        runs = [run for run in result.runs if run.group == group.name]
        budgets = runs[0].budgets  # of one recipe: all have the same
        for name, (field, size) in BUDGETS.items():
            if name not in budgets:
                continue
            asked = budgets[name]
            met = [cost / size for run in runs if (cost := getattr(run.cost, field)) is not None]
            came = (sum(met) / len(met), min(met) / asked, max(met) / asked) if met else [None] * 3
            found.append(Met(group.name, name, asked, *came))
    return found
