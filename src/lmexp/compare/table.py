"""A comparison in the terminal."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lmexp.compare import written
from lmexp.compare.budgets import Met, met_budgets
from lmexp.compare.result import GroupResult, Result

WIDE = 100  # columns of a terminal that take all in one table
LONGEST_WORD = 12  # of a group's name, that is not folded


def print_result(result: Result, console: Console | None = None) -> None:
    """Quality over seeds, over examples where there are some, cost; and what has to be known.

    Args:
        result: what is shown.
        console: where to; stdout if None.
    """
    console = console or Console()
    for baseline, groups in result.by_baseline.items():
        for table in _over_seeds(result, baseline, groups, console.width):
            console.print(table)
        if any(group.over_examples for group in groups):
            console.print(_over_examples(result, baseline, groups))
    console.print(_cost(result))
    if budgets := met_budgets(result):
        console.print(_budgets(result, budgets))
    if any(group.mismatches for group in result.groups):
        _say(console, f"{written.REFUSED} must not be compared with the baseline: see below")
    for remark in result.remarks:
        _say(console, remark)


def _say(console: Console, text: str) -> None:
    console.print(Text(f"- {text}"), soft_wrap=True)


def _table(result: Result, title: str, *columns: str) -> Table:
    """A narrow one, so that 80 columns take it whole; names fold between their keys."""
    table = Table("group", *columns, title=title, title_justify="left", box=SIMPLE_HEAD)
    table.show_edge, table.padding, table.collapse_padding = False, (0, 1), True
    words = [word for group in result.groups for word in group.name.split()]
    table.columns[0].overflow = "fold"
    table.columns[0].min_width = min(max(map(len, words)), LONGEST_WORD)
    for column in table.columns[1:]:
        column.justify, column.no_wrap = "right", True
        if column.header == "verdict":
            column.justify, column.no_wrap = "left", False
    return table


def _whole_words(table: Table) -> Table:
    """Verdicts fold between their words, and take no more of a narrow terminal than these."""
    for column in table.columns:
        if column.header == "verdict":
            words = [word for cell in column.cells for word in str(cell).split()]
            column.min_width = max(map(len, words), default=0)
    return table


def _over_seeds(
    result: Result, baseline: str, groups: Sequence[GroupResult], width: int
) -> list[Table]:
    """One table, or two where the terminal is too narrow for it."""
    better = "more" if result.greater_is_better else "less"
    percent = f"± {result.confidence:.0%}"
    parts = [
        (
            f"{result.figure} ({better} is better), over seeds",
            ("n", "mean", "sd", percent),
            [_own_cells(group) for group in groups],
        ),
        (
            f"against {baseline}",
            ("difference", percent, "p", "g", "verdict"),
            [_cells_against(group) for group in groups],
        ),
    ]
    if width >= WIDE:
        (title, columns, left), (more, others, right) = parts
        rows = [[*own, *other] for own, other in zip(left, right, strict=True)]
        parts = [(f"{title}, {more}", (*columns, *others), rows)]
    tables = []
    for title, columns, rows in parts:
        table = _table(result, title, *columns)
        for group, cells in zip(groups, rows, strict=True):
            table.add_row(Text(group.name), *cells)
        tables.append(_whole_words(table))
    return tables


def _own_cells(group: GroupResult) -> list[str]:
    own = group.aggregate
    spread = written.NONE if own.deviation is None else written.figure(own.deviation)
    return [str(own.n), written.mean(group), spread, written.reach(own.interval)]


def _cells_against(group: GroupResult) -> list[str]:
    against = group.row.against if group.row else None
    return [
        written.signed(against.difference if against else None),
        written.reach(against.interval if against else None),
        written.p_value(group.row.p_corrected if group.row else None),
        written.effect(against.hedges_g if against else None),
        written.verdict(group),
    ]


def _over_examples(result: Result, baseline: str, groups: Sequence[GroupResult]) -> Table:
    against = f" against {baseline}" if len(result.by_baseline) > 1 else ""
    unit = next(group.unit for group in groups if group.over_examples)  # they are the same examples
    table = _table(
        result,
        f"{result.figure}, over {unit}s, of these trained models alone{against}",
        *("n", "difference", f"{result.confidence:.0%}", "p", "p swaps", "verdict"),
    )
    for group in groups:
        row = group.over_examples
        if row is not None:
            table.add_row(
                Text(group.name),
                f"{group.examples:,}",
                written.signed(row.difference),
                written.interval(row.interval),
                written.p_value(row.p_bootstrap_corrected),
                written.p_value(row.p_randomisation_corrected),
                row.verdict,
            )
    return _whole_words(table)


def _cost(result: Result) -> Table:
    table = _table(result, "cost of a run, mean", *written.COSTS)
    for group in result.groups:
        table.add_row(Text(group.name), *written.costs(group.cost))
    return table


def _budgets(result: Result, budgets: Sequence[Met]) -> Table:
    table = _table(result, "budgets", *written.BUDGET)
    for met in budgets:
        table.add_row(Text(met.group), *written.budget(met))
    return table
