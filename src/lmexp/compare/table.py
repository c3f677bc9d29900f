"""A comparison in the terminal."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lmexp.compare import written
from lmexp.compare.result import Result


def print_result(result: Result, console: Console | None = None) -> None:
    """Quality over seeds, over examples where there are some, cost; and what has to be known.

    Args:
        result: what is shown.
        console: where to; stdout if None.
    """
    console = console or Console()
    console.print(_over_seeds(result))
    if any(group.over_examples for group in result.groups):
        console.print(_over_examples(result))
    console.print(_cost(result))
    if any(group.mismatches for group in result.groups):
        _say(console, f"{written.REFUSED} must not be compared with the baseline: see below")
    for remark in result.remarks:
        _say(console, remark)


def _say(console: Console, text: str) -> None:
    console.print(Text(f"- {text}"), soft_wrap=True)


def _table(title: str, *columns: str) -> Table:
    table = Table("group", *columns, title=title, title_justify="left")
    table.columns[0].overflow = "fold"  # what a narrow terminal folds is the name
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _over_seeds(result: Result) -> Table:
    better = "more" if result.greater_is_better else "less"
    percent = f"{result.confidence:.0%}"
    table = _table(
        f"{result.figure} ({better} is better), over seeds, against {result.baseline}",
        *("n", "mean ± sd", f"{percent} of mean", "difference", f"{percent} of it"),
        *("p", "g", "verdict"),
    )
    for group in result.groups:
        against = group.row.against if group.row else None
        table.add_row(
            Text(group.name),
            str(group.aggregate.n),
            written.mean(group),
            written.interval(group.aggregate.interval),
            written.signed(against.difference if against else None),
            written.interval(against.interval if against else None),
            written.p_value(group.row.p_corrected if group.row else None),
            written.effect(against.hedges_g if against else None),
            written.verdict(group),
        )
    return table


def _over_examples(result: Result) -> Table:
    percent = f"{result.confidence:.0%}"
    table = _table(
        f"{result.figure}, over {result.unit}s, of these trained models alone",
        *("n", "difference", f"{percent} of it", "p bootstrap", "p randomisation", "verdict"),
    )
    for group in result.groups:
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
    return table


def _cost(result: Result) -> Table:
    table = _table("cost of a run, mean", *written.COSTS)
    for group in result.groups:
        table.add_row(Text(group.name), *written.costs(group))
    return table
