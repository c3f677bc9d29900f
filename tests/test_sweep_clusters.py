"""Sweeps on a cluster: what is handed over, what comes back, and what a signal does."""

import importlib.util
import os
import signal
import time
from datetime import datetime
from pathlib import Path

import pytest
from test_sweep import folder, start  # noqa: F401

from lmexp import checkpoint as checkpoints
from lmexp.forwarding import Forwarder
from lmexp.sweep import launching, watch
from lmexp.sweep.launchers import check_launcher
from lmexp.sweep.launching import _run_all
from lmexp.sweep.manifest import Job, Manifest, read_job, write_job
from lmexp.sweep.queue import Listed
from lmexp.sweep.remote import Remote
from lmexp.sweep.submitit_launcher import Submitit, executor
from lmexp.sweep.watch import STOP, Task, run_task

LOCALLY = {"launcher": "submitit", "minutes": None, "options": {}}  # there is no Slurm here


class Cluster:
    """One that does nothing by itself."""

    def __init__(self) -> None:
        self.handed: list[Task] = []
        self.done: set[int] = set()
        self.cancelled: list[int] = []

    def submit(self, task: Task) -> int:
        self.handed.append(task)
        return len(self.handed) - 1

    def is_done(self, handle: int) -> bool:
        return handle in self.done

    def why(self, handle: int) -> str:
        return f"Slurm: NODE_FAIL of {handle}"

    def cancel(self, handle: int) -> None:
        self.cancelled.append(handle)
        self.done.add(handle)

    def close(self) -> None:
        """Nothing is to be done."""


@pytest.fixture
def remote(tmp_path):
    """A launcher over a cluster that has been given two jobs."""
    jobs = [Job(str(number), []) for number in range(2)]
    for job in jobs:
        (tmp_path / job.folder).mkdir()
    manifest = Manifest(tmp_path, jobs, {"parallel": 2}, "")
    cluster, signals = Cluster(), Forwarder()
    launcher = Remote(manifest, signals, cluster)
    for job in jobs:
        launcher.start(Task(job, str(tmp_path), str(tmp_path), None, None, False, {}))
    return launcher, cluster, signals


def test_a_sweep_looks_at_jobs_that_run_on_a_cluster(tmp_path, monkeypatch):
    """Of a search, that is what prunes trials."""
    monkeypatch.setattr(launching, "LOOK_SECONDS", 0.0)
    (tmp_path / "0").mkdir()
    settings = {"launcher": "submitit", "parallel": 1, "minutes": None, "silent_minutes": None}
    manifest = Manifest(tmp_path, [Job("0", [], "")], settings, "")
    cluster, queue = Cluster(), Listed(manifest)
    seen: list[list[str]] = []

    def look(running):
        seen.append([job.folder for job in running])
        if len(seen) == 1:
            write_job(Job("0", [], "", status="running"), tmp_path / "0")
        elif seen[-1]:
            write_job(Job("0", [], "", status="finished"), tmp_path / "0")
            cluster.done.add(0)
        time.sleep(0.1)

    monkeypatch.setattr(queue, "look", look)
    signals = Forwarder()

    _run_all(manifest, queue, Remote(manifest, signals, cluster), signals)

    assert seen[0] == []
    assert ["0"] in seen
    assert manifest.jobs[0].status == "finished"


def test_what_a_job_noted_itself_is_what_comes_back(remote, tmp_path):
    launcher, cluster, _ = remote
    assert not launcher.has_room
    assert launcher.ended() == []
    write_job(Job("0", [], status="finished", seconds=3.0), tmp_path / "0")
    cluster.done.add(0)

    (job,) = launcher.ended()

    assert (job.status, job.seconds) == ("finished", 3.0)
    assert launcher.has_room
    assert launcher.is_busy


def test_a_job_that_died_with_its_machine_is_a_killed_one(remote, tmp_path):
    launcher, cluster, _ = remote
    write_job(Job("1", [], status="running"), tmp_path / "1")
    cluster.done.add(1)

    (job,) = launcher.ended()

    assert (job.status, job.cause, job.error) == ("failed", "killed", "Slurm: NODE_FAIL of 1")


def test_what_a_cluster_says_is_kept_without_secrets(remote, tmp_path, monkeypatch):
    launcher, cluster, _ = remote
    monkeypatch.setenv("STORE_TOKEN", "correct-horse")
    cluster.why = lambda _: "Ray: https://me:pass@store refused correct-horse"
    cluster.done.add(1)

    launcher.ended()

    said = read_job(tmp_path / "1", Job("1", [])).error
    assert said == "Ray: https://***@store refused ***"


def test_a_signal_stops_jobs_under_way_and_takes_back_those_in_the_queue(remote, tmp_path):
    launcher, cluster, signals = remote
    write_job(Job("0", [], status="running"), tmp_path / "0")
    signals.received = 2

    assert [job.folder for job in launcher.ended()] == ["1"]
    assert cluster.cancelled == [1]
    assert (tmp_path / "0" / STOP).read_text() == "stopped\n"
    cluster.done.add(0)
    (job,) = launcher.ended()
    assert job.status == "stopped"


def test_a_job_that_runs_in_its_first_copy_is_not_run_by_the_second(tmp_path, monkeypatch):
    (tmp_path / "0").mkdir()
    write_job(Job("0", [], status="running"), tmp_path / "0")
    monkeypatch.setattr(watch, "Watch", None)  # nothing is started
    monkeypatch.setattr(watch, "LOOK_SECONDS", 0.0)
    looks = []

    def is_held(asked):
        looks.append(asked)
        if len(looks) == 3:
            write_job(Job("0", [], status="finished"), tmp_path / "0")
        return len(looks) < 3

    monkeypatch.setattr(watch, "is_held", is_held)
    task = Task(Job("0", []), str(tmp_path), str(tmp_path), None, None, False, {})

    assert run_task(task).status == "finished"
    assert looks == [tmp_path / "0"] * 3


def test_a_job_that_a_queue_holds_twice_is_run_once(tmp_path, monkeypatch):
    (tmp_path / "0").mkdir()
    write_job(Job("0", [], status="finished"), tmp_path / "0")
    monkeypatch.setattr(watch, "Watch", None)  # nothing is started

    task = Task(Job("0", []), str(tmp_path), str(tmp_path), None, None, False, {})

    assert run_task(task).status == "finished"


@pytest.mark.parametrize(
    ("options", "message"),
    [({"slurm_partion": "gpu"}, "slurm_partion"), ({"timeout_min": "long"}, "timeout_min")],
)
def test_options_that_submitit_does_not_take_are_refused_before_there_is_a_sweep(options, message):
    with pytest.raises(ValueError, match=rf"^sweep\.options=.*: submitit: .*{message}"):
        check_launcher({**LOCALLY, "options": options})


def test_a_job_has_no_limit_but_its_own_on_this_machine(tmp_path):
    assert executor(LOCALLY, tmp_path, "a").parameters["timeout_min"] >= 365 * 24 * 60
    limited = executor({**LOCALLY, "minutes": 9.5}, tmp_path, "a")
    assert limited.parameters["timeout_min"] == 15  # and five to save and end


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Commands of Slurm; sbatch keeps what it was given."""
    there = tmp_path / "bin"
    there.mkdir()
    for name, does in {"srun": "true", "sbatch": f"cp $1 {tmp_path}/given; echo job 7"}.items():
        (there / name).write_text(f"#!/bin/sh\n{does}\n")
        (there / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{there}:{os.environ['PATH']}")
    return tmp_path / "given"


def test_slurm_is_told_how_long_a_job_may_take(slurm, tmp_path):
    with pytest.raises(ValueError, match=r"Slurm has to know how long .* write sweep\.minutes=…$"):
        check_launcher(LOCALLY)

    for settings, minutes in (
        ({"minutes": 60.0}, 65),
        ({"options": {"timeout_min": 7}}, 7),
        ({"options": {"slurm_time": 8}}, 8),
    ):
        executor({**LOCALLY, **settings}, tmp_path / "submitit", "mine").submit(print)
        assert f"#SBATCH --time={minutes}\n" in slurm.read_text()


def test_a_queue_that_refuses_a_job_is_told_in_one_line(slurm, tmp_path):
    (slurm.parent / "bin" / "sbatch").write_text(
        "#!/bin/sh\necho QOSMaxSubmitJobLimit >&2; exit 1\n"
    )
    settings = {**LOCALLY, "minutes": 5}
    task = Task(Job("0", []), str(tmp_path), str(tmp_path), 5, None, False, {})

    with pytest.raises(
        ValueError, match=rf"(?s)^0 is refused by sbatch \(.*QOSMax.* {tmp_path} go"
    ):
        Submitit(Manifest(tmp_path / "sweep", [], settings, "")).submit(task)


@pytest.mark.slow
def test_ctrl_c_ends_jobs_of_submitit_saved_and_without_a_traceback(folder):  # noqa: F811
    typed = ["sweep.launcher=submitit", "sweep.parallel=2", "data.files=text.txt", "seed=1,2,3"]
    process = start(folder, *typed, "trainer.max_steps=1000000")
    records = "logs/sweeps/seed/*/*/metrics.jsonl"
    while sum(file.stat().st_size > 0 for file in folder.glob(records)) < 2:
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=120)

    assert process.returncode == 128 + signal.SIGINT
    assert "Traceback" not in out + err
    (sweep,) = folder.glob("logs/sweeps/seed/*")
    jobs = Manifest.read(sweep).jobs
    assert [job.status for job in jobs] == ["stopped", "stopped", "waiting"]
    for job in jobs[:2]:
        saved = checkpoints.read(sweep / job.folder / "checkpoints" / "last.ckpt")
        assert saved["training"]["steps_done"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["submitit", "ray"])
def test_jobs_run_side_by_side_on_a_cluster_of_this_machine(launcher, folder):  # noqa: F811
    if importlib.util.find_spec(launcher) is None:
        pytest.skip(f"{launcher} is not installed")
    typed = [f"sweep.launcher={launcher}", "sweep.parallel=2", "data.files=text.txt", "seed=1,2"]

    process = start(folder, *typed)
    _, err = process.communicate()

    assert process.returncode == 0, err
    (sweep,) = folder.glob("logs/sweeps/seed/*")
    found = Manifest.read(Path(sweep))
    assert [job.status for job in found.jobs] == ["finished"] * 2
    assert all(job.host for job in found.jobs)
    began = [datetime.fromisoformat(str(job.started)).timestamp() for job in found.jobs]
    assert abs(began[0] - began[1]) < min(float(job.seconds or 0) for job in found.jobs)
