"""Sweeps: every combination checked first, then each run in a process of its own, one at a time."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from lmexp.atomic import write_atomically
from lmexp.check import check
from lmexp.forwarding import Forwarder
from lmexp.launch_ranks import OF_A_LAUNCHER
from lmexp.recipe import Composition, composition, expand
from lmexp.run_folder import RECIPE, claim, claim_named, write_recipe
from lmexp.targets import as_flags

SWEEPS = Path("logs", "sweeps")


@dataclass(frozen=True)
class Sweep:
    """How a sweep is kept.

    Args:
        name: of the folder under logs/sweeps; None: the runs' common name, or the swept keys.
    """

    name: str | None


@dataclass
class Job:
    """One run of a sweep, a line of its manifest."""

    folder: str
    overrides: list[str]
    status: str = "waiting"  # waiting, running, finished, failed or stopped
    return_code: int | None = None
    seconds: float | None = None
    error: str | None = None  # the last line on stderr of a run that failed


class Planned(NamedTuple):
    """A combination that has passed the check."""

    overrides: list[str]  # as swept
    composed: Composition


def sweep(overrides: Sequence[str], config_dir: str | None, allow_targets: Sequence[str]) -> int:
    """Command `train -m`; the exit status is 0 if all runs finished.

    Raises:
        ValueError: one of the combinations would be refused; none has been started.
    """
    planned = plan(overrides, config_dir, allow_targets)
    folder = _claim(planned)
    jobs = []
    for index, (swept, composed) in enumerate(planned):
        job = folder / _job_name(index, len(planned), swept)
        job.mkdir()
        write_recipe(composed.recipe, job)
        jobs.append(Job(job.name, swept))
    print(f"{len(jobs)} runs in {folder}, one after the other", flush=True)
    manifest = Manifest(folder, jobs)
    manifest.write()
    status = _run_all(manifest, [job.composed.allow_targets for job in planned])
    print_table(folder, jobs)
    return status or int(any(job.status != "finished" for job in jobs))


def plan(
    overrides: Sequence[str], config_dir: str | None, allow_targets: Sequence[str]
) -> list[Planned]:
    """Compose and check every combination.

    Raises:
        ValueError: of the first that is refused, with its overrides and the number of the others.
    """
    combinations = expand(overrides, config_dir)
    swept = [line for line in combinations[0] if any(line not in c for c in combinations)]
    keys = {line.partition("=")[0] for line in swept}
    planned, refused = [], []
    for combination in combinations:
        mine = [line for line in combination if line.partition("=")[0] in keys]
        try:
            composed = composition(combination, config_dir, allow_targets)
            if composed.recipe.get("resume") is not None:
                raise ValueError("resume= goes on with one run, not with a sweep: leave -m out")
            check(composed.recipe, composed.allow_targets, composed.origins)
        except (ValueError, PermissionError) as error:
            refused.append(f"{' '.join(mine) or 'every run'}: {error}")
            continue
        planned.append(Planned(mine, composed))
    if refused:
        share = f" ({len(refused)} of {len(combinations)} combinations are refused)"
        raise ValueError(refused[0] + (share if len(combinations) > 1 else ""))
    _build_sizes(planned)
    return planned


def _build_sizes(planned: Sequence[Planned]) -> None:
    from lmexp.trial import build_sizes

    for swept, composed in planned:
        try:
            build_sizes(composed.recipe, composed.allow_targets, composed.origins)
        except ValueError as error:
            raise ValueError(f"{' '.join(swept) or 'every run'}: {error}") from None


def _claim(planned: Sequence[Planned]) -> Path:
    composed = planned[0].composed
    chosen = composed.folders.get("hydra.sweep.dir")
    if chosen:
        return claim_named(Path(chosen))
    names = {job.composed.recipe["name"] for job in planned}
    name = composed.recipe["sweep"].get("name")
    if name is None:
        keys = [line.partition("=")[0] for line in planned[0].overrides]
        name = names.pop() if len(names) == 1 else "-".join(keys)
    return claim(SWEEPS / _safe(name))


def _job_name(index: int, count: int, swept: Sequence[str]) -> str:
    number = str(index).zfill(len(str(count - 1)))
    return "_".join([number, *(_safe(line) for line in swept)])[:100]


def _safe(text: str) -> str:
    """Text as part of a path, and of an override without quotes."""
    return re.sub(r"[^\w.]+", "-", text).strip("-.")


class Manifest:
    """manifest.json: what each job is, and how it ended."""

    def __init__(self, folder: Path, jobs: Sequence[Job]) -> None:
        self.folder = folder
        self.jobs = jobs
        self.started = time.strftime("%Y-%m-%dT%H:%M:%S%z")

    def write(self) -> None:
        """Put the present state on the disk."""
        content = {"started": self.started, "jobs": [asdict(job) for job in self.jobs]}
        write_atomically(self.folder / "manifest.json", json.dumps(content, indent=1))


def _run_all(manifest: Manifest, allow_targets: Sequence[Sequence[str]]) -> int:
    """Run the jobs in order; 0, or 128 + n after signal n, which ends the sweep."""
    signals = Forwarder()
    signals.install()
    try:
        for index, (job, allowed) in enumerate(zip(manifest.jobs, allow_targets, strict=True)):
            if signals.received is not None:
                break
            print(f"[{index + 1}/{len(manifest.jobs)}] {' '.join(job.overrides)}", flush=True)
            _run_one(manifest, job, allowed, signals)
            if signals.received is not None:
                job.status = "stopped"
            manifest.write()
    finally:
        signals.restore()
    return 0 if signals.received is None else 128 + signals.received


def _run_one(
    manifest: Manifest, job: Job, allow_targets: Sequence[str], signals: Forwarder
) -> None:
    folder = manifest.folder / job.folder
    command = [sys.executable, "-m", "lmexp", "run", str(folder / RECIPE)]
    command += ["--folder", str(folder), *as_flags(allow_targets)]
    environment = {k: v for k, v in os.environ.items() if k not in OF_A_LAUNCHER}
    job.status = "running"
    manifest.write()
    began = time.perf_counter()
    with (folder / "stderr.txt").open("wb") as stderr:
        process = subprocess.Popen(command, stderr=stderr, env=environment, start_new_session=True)
        signals.send_to(process)
        job.return_code = process.wait()
        signals.send_to()
    job.seconds = round(time.perf_counter() - began, 3)
    job.status = "failed" if job.return_code else "finished"
    if job.return_code:
        lines = (folder / "stderr.txt").read_text(encoding="utf-8", errors="replace").splitlines()
        job.error = next((line for line in reversed(lines) if line.strip()), "")
        print(f"{folder}: exit status {job.return_code}: {job.error}", file=sys.stderr)


def print_table(folder: Path, jobs: Sequence[Job]) -> None:
    """How the runs ended, with the figures that all of them have."""
    from rich.console import Console
    from rich.table import Table

    summaries = [_summary(folder / job.folder) for job in jobs]
    chosen = {str(summary["monitor"]) for summary in summaries if "monitor" in summary}
    names = dict.fromkeys([*sorted(chosen - {"loss"}), "loss", "perplexity", "bits_per_byte"])
    figures = [f"{part}/{name}" for name in names for part in ("best", "test")]
    figures = [name for name in figures if not name.startswith(("best/perp", "best/bits"))]
    shown = [name for name in figures if any(name in summary for summary in summaries)]
    table = Table("run", "status", "seconds")  # what a narrow terminal folds is the run's name
    table.columns[0].overflow = "fold"
    for name in shown:
        table.add_column(name.replace("/", "/\n"), no_wrap=True)
    for job, summary in zip(jobs, summaries, strict=True):
        values = [f"{summary[name]:.4f}" if name in summary else "–" for name in shown]
        seconds = "–" if job.seconds is None else f"{job.seconds:.1f}"
        table.add_row(" ".join(job.overrides) or job.folder, job.status, seconds, *values)
    console = Console()
    console.print(table)
    console.print(str(folder), soft_wrap=True, highlight=False)


def _summary(folder: Path) -> Mapping[str, Any]:
    path = folder / "summary.json"
    content: Mapping[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return content
