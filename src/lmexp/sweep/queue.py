"""Where the jobs of a sweep come from: a list made before, or studies that ask for them."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from lmexp.grid import Dimension
from lmexp.record_files import read_summary
from lmexp.run_folder import write_recipe
from lmexp.sweep import causes
from lmexp.sweep.front import launched_objectives
from lmexp.sweep.manifest import DONE, Job, Manifest, Outline, recipe_hash, write_job
from lmexp.sweep.names import folder_name, grouped
from lmexp.sweep.search import frozen_recipe
from lmexp.sweep.study import Study
from lmexp.sweep.watch import STOP

DIGITS = 3  # of a trial's number in its folder's name


class Queue(Protocol):
    """Jobs that are still to be run."""

    @property
    def is_whole(self) -> bool: ...
    def next(self) -> Job | None: ...
    def look(self, under_way: Sequence[Job]) -> None: ...
    def ended(self, job: Job) -> None: ...


class Listed:
    """The jobs of a grid."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._jobs = [job for job in manifest.jobs if job.status not in DONE]

    @property
    def is_whole(self) -> bool:
        """Whether all have finished."""
        return all(job.status in DONE for job in self._manifest.jobs)

    def next(self) -> Job | None:
        """The next job; None: there is none left."""
        return self._jobs.pop(0) if self._jobs else None

    def look(self, under_way: Sequence[Job]) -> None:
        """Nothing is to be done about jobs under way."""

    def ended(self, job: Job) -> None:
        """Nothing depends on how a job ends."""


class Trials:
    """The jobs that studies ask for; those that were interrupted come first.

    Args:
        manifest: of the sweep, which grows by a job for every trial.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._outlines = {outline.name: outline for outline in manifest.studies}
        self._studies = {name: _study(manifest, own) for name, own in self._outlines.items()}
        self._interrupted = [job for job in manifest.jobs if job.status in ("waiting", "stopped")]
        for name, study in self._studies.items():
            own = [job for job in manifest.jobs if job.study == name]
            numbers = [job.trial for job in own if job.trial is not None]
            study.check(numbers)
            study.forget_unknown(numbers)
            for job in own:
                if job not in self._interrupted:
                    study.tell(job, manifest.folder_of(job))

    @property
    def is_whole(self) -> bool:
        """Whether every study has as many trials as were wanted, failed ones not counted."""
        return min(self._begun(DONE).values()) >= self._wanted

    @property
    def _wanted(self) -> int:
        wanted: int = self._manifest.settings["search"]["trials"]
        return wanted

    def _begun(self, statuses: Sequence[str] | None = None) -> dict[str, int]:
        """How many trials each study has begun, or has of these statuses."""
        begun = dict.fromkeys(self._studies, 0)
        for job in self._manifest.jobs:
            begun[str(job.study)] += statuses is None or job.status in statuses
        return begun

    def next(self) -> Job | None:
        """The next trial; None: there is none now, but another one may fail."""
        if self._interrupted:
            job = self._interrupted.pop(0)
            return job if job.recipe_hash else self._composed(job)
        # Studies take turns. Another trial is asked for in place of one that failed, until half of
        # all have: what fails always shall not run for ever.
        failed = self._begun(("failed",))
        for name, begun in sorted(self._begun().items(), key=lambda own: own[1]):
            if begun - min(failed[name], self._wanted) < self._wanted:
                return self._asked(name)
        return None

    def _asked(self, name: str) -> Job:
        outline = self._outlines[name]
        number, tried = self._studies[name].ask()
        place = str(len(self._manifest.jobs)).zfill(DIGITS)
        swept = [*outline.swept, *tried]
        job = Job(folder_name(place, swept), swept, study=name, trial=number)
        job.allow_targets = outline.allow_targets
        self._manifest.jobs.append(job)
        self._manifest.write()
        return self._composed(job)

    def _composed(self, job: Job) -> Job:
        """With folder and frozen recipe; a kill meanwhile leaves a job without its hash."""
        outline, folder = self._outlines[str(job.study)], self._manifest.folder / job.folder
        folder.mkdir(exist_ok=True)
        overrides = [*outline.overrides, *job.overrides[len(outline.swept) :]]
        try:
            recipe = frozen_recipe(self._manifest, overrides, outline.allow_targets)
        except ValueError as error:
            job.status, job.cause, job.error = "failed", causes.ERROR, str(error)
            write_job(job, folder)
            return job
        job.recipe_hash = recipe_hash(recipe)
        if not self._taken_over(job):
            write_recipe(grouped(recipe, self._manifest.folder), folder)
        self._manifest.write()
        return job

    def _taken_over(self, job: Job) -> bool:
        """Whether another trial has finished this recipe, whose figures are then its own too."""
        manifest = self._manifest
        for own in manifest.jobs:
            is_equal = own.recipe_hash == job.recipe_hash and own.folder != job.folder
            if is_equal and own.status == "finished" and not manifest.settings["repeat"]:
                job.taken_from = own.taken_from or own.folder
                job.status, job.return_code = own.status, own.return_code
                job.host, job.started, job.seconds = own.host, own.started, own.seconds
                shutil.rmtree(manifest.folder / job.folder)
                return True
        return False

    def look(self, under_way: Sequence[Job]) -> None:
        """Tell jobs to end that are not worth going on with."""
        for job in under_way:
            folder = self._manifest.folder / job.folder
            if job.trial is None or job.study is None or (folder / STOP).exists():
                continue
            if self._studies[job.study].should_end(job.trial, folder):
                _stop(folder, "pruned")

    def ended(self, job: Job) -> None:
        """Tell its study what came of it."""
        if job.study is None or job.status == "stopped":
            return
        folder, study = self._manifest.folder_of(job), self._studies[job.study]
        study.tell(job, folder)
        if job.status == "finished" and study.values(folder) is None:
            self._fail(job, folder, [objective.figure for objective in study.objectives])

    def _fail(self, job: Job, folder: Path, figures: Sequence[str]) -> None:
        """A trial that has finished without what is searched for.

        Raises:
            ValueError: its summary has no such figure, and those of the others will not either.
        """
        summary = read_summary(folder)
        for figure in figures:
            if figure not in summary:
                there = ", ".join(name for name in summary if name.startswith(("best/", "test/")))
                raise ValueError(
                    f"sweep.search.objectives: {folder} has no {figure}, but {there}: launch a "
                    "search of these"
                )
        job.status, job.cause = "failed", causes.NOT_FINITE
        job.error = f"not all of {', '.join(figures)} are finite figures of its summary"
        write_job(job, folder)
        self._manifest.write()


def _stop(folder: Path, status: str) -> None:
    temporary = folder / f".{STOP}"
    temporary.write_text(f"{status}\n", encoding="utf-8")
    temporary.replace(folder / STOP)


def _study(manifest: Manifest, outline: Outline) -> Study:
    space = [Dimension(*own)._replace(choices=tuple(own[-1])) for own in outline.space]
    return Study(
        manifest.folder,
        outline.name,
        manifest.settings["search"],
        launched_objectives(outline),
        space,
    )
