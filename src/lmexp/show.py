"""`python -m lmexp show <run>`: curves, figures, samples and counts of a run, and curves.png."""

import argparse
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lmexp.nested import flat
from lmexp.output_files import check_output
from lmexp.record_files import read_metrics, read_samples, read_summary
from lmexp.run_folders import newest_run
from lmexp.text_plot import Curve, text_plot

MAX_POINTS = 5_000  # of a curve in the picture; more cannot be told apart


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("run", help="a run folder, a folder above (its newest run), a checkpoint")
    parser.add_argument("--metric", default="loss", help="curve in the terminal (default: loss)")
    parser.add_argument("--samples", type=int, default=3, help="newest samples shown (default: 3)")
    parser.add_argument("--png", type=Path, help="picture of all curves (default: RUN/curves.png)")


def main(args: argparse.Namespace) -> int:
    """Runs the command.

    Raises:
        FileNotFoundError: there is no run, or nothing is recorded in it yet.
        ValueError: no curve has that name, or no picture can be written where it was told to go.
    """
    if args.samples < 0:
        raise ValueError(f"--samples {args.samples}: 0 or more")
    if args.png is not None:
        check_output("--png", args.png, suffix=".png")
    show(newest_run(args.run), metric=args.metric, num_samples=args.samples, png=args.png)
    return 0


def show(
    run: Path,
    *,
    metric: str = "loss",
    num_samples: int = 3,
    png: Path | None = None,
    console: Console | None = None,
) -> None:
    """Prints a run's record and draws its curves.

    Args:
        run: the run folder.
        metric: `loss` shows train/loss and val/loss; `val/loss` that one alone.
        num_samples: how many samples, the newest ones.
        png: where the picture goes; curves.png in the run folder if None.
        console: where to print; stdout if None.

    Raises:
        FileNotFoundError: nothing is recorded yet.
        ValueError: no curve has that name.
    """
    console = console or Console()
    curves = read_curves(run)
    if not curves:
        raise FileNotFoundError(
            f"{run} has no figures: its metrics.jsonl is missing or empty; the run has only just "
            "begun, or failed before its first step"
        )
    chosen = {name: c for name, c in curves.items() if metric in (name, name.rpartition("/")[2])}
    if not chosen:
        raise ValueError(f"--metric {metric}: {run} records {', '.join(sorted(curves))}")
    console.rule(str(run), align="left")
    console.print(_plain(text_plot(chosen, width=min(console.width, 100))))
    console.print(_figures(curves))
    for title, facts in (("summary", read_summary(run)), ("data", _data_facts(run))):
        if facts:
            console.print(_facts(title, facts))
    for step, text in list(read_samples(run))[-num_samples:] if num_samples > 0 else []:
        console.rule(f"sample at step {step}", align="left")
        console.print(_plain(text))
    picture = draw(curves, png or run / "curves.png", title=str(run))
    console.print(_plain(f"curves: {picture}"), soft_wrap=True)


def _plain(text: str) -> Text:
    """Text in which brackets mean themselves."""
    return Text(text)


def read_curves(run: Path) -> dict[str, Curve]:
    """`split/name` -> (steps, values) of every numeric metric of a run, in order of appearance."""
    curves: dict[str, tuple[list[float], list[float]]] = {}
    for line in read_metrics(run):
        for name, value in line.items():
            if "/" in name and isinstance(value, int | float):
                steps, values = curves.setdefault(name, ([], []))
                steps.append(line["step"])
                values.append(value)
    return dict(curves)


def _figures(curves: Mapping[str, Curve]) -> Table:
    """First, least, greatest and last value of each metric."""
    table = Table("metric", "first", "least", "at step", "greatest", "last", box=None)
    table.columns[0].no_wrap = True  # with names whole it fits 80 columns
    for column in table.columns[1:]:
        column.justify = "right"
    for name, (steps, values) in curves.items():
        finite = [
            (value, step) for step, value in zip(steps, values, strict=True) if math.isfinite(value)
        ]
        least, at_step = min(finite, default=(math.nan, math.nan))
        greatest, _ = max(finite, default=(math.nan, math.nan))
        cells = (values[0], least, at_step, greatest, values[-1])
        table.add_row(Text(name), *(f"{cell:.4g}" for cell in cells))
    return table


def _data_facts(run: Path) -> dict[str, Any]:
    """What environment.json says of the data: source, hashes, tokens, lines dropped by reason."""
    path = run / "environment.json"
    data = json.loads(path.read_text(encoding="utf-8")).get("data") if path.exists() else None
    return flat(data or {}, separator="/")


def _facts(title: str, facts: Mapping[str, Any]) -> Table:
    table = Table(title=title, title_justify="left", show_header=False, box=None)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for key, value in facts.items():
        shown = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else value
        table.add_row(Text(key), Text(str(shown)))
    return table


def draw(curves: Mapping[str, Curve], path: Path, *, title: str) -> Path:
    """Draws every metric over the steps, splits of one metric in one panel, as a PNG.

    Args:
        curves: as `read_curves` gives them.
        path: the file to write; its folder must exist.
        title: above the panels.

    Returns:
        The path.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = list(dict.fromkeys(name.partition("/")[2] for name in curves))
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(5 * columns, 3.2 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=9)
    for index, panel in enumerate(panels, start=1):
        axes = figure.add_subplot(rows, columns, index)
        for name, (steps, values) in curves.items():
            split, _, metric = name.partition("/")
            if metric == panel:
                stride = math.ceil(len(steps) / MAX_POINTS)
                mark = "o" if len(steps) < 50 else ""
                axes.plot(steps[::stride], values[::stride], label=split, marker=mark, markersize=3)
        axes.set(title=panel, xlabel="step")
        axes.grid(visible=True, alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=120)
    return path
