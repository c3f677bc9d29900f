"""Reports of labels as tables, and a confusion matrix as a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lmexp.label_scores import Report

_READABLE = 40  # classes whose counts are written into the cells


def print_report(report: Report, *, title: str, first: str) -> None:
    """A row for each label, and the averages.

    Args:
        report: of entities, tags or classes.
        title: of the table.
        first: what a label is called.
    """
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    table.add_column(first)
    for name in ("precision", "recall", "f1", "support"):
        table.add_column(name, justify="right")
    for rows in (report.rows, report.averages):
        for label, row in rows.items():
            shares = [f"{value:.3f}" for value in row[:3]]
            table.add_row(label, *shares, f"{row.support}")
        table.add_section()
    Console().print(table)


def draw_confusion(table: Any, classes: Sequence[str], path: Path, *, title: str) -> None:
    """A confusion matrix as a PNG: shades are shares of the row, numbers are counts.

    Args:
        table: (C, C) counts, a row for each true class.
        classes: their names.
        path: of the picture.
        title: over it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    size = min(16.0, 3.0 + 0.4 * len(classes))
    figure = Figure(figsize=(size, size), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=8)
    axes = figure.subplots()
    shares = table / table.sum(axis=1, keepdims=True).clip(min=1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    places = range(len(classes))
    font = 8 if len(classes) <= _READABLE else 4
    axes.set_xticks(places, classes, rotation=90, fontsize=font)
    axes.set_yticks(places, classes, fontsize=font)
    axes.set(xlabel="given", ylabel="right")
    if len(classes) <= _READABLE:
        for row in places:
            for column in places:
                shade = "white" if shares[row, column] > 0.5 else "black"
                axes.text(
                    *(column, row, str(table[row, column])),
                    ha="center",
                    va="center",
                    color=shade,
                    fontsize=7,
                )
    figure.savefig(path, dpi=120, format="png")
