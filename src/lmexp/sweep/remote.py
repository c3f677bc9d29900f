"""Jobs that a cluster runs: handed over, looked after by a process there, ended through a file.

The folder of the sweep has to be one that all machines see.
"""

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from lmexp.forwarding import Forwarder
from lmexp.run_folder import is_held
from lmexp.secret_values import hidden
from lmexp.sweep import causes
from lmexp.sweep.manifest import Job, Manifest, read_job, write_job
from lmexp.sweep.watch import LOOK_SECONDS, STOP, Task


class Cluster(Protocol):
    """Where jobs are handed over."""

    def submit(self, task: Task) -> Any: ...
    def is_done(self, handle: Any) -> bool: ...
    def why(self, handle: Any) -> str: ...
    def cancel(self, handle: Any) -> None: ...
    def close(self) -> None: ...


class Remote:
    """A launcher over a cluster, which is given `sweep.parallel` jobs at a time.

    Args:
        manifest: of the sweep.
        signals: after one, jobs are told to save and end.
        cluster: where they run.
    """

    def __init__(self, manifest: Manifest, signals: Forwarder, cluster: Cluster) -> None:
        self._signals, self._cluster = signals, cluster
        self._room: int = manifest.settings["parallel"]
        self._handed: list[tuple[Task, Any]] = []
        self._are_told = False
        self._looked = -math.inf

    @property
    def has_room(self) -> bool:
        """Whether another job may be handed over."""
        return len(self._handed) < self._room

    @property
    def is_busy(self) -> bool:
        """Whether one waits there or runs."""
        return bool(self._handed)

    def start(self, task: Task) -> Job:
        """Hand a job over; gives it as it now stands."""
        folder = Path(task.sweep) / task.job.folder
        (folder / STOP).unlink(missing_ok=True)
        waiting = replace(task.job, cause=None, error=None, return_code=None)
        write_job(waiting, folder)  # what an earlier session noted is past
        task = task._replace(job=waiting)
        self._handed.append((task, self._cluster.submit(task)))
        return waiting

    def ended(self) -> list[Job]:
        """Jobs that have ended since the last call."""
        self._note_begun()
        if self._signals.received is not None and not self._are_told:
            self._are_told = True
            for task, handle in self._handed:
                self._stop(task, handle)
        found = [own for own in self._handed if self._is_done(*own)]
        for part in found:
            self._handed.remove(part)
        return [self._outcome(task, handle) for task, handle in found]

    def close(self) -> None:
        """Leave the cluster."""
        self._cluster.close()

    def _is_done(self, task: Task, handle: Any) -> bool:
        """Whoever looked after a job may have died before it; then it saves and ends."""
        return self._cluster.is_done(handle) and not is_held(Path(task.sweep) / task.job.folder)

    def _note_begun(self) -> None:
        """Jobs that run there say so in their folders; from then on trials are watched."""
        if time.monotonic() < self._looked + LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        for task, _ in self._handed:
            if read_job(Path(task.sweep) / task.job.folder, task.job).status == "running":
                task.job.status = "running"

    def _stop(self, task: Task, handle: Any) -> None:
        folder = Path(task.sweep) / task.job.folder
        (folder / STOP).write_text("stopped\n", encoding="utf-8")
        if read_job(folder, task.job).status == "waiting":
            self._cluster.cancel(handle)

    def _outcome(self, task: Task, handle: Any) -> Job:
        """What the job's folder says; whoever looked after it may have died with it."""
        folder = Path(task.sweep) / task.job.folder
        job = read_job(folder, task.job)
        if job.status in ("waiting", "running"):
            if self._are_told:
                job.status = "stopped"
            else:
                why = hidden(self._cluster.why(handle))
                job.status, job.cause, job.error = "failed", causes.of_cluster(why), why
            write_job(job, folder)
        return job
