"""The tables of a comparison's page: cells as they are read, beside what they are sorted by."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from lmexp.compare import written
from lmexp.compare.budgets import Met, met_budgets
from lmexp.compare.result import GroupResult, Result, RunResult


class Cell(NamedTuple):
    """One of a table."""

    text: str
    value: float | str | None  # to sort by; None stands last
    kind: str = ""  # class of the page: group, verdict, name


class Table(NamedTuple):
    """Rows under titles."""

    name: str  # its id
    columns: list[str]
    rows: list[list[Cell]]


def tables(result: Result) -> list[Table]:
    """All that have a row, in the order of the page."""
    percent = f"{result.confidence:.0%}"
    # Where all groups have one baseline, the head of the page names it.
    beside = ["against"] if len(result.by_baseline) > 1 else []
    own = ["group", "verdict", *beside, "n", "mean", "deviation", f"{percent} interval"]
    against = ["difference", f"{percent} of it", "p (Holm)", "effect g"]
    examples = ["n", "difference", f"{percent} of it", "p (Holm)", "p swaps (Holm)"]
    found = [
        Table("groups", own + against, [_group(group, beside) for group in result.groups]),
        Table(
            "examples",
            ["group", "verdict", *beside, *examples],
            [_examples(group, beside) for group in result.groups if group.over_examples],
        ),
        Table("costs", ["group", *written.COSTS], [_costs(group) for group in result.groups]),
        Table("budgets", ["group", *written.BUDGET], [_budget(met) for met in met_budgets(result)]),
        Table("refused", ["group", "field", "here", "baseline", "why"], _refused(result.groups)),
        Table(
            "runs",
            ["run", "group", "seed", result.figure, "status", "cause or reason", *written.COSTS],
            [_run(run) for run in result.runs],
        ),
    ]
    return [table for table in found if table.rows]


def _name(group: GroupResult) -> Cell:
    return Cell(group.name, group.name, "group")


def _word(text: str | None, kind: str = "") -> Cell:
    return Cell(text or "", text or None, kind)


def _group(group: GroupResult, beside: Sequence[str]) -> list[Cell]:
    own, row = group.aggregate, group.row
    against = row.against if row else None
    spread = own.deviation
    reach = against.interval if against else None
    p = row.p_corrected if row else None
    g = against.hedges_g if against else None
    return [
        _name(group),
        _word(written.verdict(group), "verdict"),
        *(_word(group.baseline, "name") for _ in beside),
        Cell(str(own.n), own.n),
        Cell(written.mean(group), own.mean),
        Cell(written.NONE if spread is None else written.figure(spread), spread),
        Cell(written.interval(own.interval), own.interval.low if own.interval else None),
        Cell(
            written.signed(against.difference if against else None),
            against.difference if against else None,
        ),
        Cell(written.interval(reach), reach.low if reach else None),
        Cell(written.p_value(p), p),
        Cell(written.effect(g), g),
    ]


def _examples(group: GroupResult, beside: Sequence[str]) -> list[Cell]:
    row = group.over_examples
    assert row is not None
    return [
        _name(group),
        _word(row.verdict, "verdict"),
        *(_word(group.baseline, "name") for _ in beside),
        Cell(f"{group.examples:,} {group.unit}s", group.examples),
        Cell(written.signed(row.difference), row.difference),
        Cell(written.interval(row.interval), row.interval.low),
        Cell(written.p_value(row.p_bootstrap_corrected), row.p_bootstrap_corrected),
        Cell(written.p_value(row.p_randomisation_corrected), row.p_randomisation_corrected),
    ]


def _cost_cells(of: GroupResult | RunResult) -> list[Cell]:
    own = of.cost
    values = (own.seconds, own.steps, own.tokens, own.parameters, own.flops, own.peak_memory_bytes)
    return [Cell(text, value) for text, value in zip(written.costs(own), values, strict=True)]


def _costs(group: GroupResult) -> list[Cell]:
    return [_name(group), *_cost_cells(group)]


def _budget(met: Met) -> list[Cell]:
    ratio = None if met.mean is None else met.mean / met.asked
    values = (met.budget, met.asked, met.mean, ratio)
    cells = zip(written.budget(met), values, strict=True)
    return [Cell(met.group, met.group, "group"), *(Cell(text, value) for text, value in cells)]


def _refused(groups: Sequence[GroupResult]) -> list[list[Cell]]:
    return [
        [
            _name(group),
            _word(wrong.field),
            _word(_told(wrong.own), "name"),
            _word(_told(wrong.baseline), "name"),
            _word(wrong.reason, "long"),
        ]
        for group in groups
        for wrong in group.mismatches
    ]


def _told(value: Any) -> str:
    if value is None:
        return "not recorded"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _run(run: RunResult) -> list[Cell]:
    why = ": ".join(part for part in (run.cause, run.error) if part) or run.left_out
    figure = run.figure
    seed = run.seed if isinstance(run.seed, int) else None if run.seed is None else str(run.seed)
    return [
        _word(run.folder, "name"),
        Cell(run.group or written.NONE, run.group, "group" if run.group else ""),
        Cell(written.NONE if seed is None else str(seed), seed),
        Cell(written.NONE if figure is None else written.figure(figure), figure),
        _word(run.status, "status"),
        _word(why, "long" if why else ""),
        *_cost_cells(run),
    ]
