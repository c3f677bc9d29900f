"""Tests over examples of those groups whose runs have left the scores of theirs."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lmexp.compare.baselines import Part
from lmexp.compare.formulas import Floats, Formula, columns, figure, formula_named
from lmexp.compare.groups import Group
from lmexp.compare.metric import Chosen
from lmexp.compare.over_examples import (
    ExampleRow,
    ExampleTest,
    corrected,
    example_differences,
    orders,
)
from lmexp.compare.remarks import listed
from lmexp.compare.runs import Run
from lmexp.compare.signature import Scored

TOLERANCE = 1e-4  # relative, between a run's figure and that of its examples: float32's sums


class ExampleTests(NamedTuple):
    """What was found."""

    rows: dict[str, ExampleRow]  # by group
    examples: dict[str, int]  # N, of each group that has a row
    units: dict[str, str]  # what an example of it is: data sets may differ in that
    remarks: list[str]


class _Tables(NamedTuple):
    """Of one data set: what figures are computed of, in one order of examples."""

    of_group: dict[str, list[Floats]]
    formula: Formula
    unit: str


def example_tests(
    parts: Sequence[Part], chosen: Chosen, scored: Mapping[int, Scored], confidence: float
) -> ExampleTests:
    """Every group against its baseline, as far as both have scores of the same examples.

    Args:
        parts: data sets, corrected together.
        chosen: the figure.
        scored: by id of the run.
        confidence: of intervals.
    """
    remarks: list[str] = []
    tests: dict[str, ExampleTest] = {}
    examples: dict[str, int] = {}
    units: dict[str, str] = {}
    for part in parts:
        tables = _tables(part, chosen, scored, remarks)
        if tables is None:
            continue
        own, formula, unit = tables
        found = example_differences(own, part.baseline.name, formula, confidence=confidence)
        for name, test in found.items():
            if isinstance(test, str):
                remarks.append(f"{name}: {test}")
            else:
                tests[name], examples[name], units[name] = test, len(own[name][0]), unit
    rows = corrected(tests, confidence, greater_is_better=chosen.greater_is_better)
    return ExampleTests(rows, examples, units, remarks)


def _tables(
    part: Part, chosen: Chosen, scored: Mapping[int, Scored], remarks: list[str]
) -> _Tables | None:
    """Those of groups that can be tested against the baseline; None where there are none."""
    groups, tables = part.comparable, {}
    for group in groups:
        found = [_table(run, chosen, scored[id(run)]) for run in group.runs]
        if problems := [own for own in found if isinstance(own, str)]:
            remarks.extend(problem for problem in problems if problem)
        else:
            tables[group.name] = [own for own in found if not isinstance(own, str)]
    if not tables:
        return None
    without = [group.name for group in groups if group.name not in tables]
    if without:
        remarks.append(f"no test over examples of {listed(without)}: not all runs have scores")
    if part.baseline.name not in tables:
        return None
    own = scored[id(part.baseline.runs[0])].examples
    assert own is not None
    same = _in_order(groups, tables, part.baseline, scored, own.unit, remarks)
    if len(same) < 2:
        return None
    return _Tables(same, formula_named(own.metrics[chosen.bare]["formula"]), own.unit)


def _table(run: Run, chosen: Chosen, known: Scored) -> Floats | str:
    """(N, C) what a run's figure is computed of; or why there is none, "" if nobody kept any."""
    if known.trouble:
        whose = run.folder if run.remote is None else "runs from W&B"  # once for all of them
        return f"no test over examples of {whose}: {known.trouble}"
    if known.examples is None:
        return ""
    metric = known.examples.metrics.get(chosen.bare)
    if metric is None:
        return f"no test over examples: {chosen.name} is not computed of sums over examples"
    try:
        table = columns(known.examples.statistics, metric, chosen.name)
    except ValueError as error:
        return f"no test over examples of {run.folder}: {error}"
    again, said = figure(formula_named(metric["formula"]), table), run.figures[chosen.name]
    if not abs(again - said) <= TOLERANCE * max(abs(said), TOLERANCE):
        return (
            f"no test over examples of {run.folder}: its {chosen.name} is {said:.6g}, and that of "
            f"the examples in its folder {again:.6g}: they are of another test"
        )
    return table


def _in_order(
    groups: Sequence[Group],
    tables: Mapping[str, Sequence[Floats]],
    baseline: Group,
    scored: Mapping[int, Scored],
    unit: str,
    remarks: list[str],
) -> dict[str, list[Floats]]:
    """Tables of those groups that have the baseline's examples, in the order of its first run."""
    keys = {
        group.name: [kept.keys for run in group.runs if (kept := scored[id(run)].examples)]
        for group in groups
        if group.name in tables
    }
    reference = keys[baseline.name][0]
    same: dict[str, list[Floats]] = {}
    for name, own in keys.items():
        found = orders(reference, own)
        known = [order for order in found if order is not None]
        if len(known) < len(found):
            remarks.append(
                f"no test over examples of {name}: it has {len(own[0]):,} {unit}s and "
                f"{baseline.name} {len(reference):,}, and they are not the same"
            )
            continue
        same[name] = [table[order] for table, order in zip(tables[name], known, strict=True)]
    return same if baseline.name in same else {}
