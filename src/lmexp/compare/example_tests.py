"""Tests over examples of those groups whose runs have left the scores of theirs."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lmexp.compare.formulas import Floats, columns, figure, formula_named
from lmexp.compare.groups import Group
from lmexp.compare.metric import Chosen
from lmexp.compare.over_examples import ExampleRow, example_rows, orders
from lmexp.compare.runs import Run
from lmexp.compare.signature import Scored

TOLERANCE = 1e-4  # relative, between a run's figure and that of its examples: float32's sums


class ExampleTests(NamedTuple):
    """What was found."""

    rows: dict[str, ExampleRow]  # by group
    examples: int | None  # None: no test
    unit: str | None  # what an example is
    remarks: list[str]


def example_tests(
    groups: Sequence[Group],
    baseline: Group,
    chosen: Chosen,
    scored: Mapping[int, Scored],
    confidence: float,
) -> ExampleTests:
    """Every group against the baseline, as far as both have scores of the same examples.

    Args:
        groups: that may be compared.
        baseline: one of them, or no test is made.
        chosen: the figure.
        scored: by id of the run.
        confidence: of intervals.
    """
    remarks: list[str] = []
    tables = {}
    for group in groups:
        found = [_table(run, chosen, scored[id(run)]) for run in group.runs]
        if problems := [own for own in found if isinstance(own, str)]:
            remarks.extend(problem for problem in problems if problem)
        else:
            tables[group.name] = [own for own in found if not isinstance(own, str)]
    if not tables or baseline not in groups:  # nobody has any, or the baseline's own do not compare
        return ExampleTests({}, None, None, remarks)
    without = [group.name for group in groups if group.name not in tables]
    if without:
        remarks.append(f"no test over examples of {', '.join(without)}: not all runs have scores")
    if baseline.name not in tables:
        return ExampleTests({}, None, None, remarks)
    own = scored[id(baseline.runs[0])].examples
    assert own is not None
    unit = own.unit
    same = _in_order(groups, tables, baseline, scored, unit, remarks)
    if len(same) < 2:
        return ExampleTests({}, None, None, remarks)
    rows = example_rows(
        same,
        baseline.name,
        formula_named(own.metrics[chosen.bare]["formula"]),
        greater_is_better=chosen.greater_is_better,
        confidence=confidence,
    )
    remarks.extend(f"{name}: {row}" for name, row in rows.items() if isinstance(row, str))
    kept = {name: row for name, row in rows.items() if not isinstance(row, str)}
    return ExampleTests(kept, len(own.keys) if kept else None, unit, remarks)


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
