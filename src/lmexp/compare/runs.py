"""The runs that paths mean, and what their folders say of them."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from lmexp.record_files import read_figure, read_summary
from lmexp.run_folder import RECIPE, is_held, read_recipe
from lmexp.run_folders import LEVELS
from lmexp.sweep.manifest import JOB, MANIFEST, Job, Manifest, read_job

FINISHED = "finished"
BUDGET = "budget/"  # before its name in a summary
WANDB = "wandb:"  # before a project of a W&B server


@dataclass(frozen=True)
class Cost:
    """What a run took, or the mean of what some took; None where it is not recorded."""

    seconds: float | None
    tokens: float | None  # predicted tokens trained on
    steps: float | None
    parameters: float | None
    flops: float | None  # FLOPs per token, forward and backward, times tokens
    peak_memory_bytes: float | None
    training_seconds: float | None = None  # of seconds, those until training ended


@dataclass(frozen=True)
class Remote:
    """What a server has of a run that is read from no folder.

    Args:
        entity: user or team.
        project: of the run.
        data: hashes of data and tokenizer, as in environment.json.
        signature: of the test's figures; empty where none was sent.
        history: (step, value) of a figure of metrics.jsonl, asked for when it is wanted.
    """

    entity: str
    project: str
    data: Mapping[str, Any]
    signature: Mapping[str, Any]
    history: Callable[[str], Iterator[tuple[int, float]]]


@dataclass(frozen=True)
class Run:
    """One training, as its folder or a server has it.

    Args:
        folder: of the run; of one from a server what people call it: wandb:<entity>/<project>/<id>.
        recipe: frozen; empty where the folder has gone.
        overrides: by which a sweep tells it from its other jobs; None of a run by itself.
        status: finished, or why not.
        cause: of a job that failed: one of sweep.causes.CAUSES.
        error: what it said last.
        summary: of summary.json.
        remote: None of a run with a folder.
    """

    folder: Path
    recipe: Mapping[str, Any]
    overrides: tuple[str, ...] | None
    status: str
    cause: str | None
    error: str | None
    summary: Mapping[str, Any]
    remote: Remote | None = None

    @property
    def seed(self) -> Any:
        """Of the recipe."""
        return self.recipe.get("seed")

    @property
    def task(self) -> str:
        """The class of its task."""
        return str((self.recipe.get("task") or {}).get("_target_"))

    @property
    def figures(self) -> dict[str, float]:
        """Those of the test and of the best validation, by name."""
        return {
            name: float(value)
            for name, value in self.summary.items()
            if name.startswith(("test/", "best/"))
            and isinstance(value, int | float)
            and not isinstance(value, bool)
        }

    @property
    def budgets(self) -> dict[str, float]:
        """What was asked of its size or cost, such as {"minutes": 5}."""
        return {
            name.removeprefix(BUDGET): float(value)
            for name, value in self.summary.items()
            if name.startswith(BUDGET) and isinstance(value, int | float)
        }

    @property
    def cost(self) -> Cost:
        """What it took, over all its sessions."""
        tokens, flops = self._number("tokens"), self._number("flops_per_token")
        return Cost(
            seconds=self._number("seconds"),
            tokens=tokens,
            steps=self._number("step"),
            parameters=self._number("parameters"),
            flops=None if tokens is None or flops is None else tokens * flops,
            peak_memory_bytes=self._number("train/peak_memory_bytes"),
            training_seconds=self._number("training_seconds"),
        )

    def live(self, name: str) -> Iterator[tuple[int, float]]:
        """(step, value) of a figure over the run, such as val/loss."""
        if self.remote is not None:
            return self.remote.history(name)
        return read_figure(self.folder, name)

    def _number(self, name: str) -> float | None:
        value = self.summary.get(name)
        return float(value) if isinstance(value, int | float) else None


class _Place(NamedTuple):
    folder: Path
    job: Job | None  # as a manifest has it
    is_taken: bool  # by a sweep, from an earlier one


def find_runs(paths: Sequence[str]) -> list[Run]:
    """All runs that paths mean, in their order.

    Args:
        paths: each a sweep's folder or name (its newest), a run's folder or a file in it, a
            folder above runs, which means all of them, or a project of W&B (wandb_runs.py).

    Raises:
        FileNotFoundError: nothing is there, or no run.
        ValueError: two paths mean the same run, a file of a record is damaged, or W&B has no such
            project.
    """
    found: dict[Path, tuple[str, _Place | Run]] = {}
    for given in paths:
        if given.startswith(WANDB):
            _add_remote(given, found)
            continue
        for place in _places(given):
            key = place.folder.resolve()
            before, own = found.setdefault(key, (given, place))
            is_taken = place.is_taken or (isinstance(own, _Place) and own.is_taken)
            if own is not place and not is_taken:
                raise _given_twice(given, before, place.folder)
    return [own if isinstance(own, Run) else _run(own) for _, own in found.values()]


def _add_remote(given: str, found: dict[Path, tuple[str, _Place | Run]]) -> None:
    from lmexp.compare.wandb_runs import wandb_runs

    for run in wandb_runs(given):
        before, own = found.setdefault(run.folder, (given, run))
        if own is not run:
            raise _given_twice(given, before, run.folder)


def _given_twice(given: str, before: str, folder: Path) -> ValueError:
    both = given if given == before else f"{before} and {given}"
    return ValueError(f"{both}: {folder} is given twice")


def _places(given: str) -> list[_Place]:
    path = Path(given)
    if path.is_dir():
        places = list(_below(path, LEVELS))
        if not places:
            raise FileNotFoundError(
                f"{given} is no run and holds none: looked for {RECIPE} and {MANIFEST} in it and "
                f"down to {LEVELS} folders below"
            )
        return places
    if path.is_file():
        for folder in path.absolute().parents[:2]:  # <run>/checkpoints/last.ckpt
            if (folder / RECIPE).is_file():
                return [_Place(folder, None, False)]
        raise FileNotFoundError(f"{given} lies in no run: name a run's folder")
    from lmexp.sweep.command import newest_sweep

    try:
        return _of_sweep(newest_sweep(given))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"there is no folder {given}, and {error}") from None


def _below(folder: Path, levels: int) -> Iterator[_Place]:
    """The run or sweep of a folder; of several sweeps side by side the newest; else all below."""
    if (folder / MANIFEST).is_file():
        yield from _of_sweep(folder)
    elif (folder / RECIPE).is_file():
        yield _Place(folder, None, False)
    elif levels:
        inner = sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")
        sweeps = [path for path in inner if (path / MANIFEST).is_file()]
        for path in sweeps[-1:] or inner:
            yield from _below(path, levels - 1)


def _of_sweep(folder: Path) -> list[_Place]:
    manifest = Manifest.read(folder)
    is_running = is_held(folder)
    places = []
    for job in manifest.jobs:
        own = manifest.folder_of(job)
        if job.status == "running" and not is_running and not is_held(own):
            job.status = "interrupted"
        places.append(_Place(own, job, job.taken_from is not None))
    return places


def _run(place: _Place) -> Run:
    folder, job = place.folder, place.job
    if job is None and (folder / JOB).is_file():
        job = read_job(folder, Job(folder.name, []))
    recipe = read_recipe(folder) if (folder / RECIPE).is_file() else {}
    try:
        summary = read_summary(folder)
    except ValueError as error:
        raise ValueError(f"{folder}: its summary.json is damaged: {error}") from None
    return Run(
        folder=folder,
        recipe=recipe,
        overrides=None if job is None else tuple(job.overrides),
        status=_status(folder, job, recipe, summary),
        cause=job.cause if job else None,
        error=job.error if job else None,
        summary=summary,
    )


def _status(
    folder: Path, job: Job | None, recipe: Mapping[str, Any], summary: Mapping[str, Any]
) -> str:
    own = summary.get("status")
    if job is not None and job.status != FINISHED:
        return job.status
    if not recipe:
        return "gone"
    if own == "running" and not is_held(folder):
        return "interrupted"
    return str(own or "not begun")


def environment_of(run: Run) -> dict[str, Any]:
    """environment.json of a run, or what a server has of it; empty if there is none.

    Raises:
        ValueError: it is damaged.
    """
    if run.remote is not None:
        return {"data": dict(run.remote.data)}
    file = run.folder / "environment.json"
    if not file.is_file():
        return {}
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is damaged: {error}") from None
    return content
