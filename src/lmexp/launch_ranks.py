"""A run on several devices of this machine: one process each, all from the same frozen recipe."""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from lmexp.errors import say
from lmexp.forwarding import Forwarder

PARENT = "LMEXP_PARENT"  # the process that started a rank
RENDEZVOUS = "LMEXP_RENDEZVOUS"  # as in ranks, which imports torch
OF_A_LAUNCHER = (
    *("RANK", "LOCAL_RANK", "GROUP_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"),
    *("MASTER_ADDR", "MASTER_PORT", RENDEZVOUS, PARENT),
)
LOOK_SECONDS = 0.02
END_SECONDS = 2.0  # for the others to end by themselves when one has failed
OBEY_SECONDS = 5.0  # for them to obey SIGTERM then
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def run_ranks(folder: Path, count: int, allow_targets: Sequence[str]) -> int:
    """Train the recipe in a folder with so many processes; the exit status of the first to fail.

    A signal goes to all of them. When one has failed the others are ended: without it they would
    wait for ever.
    """
    forwarder = Forwarder()
    forwarder.install()
    meeting = Path(tempfile.mkdtemp(prefix="lmexp-"))
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for rank in range(count):
            processes.append(_start(rank, count, folder, meeting, allow_targets))
        forwarder.send_to(*processes)
        return _wait(processes, meeting)
    finally:
        for process in processes:
            process.kill()  # one that has ended already is left alone
        forwarder.restore()
        shutil.rmtree(meeting, ignore_errors=True)


def _start(
    rank: int, count: int, folder: Path, meeting: Path, allow_targets: Sequence[str]
) -> "subprocess.Popen[bytes]":
    flags = [part for package in allow_targets for part in ("--allow-targets", package)]
    command = [sys.executable, "-m", "lmexp", "run", str(folder), *flags]
    environment = environment_of(rank, count, meeting)
    if rank == 0:
        return subprocess.Popen(command, env=environment, start_new_session=True)
    with words(meeting, rank).open("wb") as errors:
        return subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )


def environment_of(rank: int, count: int, meeting: Path) -> dict[str, str]:
    """What tells a process that it is one of several, and where they meet."""
    environment = {
        **{name: value for name, value in os.environ.items() if name not in OF_A_LAUNCHER},
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        RENDEZVOUS: str(meeting / "store"),
        PARENT: str(os.getpid()),
    }
    if sys.platform == "linux":
        environment.setdefault("GLOO_SOCKET_IFNAME", "lo")  # the host's name may lead nowhere
    return environment


def words(meeting: Path, rank: int) -> Path:
    """What a rank other than the first has to say: shown only if it fails before the first."""
    return meeting / f"stderr-{rank}"


def _wait(processes: Sequence["subprocess.Popen[bytes]"], meeting: Path) -> int:
    while (failed := _first_failed(processes)) is None:
        if all(process.returncode == 0 for process in processes):
            return 0
        time.sleep(LOOK_SECONDS)
    _end(processes)
    status = processes[failed].returncode
    ended_alike = processes[0].returncode == status
    if failed > 0 and not (ended_alike and status > 0):
        _report(failed, status, meeting)
    return status if status > 0 else 128 - status


def _first_failed(processes: Sequence["subprocess.Popen[bytes]"]) -> int | None:
    """The rank that has failed, the first of several; a rank that was killed goes before others.

    The others fail because of it, perhaps before anybody has looked.
    """
    failed = [rank for rank, process in enumerate(processes) if process.poll()]
    return min(failed, key=lambda rank: (processes[rank].returncode > 0, rank), default=None)


def _end(processes: Sequence["subprocess.Popen[bytes]"]) -> None:
    """Let the others end by themselves, then ask them to, then kill them."""
    for number, seconds in (
        (None, END_SECONDS),
        (signal.SIGTERM, OBEY_SECONDS),
        (signal.SIGKILL, OBEY_SECONDS),
    ):
        for process in processes:
            if number is not None and process.poll() is None:
                process.send_signal(number)
        deadline = time.monotonic() + seconds
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
        if all(process.poll() is not None for process in processes):
            return


def _report(rank: int, status: int, meeting: Path) -> None:
    text = words(meeting, rank).read_text(encoding="utf-8", errors="replace").strip()
    if text:
        print(text, file=sys.stderr, flush=True)
    how = f"exit status {status}" if status > 0 else signal.Signals(-status).name
    say(f"rank {rank} ended first, by {how}")


def die_with_parent() -> None:
    """End this process, one of several that were started here, when the one that started it ends.

    Its lock on the run folder is gone then, and another run may begin in it.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(os.environ[PARENT]):  # it had ended before
        raise SystemExit(128 + signal.SIGKILL)
