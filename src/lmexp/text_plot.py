"""Curves in a terminal, one character a point."""

import math
from collections.abc import Iterable, Mapping, Sequence

Curve = tuple[Sequence[float], Sequence[float]]  # x and y, equally long


def text_plot(curves: Mapping[str, Curve], width: int = 80, height: int = 16) -> str:
    """Plots curves over one another, each with a letter of its name as mark.

    Points that are not finite are left out. Where two curves meet, the later one is seen.

    Args:
        curves: name -> (x, y).
        width: columns in all, at least 20.
        height: rows of the plot itself, at least 2.

    Returns:
        Lines with the range of y on the left, the range of x below and a legend above; a
        sentence if there is no finite point.
    """
    marks = _marks(curves)
    points = [
        (x, y, marks[name])
        for name, curve in curves.items()
        for x, y in zip(*curve, strict=True)
        if math.isfinite(x) and math.isfinite(y)
    ]
    if not points:
        return "no finite point to plot"
    left, right = min(x for x, _, _ in points), max(x for x, _, _ in points)
    low, high = min(y for _, y, _ in points), max(y for _, y, _ in points)
    labels = [f"{high:.4g}", f"{low:.4g}"]
    margin = max(map(len, labels))
    columns = width - margin - 2
    grid = [[" "] * columns for _ in range(height)]
    for x, y, mark in points:
        column = _cell(x, left, right, columns)
        row = height - 1 - _cell(y, low, high, height)
        grid[row][column] = mark
    rows = [
        f"{labels[0] if i == 0 else labels[1] if i == height - 1 else '':>{margin}} |{''.join(row)}"
        for i, row in enumerate(grid)
    ]
    legend = ", ".join(f"{mark} = {name}" for name, mark in marks.items())
    ends = f"{left:.6g}{f'{right:.6g}':>{columns - len(f'{left:.6g}')}}"
    axis = [" " * margin + " +" + "-" * columns, " " * (margin + 2) + ends]
    return "\n".join(line.rstrip() for line in [legend, *rows, *axis])


def _marks(names: Iterable[str]) -> dict[str, str]:
    """The first letter of each name that no name before it took; `*` if all are taken."""
    marks: dict[str, str] = {}
    for name in names:
        free = (letter for letter in name if letter.isalpha() and letter not in marks.values())
        marks[name] = next(free, "*")
    return marks


def _cell(value: float, low: float, high: float, cells: int) -> int:
    """Index of the cell that a value falls in; one value alone is in the first."""
    return round((value - low) / (high - low) * (cells - 1)) if high > low else 0
