"""Sweeps on a cluster: what is handed over, what comes back, and what a signal does."""

import importlib.util
import os
import signal
import subprocess
import sys
import textwrap
import time
from datetime import datetime
from pathlib import Path

import pytest
from test_sweep import folder, start  # noqa: F401

from lmexp import checkpoint as checkpoints
from lmexp.forwarding import Forwarder
from lmexp.sweep import launching, watch
from lmexp.sweep.launching import run_all
from lmexp.sweep.manifest import Job, Manifest, read_job, write_job
from lmexp.sweep.queue import Listed
from lmexp.sweep.remote import Remote
from lmexp.sweep.watch import STOP, Task, run_task


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


def task_of(sweep: Path, job: str = "0") -> Task:
    return Task(Job(job, []), str(sweep), str(sweep), None, None, False, {})


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

    run_all(manifest, queue, Remote(manifest, signals, cluster), signals)

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


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("submitit, slurm: OUT_OF_MEMORY", "out of memory"),
        ("Ray: Task was killed due to the node running low on memory.", "out of memory"),
        ("submitit, slurm: TIMEOUT: slurmstepd: CANCELLED DUE TO TIME LIMIT", "too long"),
        ("Ray: ConnectionError: connect timeout=10", "error"),
        ("submitit, slurm: CANCELLED", "killed"),
        ("Ray: The worker died unexpectedly while executing this task.", "killed"),
        ("Ray: ModuleNotFoundError: No module named 'lmexp'", "error"),
    ],
)
def test_a_cluster_tells_why_a_job_ended(said, cause, remote, tmp_path):
    launcher, cluster, _ = remote
    cluster.why = lambda _: said
    cluster.done.add(1)

    (job,) = launcher.ended()

    assert (job.cause, job.error) == (cause, said)


def test_what_a_cluster_says_is_kept_without_secrets(remote, tmp_path, monkeypatch):
    launcher, cluster, _ = remote
    monkeypatch.setenv("STORE_TOKEN", "correct-horse")
    cluster.why = lambda _: "Ray: https://me:pass@store refused correct-horse"
    cluster.done.add(1)

    launcher.ended()

    said = read_job(tmp_path / "1", Job("1", [])).error
    assert said == "Ray: https://***@store refused ***"


@pytest.mark.parametrize("before", ["waiting", "failed", "stopped", "running"])
def test_a_signal_stops_jobs_under_way_and_takes_back_those_in_the_queue(before, remote, tmp_path):
    """Whatever an earlier session noted of them."""
    (tmp_path / "2").mkdir()
    write_job(Job("2", [], status=before, cause="out of memory"), tmp_path / "2")
    (tmp_path / "2" / STOP).touch()
    launcher, cluster, signals = remote
    launcher.start(task_of(tmp_path, "2"))
    assert not (tmp_path / "2" / STOP).exists()
    write_job(Job("0", [], status="running"), tmp_path / "0")
    signals.received = 2

    ended = launcher.ended()

    assert [(job.folder, job.status, job.cause) for job in ended] == [
        ("1", "stopped", None),
        ("2", "stopped", None),
    ]
    assert cluster.cancelled == [1, 2]
    assert (tmp_path / "0" / STOP).read_text() == "stopped\n"
    cluster.done.add(0)
    (job,) = launcher.ended()
    assert job.status == "stopped"


def test_a_job_that_was_stopped_in_the_queue_is_not_begun(tmp_path, monkeypatch):
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / STOP).write_text("stopped\n")
    monkeypatch.setattr(watch, "Watch", None)  # nothing is started

    assert run_task(task_of(tmp_path)).status == "stopped"
    assert read_job(tmp_path / "0", Job("0", [])).status == "stopped"


def test_of_two_copies_of_a_job_that_begin_at_once_one_waits_for_the_other(tmp_path):
    """Each in a process of its own, as on a cluster; the job is a small program."""
    (tmp_path / "0").mkdir()
    program = f"""
        import sys
        from lmexp.sweep import code, watch
        from lmexp.sweep.manifest import Job
        begins = "open('began', 'a').write('x'); import time; time.sleep(0.5)"
        code.python = lambda _: [sys.executable, "-c", begins]
        here = {str(tmp_path)!r}
        task = watch.Task(Job("0", []), here, here, None, None, False, {{}})
        print(watch.run_task(task).status)
        """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    copies = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]

    assert [copy.communicate()[0] for copy in copies] == ["finished\n"] * 2
    assert (tmp_path / "began").read_text() == "x"


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
    assert run_task(task_of(tmp_path)).status == "finished"
    assert looks == [tmp_path / "0"] * 3


def test_a_job_that_a_queue_holds_twice_is_run_once(tmp_path, monkeypatch):
    (tmp_path / "0").mkdir()
    write_job(Job("0", [], status="finished"), tmp_path / "0")
    monkeypatch.setattr(watch, "Watch", None)  # nothing is started

    assert run_task(task_of(tmp_path)).status == "finished"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "number"),
    [("submitit", signal.SIGINT), ("ray", signal.SIGINT), ("ray", signal.SIGTERM)],
)
def test_a_signal_ends_jobs_of_a_cluster_saved_and_without_a_traceback(
    launcher,
    number,
    folder,  # noqa: F811
):
    if importlib.util.find_spec(launcher) is None:
        pytest.skip(f"{launcher} is not installed")
    typed = [f"sweep.launcher={launcher}", "sweep.parallel=2", "data.files=text.txt"]
    typed += ["seed=1,2,3"]
    process = start(folder, *typed, "trainer.max_steps=1000000")
    records = "logs/sweeps/seed/*/*/metrics.jsonl"
    while sum(file.stat().st_size > 0 for file in folder.glob(records)) < 2:
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    os.killpg(process.pid, number) if launcher == "submitit" else process.send_signal(number)
    out, err = process.communicate(timeout=120)

    assert process.returncode == 128 + number, err
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
