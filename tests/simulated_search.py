"""Searches over jobs that train nothing: a launcher that makes up their records."""

import json
import math

import pytest

from lmexp.forwarding import Forwarder
from lmexp.grid import Dimension
from lmexp.sweep import launching, queue
from lmexp.sweep.launching import run_all
from lmexp.sweep.manifest import Job, Manifest, Outline
from lmexp.sweep.queue import Trials
from lmexp.sweep.watch import STOP

STEPS = 12  # of a trial
OPTIMUM = 1e-3
RATE = Dimension("optimizer.lr", 1e-6, 1.0, is_log=True)
OBJECTIVES = [["best/loss", "val/loss", "minimize"], ["parameters", None, "minimize"]]
SETTINGS = {
    "trials": 24,
    "sampler": "random",
    "pruner": "none",
    "startup_trials": 5,
    "objectives": None,
    "directions": None,
    "seed": 0,
    "space": {},
}


def loss(rate: float, step: int) -> float:
    """Falls to the square of the distance, in decades, from the optimum."""
    return (math.log10(rate) - math.log10(OPTIMUM)) ** 2 + math.exp(-step / 2)


class Killed(BaseException):
    """SIGKILL to the sweep."""


class Simulated:
    """A launcher whose jobs take a step at every look, and go on where they were interrupted."""

    def __init__(
        self, manifest: Manifest, looks: int = 10**9, parallel: int = 1, fails=lambda place: False
    ) -> None:
        self.manifest, self.looks, self.parallel = manifest, looks, parallel
        self.fails = fails
        self.jobs: list[Job] = []
        self.steps = self.started = 0

    @property
    def has_room(self) -> bool:
        return len(self.jobs) < self.parallel

    @property
    def is_busy(self) -> bool:
        return bool(self.jobs)

    def start(self, task) -> Job:
        task.job.status = "running"
        self.jobs.append(task.job)
        self.started += 1
        return task.job

    def ended(self) -> list[Job]:
        self.looks -= 1
        if self.looks < 0:
            raise Killed
        done = [job for job in self.jobs if self._has_ended(job)]
        self.jobs = [job for job in self.jobs if job not in done]
        return done

    def _has_ended(self, job: Job) -> bool:
        own = self.manifest.folder / job.folder
        if self.fails(job.trial):
            job.status = "failed"
            return True
        rate = float(job.overrides[-1].partition("=")[2])
        record = own / "metrics.jsonl"
        step = len(record.read_text().splitlines()) + 1 if record.exists() else 1
        if (own / STOP).exists():
            job.status = (own / STOP).read_text().strip()
            return True
        self.steps += 1
        with record.open("a") as file:
            file.write(json.dumps({"step": step, "val/loss": loss(rate, step)}) + "\n")
        if step == STEPS:
            figures = {"best/loss": loss(rate, step), "parameters": math.ceil(1e6 * rate)}
            (own / "summary.json").write_text(json.dumps(figures))
            job.status = "finished"
        return step == STEPS


@pytest.fixture(name="search")
def simulated(tmp_path, monkeypatch):
    """Runs a search over simulated jobs; gives its launcher and the jobs."""
    monkeypatch.setattr(launching, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(
        queue, "frozen_recipe", lambda _, typed, *__: {"typed": typed, "logger": {}}
    )

    def run(
        name: str,
        *,
        kills=(),
        studies=((),),
        parallel=1,
        objectives=OBJECTIVES[:1],
        space=RATE,
        repeat=False,
        fails=lambda place: False,
        **settings,
    ):
        place = tmp_path / name
        place.mkdir()
        outlines = [
            Outline(" ".join(own) or "study", [], [], objectives, [list(space)], list(own))
            for own in studies
        ]
        own = {
            "search": {**SETTINGS, **settings},
            "parallel": 1,
            "launcher": "local",
            "repeat": repeat,
        }
        own |= {"minutes": None, "silent_minutes": None}
        Manifest(place, [], own, "", studies=outlines).write()
        for looks in (*kills, 10**9):
            manifest = Manifest.read(place)
            for job in manifest.jobs:
                job.status = "waiting" if job.status == "running" else job.status
            launcher = Simulated(manifest, looks, parallel, fails)
            try:
                run_all(manifest, Trials(manifest), launcher, Forwarder())
            except Killed:
                continue
            return launcher, manifest
        raise AssertionError("killed to the end")

    return run


def best(manifest: Manifest) -> float:
    summaries = [manifest.folder / job.folder / "summary.json" for job in manifest.jobs]
    return min(json.loads(file.read_text())["best/loss"] for file in summaries if file.exists())
