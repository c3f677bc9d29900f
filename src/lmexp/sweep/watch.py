"""One job under way: its process, and what ends it beside itself."""

import contextlib
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from lmexp.launch_ranks import SWEEP_PARENT
from lmexp.record_files import METRICS
from lmexp.run_folder import RECIPE, is_held, watched
from lmexp.secret_values import hidden
from lmexp.sweep import causes, code
from lmexp.sweep.manifest import DONE, Job, now, read_job, write_job
from lmexp.targets import as_flags
from lmexp.values import quoted

STDERR, STDOUT = "stderr.txt", "stdout.txt"
STOP = "stop"  # a file in a job's folder: whoever writes it wants the job to end, as it says
GRACE_SECONDS = 30.0  # for a job to save and end after SIGTERM
LOOK_SECONDS = 0.5  # between looks at the job's files and its use of the processor
IDLE_SHARE = 0.05  # of one core: less is what a process uses that only waits
SAID_BYTES = 20_000  # of stderr, that causes are looked for in


class Task(NamedTuple):
    """A job to be run; plain values, as it may travel to another machine."""

    job: Job
    sweep: str  # folder, absolute
    directory: str  # that relative paths of its recipe begin in
    minutes: float | None
    silent_minutes: float | None
    shows: bool  # its standard output, instead of keeping it
    environment: dict[str, str]  # beside that of the process that starts it


class Watch:
    """Starts a job, or goes on with it; look() says when and how it has ended."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.folder = Path(task.sweep) / task.job.folder
        self._before = task.job.seconds or 0.0
        self.job = replace(
            task.job,
            status="running",
            cause=None,
            error=None,
            return_code=None,
            host=platform.node(),
            started=now(),
        )
        write_job(self.job, self.folder)
        self._said_from = _size(self.folder / STDERR)
        self._oom_kills = causes.oom_kills()
        self._began = time.monotonic()
        self._looked = self._began
        self._ending: causes.Ended | None = None
        self._killed_at = 0.0
        self.process = self._start()
        self._sign = Sign.of(self.folder, self.process.pid)

    def _start(self) -> "subprocess.Popen[bytes]":
        sweep = Path(self.task.sweep)
        environment = code.environment(sweep, self.task.directory) | self.task.environment
        environment[SWEEP_PARENT] = str(os.getpid())
        command = [*code.python(sweep), "-m", "lmexp", *_what(self.folder)]
        command += as_flags(self.job.allow_targets)
        with contextlib.ExitStack() as stack:
            stderr = stack.enter_context((self.folder / STDERR).open("ab"))
            kept = stack.enter_context((self.folder / STDOUT).open("ab"))
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=None if self.task.shows else kept,
                stderr=stderr,
                cwd=self.task.directory,
                env=environment,
                start_new_session=True,
            )

    def look(self) -> Job | None:
        """The job, once it has ended; ends it where it has to be."""
        return_code = self.process.poll()
        if return_code is not None:
            return self._ended(return_code)
        if self._ending is not None:
            if time.monotonic() > self._killed_at + GRACE_SECONDS:
                self._kill(signal.SIGKILL)
        elif time.monotonic() > self._looked + LOOK_SECONDS:
            self._looked = time.monotonic()
            self._ending = self._has_to_end()
            if self._ending is not None:
                self._killed_at = time.monotonic()
                self._kill(signal.SIGTERM)
        return None

    def _has_to_end(self) -> causes.Ended | None:
        asked = _asked_to_end(self.folder)
        if asked is not None:
            return causes.Ended(asked, None, None)
        minutes = (time.monotonic() - self._began) / 60
        limit = self.task.minutes
        if limit is not None and minutes > limit:
            return causes.Ended("failed", causes.TOO_LONG, f"sweep.minutes={limit:g}")
        sign = Sign.of(self.folder, self.process.pid)
        if sign.is_alive_since(self._sign):
            self._sign = sign
        silent = self.task.silent_minutes
        if silent is not None and sign.at - self._sign.at > 60 * silent:
            return causes.Ended("failed", causes.HUNG, f"sweep.silent_minutes={silent:g}")
        return None

    def _ended(self, return_code: int) -> Job:
        said = _said(self.folder / STDERR, self._said_from)
        kills = causes.oom_kills() - self._oom_kills
        ended = causes.judge(return_code, said, kills)
        if self._ending is not None and ended.status != "finished":  # which it may be just before
            ended = self._ending
        self._kill(signal.SIGKILL)  # whatever is left of its session
        self.job = replace(
            self.job,
            status=ended.status,
            cause=ended.cause,
            error=ended.error,
            return_code=return_code,
            seconds=round(self._before + time.monotonic() - self._began, 3),
        )
        write_job(self.job, self.folder)
        return self.job

    def _kill(self, number: int) -> None:
        try:
            if number == signal.SIGTERM:
                self.process.terminate()  # which tells its own ranks
            else:
                os.killpg(self.process.pid, number)
        except (ProcessLookupError, PermissionError):
            return


def _asked_to_end(folder: Path) -> str | None:
    """What a job is to be called then."""
    file = folder / STOP
    return file.read_text(encoding="utf-8").strip() or "stopped" if file.is_file() else None


class Sign(NamedTuple):
    """What a job has done so far."""

    at: float  # seconds, by time.monotonic
    written: int  # when its files last changed
    cpu_seconds: float

    @classmethod
    def of(cls, folder: Path, process: int) -> "Sign":
        files = (folder / METRICS, folder / STDERR, folder / STDOUT, folder / "checkpoints")
        written = max((file.stat().st_mtime_ns for file in files if file.exists()), default=0)
        return cls(time.monotonic(), written, _cpu_seconds(process))

    def is_alive_since(self, before: "Sign") -> bool:
        used = self.cpu_seconds - before.cpu_seconds
        # Where a worker has ended, what it had used is gone from the sum: that is a sign too.
        is_busy = used < 0 or used > max(IDLE_SHARE * (self.at - before.at), LOOK_SECONDS)
        return self.written > before.written or is_busy or sys.platform != "linux"


def _cpu_seconds(root: int) -> float:
    """Of a process and all below it that are still there; ranks have sessions of their own."""
    ticks: dict[int, int] = {}
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_bytes().rpartition(b")")[2].split()
        except OSError:
            continue
        process = int(stat.parent.name)
        children.setdefault(int(fields[1]), []).append(process)
        ticks[process] = int(fields[11]) + int(fields[12])
    found, used = [root], 0
    while found:
        process = found.pop()
        used += ticks.get(process, 0)
        found += children.get(process, [])
    return used / os.sysconf("SC_CLK_TCK")


def run_task(task: Task) -> Job:
    """The job once it has ended; for launchers that run it elsewhere.

    A queue may hold it twice, when its sweep was killed and resumed: it is run once. And it may
    have been stopped while it waited there.
    """
    folder = Path(task.sweep) / task.job.folder
    with watched(folder):
        while is_held(folder):  # by a job that saves, whose watch has died
            time.sleep(LOOK_SECONDS)
        known = read_job(folder, task.job)
        if known.status in DONE:
            return known
        asked = _asked_to_end(folder)
        if asked is not None:
            ended = replace(known, status=asked)
            write_job(ended, folder)
            return ended
        watch = Watch(task)
        while (job := watch.look()) is None:
            time.sleep(LOOK_SECONDS / 5)
        return job


def _what(folder: Path) -> Sequence[str]:
    """Arguments that begin a job, or go on with one that has a record."""
    if (folder / METRICS).exists():
        return ["train", f"resume={quoted(str(folder))}"]
    return ["run", str(folder / RECIPE), "--folder", str(folder)]


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _said(file: Path, start: int) -> str:
    with file.open("rb") as stream:
        stream.seek(max(start, _size(file) - SAID_BYTES))
        return hidden(stream.read().decode("utf-8", errors="replace"))
