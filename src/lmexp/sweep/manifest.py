"""The manifest of a sweep: what each job is, and how it ended.

A job's own folder holds its part (job.json), written by whoever looks after the job; the manifest
lists them all. So a job that went on while the sweep's own process was gone is not forgotten.
"""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from lmexp.atomic import write_atomically

NOT_LEARNT = ("name", "sweep", "logger")  # sections that change nothing of the weights
MANIFEST, JOB = "manifest.json", "job.json"
DONE = ("finished", "pruned")  # nothing is left to do


@dataclass
class Job:
    """One run of a sweep.

    Args:
        folder: within the sweep's.
        overrides: as swept.
        recipe_hash: of the frozen recipe, but for its name and how a sweep is run.
        allow_targets: packages of the user's own that its recipe may name.
        status: waiting, running, finished, failed, stopped (by a signal to the sweep) or pruned
            (by the search).
        cause: why it failed: one of causes.CAUSES.
        error: what it said last.
        return_code: of its last process; -9 after SIGKILL.
        host: where it ran last.
        started: when its last process began, in ISO 8601.
        seconds: of all its processes together.
        taken_from: the folder, seen from the sweep's, of an earlier job with the same recipe and
            code, whose results stand for this one's.
        study: of a search, whose trial it is.
        trial: its number in the study.
    """

    folder: str
    overrides: list[str]
    recipe_hash: str = ""
    allow_targets: list[str] = field(default_factory=list)
    status: str = "waiting"
    cause: str | None = None
    error: str | None = None
    return_code: int | None = None
    host: str | None = None
    started: str | None = None
    seconds: float | None = None
    taken_from: str | None = None
    study: str | None = None
    trial: int | None = None


@dataclass
class Outline:
    """One study of a search, as it was launched.

    Args:
        name: what tells it from others: the overrides that were swept around it, in words.
        overrides: of all its trials.
        allow_targets: packages of the user's own.
        objectives: figures with their live ones and directions, as study.Objective.
        space: dimensions, as grid.Dimension.
        swept: those of the overrides that were swept around it.
        devices: that each trial takes, as the recipe has them; None: the search decides that.
        accelerator: they are of, as the recipe has it.
    """

    name: str
    overrides: list[str]
    allow_targets: list[str]
    objectives: list[list[Any]]
    space: list[list[Any]]
    swept: list[str] = field(default_factory=list)
    devices: int | str | None = None
    accelerator: str = "auto"


class Manifest:
    """manifest.json of a sweep's folder.

    Args:
        folder: of the sweep.
        jobs: in their order.
        settings: what the recipe says of the sweep.
        code_hash: of the frozen code.
        started: when it was launched, in ISO 8601; None: now.
        studies: of a search.
        directory: that relative paths of its recipes begin in; None: the current one.
    """

    def __init__(
        self,
        folder: Path,
        jobs: Sequence[Job],
        settings: Mapping[str, Any],
        code_hash: str,
        started: str | None = None,
        studies: Sequence[Outline] = (),
        directory: str | None = None,
    ) -> None:
        self.folder = folder
        self.jobs = list(jobs)
        self.settings = dict(settings)
        self.code_hash = code_hash
        self.started = started or now()
        self.studies = list(studies)
        self.directory = directory or str(Path.cwd())

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """As it stands on the disk, with what the jobs' own folders say.

        Raises:
            FileNotFoundError: the folder is of no sweep.
            ValueError: the file, or that of a job, was damaged, or another lmexp wrote it.
        """
        file = folder / MANIFEST
        if not file.is_file():
            raise FileNotFoundError(f"{folder} has no {MANIFEST}: it is no sweep's folder")
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            jobs = [_job(part) for part in content["jobs"]]
            manifest = cls(
                folder,
                jobs,
                content["settings"],
                content["code_hash"],
                content["started"],
                [Outline(**part) for part in content["studies"]],
                content.get("directory"),  # those of an older lmexp do not say it
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _unreadable(file, error) from None
        manifest.jobs = [
            job if job.taken_from else read_job(folder / job.folder, job) for job in jobs
        ]
        return manifest

    def folder_of(self, job: Job) -> Path:
        """Where a job of the sweep runs, or ran when it was part of an earlier one."""
        return self.folder / (job.taken_from or job.folder)

    def write(self) -> None:
        """Put the present state on the disk."""
        content = {
            "started": self.started,
            "directory": self.directory,
            "settings": self.settings,
            "code_hash": self.code_hash,
            "studies": [asdict(study) for study in self.studies],
            "jobs": [asdict(job) for job in self.jobs],
        }
        write_atomically(self.folder / MANIFEST, json.dumps(content, indent=1) + "\n")


def write_job(job: Job, folder: Path) -> None:
    """job.json of a job's folder."""
    write_atomically(folder / JOB, json.dumps(asdict(job), indent=1) + "\n")


def read_job(folder: Path, otherwise: Job) -> Job:
    """What a job's folder says of it; without a word, what is known otherwise.

    Raises:
        ValueError: the file was damaged, or another lmexp wrote it.
    """
    file = folder / JOB
    if not file.is_file():
        return otherwise
    try:
        return _job(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError, AttributeError) as error:
        remedy = f": remove it, and {MANIFEST} says what was known of the job"
        raise _unreadable(file, error, remedy) from None


def _unreadable(file: Path, error: Exception, remedy: str = "") -> ValueError:
    why = f"({error}): it is damaged, or of another lmexp{remedy}"
    return ValueError(f"{file} cannot be read {why}")


def _job(content: Mapping[str, Any]) -> Job:
    known = {own.name for own in fields(Job)}
    if unknown := content.keys() - known:
        raise ValueError(f"a job says {', '.join(sorted(unknown))}")
    return Job(**content)


def now() -> str:
    """ISO 8601, in seconds, with the zone."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def recipe_hash(recipe: Mapping[str, Any]) -> str:
    """Equal for recipes that train the same; what it is called and who sees it is left out."""
    content = {key: value for key, value in recipe.items() if key not in NOT_LEARNT}
    text = json.dumps(content, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
