"""How the jobs of a sweep stand, as a table in the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from lmexp.record_files import read_metrics, read_summary
from lmexp.sweep.causes import CAUSES
from lmexp.sweep.front import finished_trials, front, launched_objectives
from lmexp.sweep.manifest import Job, Manifest


def print_table(manifest: Manifest) -> None:
    """Status and cause of every job, with the figures that chose their checkpoints."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    summaries = [read_summary(manifest.folder_of(job)) for job in manifest.jobs]
    asked = [own.figure for outline in manifest.studies for own in launched_objectives(outline)]
    shown = list(dict.fromkeys(asked)) or _figures(summaries)
    # What a narrow terminal folds is the run's name: so nothing else takes more than it must.
    table = Table("run", "status", box=SIMPLE_HEAD, show_edge=False, padding=(0, 1))
    table.collapse_padding, table.pad_edge = True, False
    table.columns[0].overflow = "fold"
    table.columns[1].no_wrap = True
    for name in ("seconds", *shown):
        table.add_column(name.replace("/", "/\n"), no_wrap=True, justify="right")
    for job, summary in zip(manifest.jobs, summaries, strict=True):
        values = [_written(summary.get(name)) for name in shown]
        seconds = "–" if job.seconds is None else f"{job.seconds:.1f}"
        name = " ".join(job.overrides) or job.folder
        table.add_row(Text(name), Text(_status(manifest, job)), seconds, *values)
    console = Console()
    console.print(table)
    for job in manifest.jobs:
        if job.cause:
            console.print(Text(f"{job.folder}: {job.cause}: {job.error}"), soft_wrap=True)
    for cause, means in CAUSES.items():
        if any(job.cause == cause for job in manifest.jobs):
            console.print(Text(f"{cause}: {means}"), soft_wrap=True)
    console.print(str(manifest.folder), soft_wrap=True, highlight=False)


def print_best(manifest: Manifest) -> None:
    """The best trial of each study; of several objectives, its Pareto front."""
    for outline in manifest.studies:
        trials = finished_trials(manifest, outline)
        found = front(trials, outline)
        names = [own.figure for own in launched_objectives(outline)]
        if len(names) == 1:
            found, head = found[:1], f"best of {outline.name}: "
        else:
            head = "  "
            print(f"Pareto front of {outline.name}, {len(found)} of {len(trials)} finished trials:")
        for job, values in found:
            figures = (f"{name}={value:.6g}" for name, value in zip(names, values, strict=True))
            tried = " ".join(job.overrides[len(outline.swept) :])
            print(f"{head}{', '.join(figures)} with {tried}")


def _written(value: Any) -> str:
    if not isinstance(value, int | float):
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def _status(manifest: Manifest, job: Job) -> str:
    if job.status == "running":
        steps = [line["step"] for line in read_metrics(manifest.folder / job.folder)]
        return f"running: step {max(steps, default=0):,}"
    return job.status


def _figures(summaries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of figures that are shown: the task's own first, then what all models have."""
    chosen = {str(summary["monitor"]) for summary in summaries if "monitor" in summary}
    names = dict.fromkeys([*sorted(chosen - {"loss"}), "loss", "perplexity", "bits_per_byte"])
    figures = [f"{part}/{name}" for name in names for part in ("best", "test")]
    figures = [name for name in figures if not name.startswith(("best/perp", "best/bits"))]
    return [name for name in figures if any(name in summary for summary in summaries)]
