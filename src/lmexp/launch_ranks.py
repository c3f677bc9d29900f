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
from lmexp.record_files import SUMMARY
from lmexp.targets import as_flags

PARENT = "LMEXP_PARENT"  # the process that started a rank
RENDEZVOUS = "LMEXP_RENDEZVOUS"  # the file where the ranks that were started here meet
SWEEP_PARENT = "LMEXP_SWEEP"  # the process that looks after a sweep's job
OF_A_LAUNCHER = (
    *("RANK", "LOCAL_RANK", "GROUP_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"),
    *("MASTER_ADDR", "MASTER_PORT", RENDEZVOUS, PARENT, SWEEP_PARENT),
)
LOOK_SECONDS = 0.02
END_SECONDS = 2.0  # for the others to end by themselves when one has failed
OBEY_SECONDS = 5.0  # for them to obey SIGTERM then
LOST = 75  # exit status of a rank that ended because another one was gone (EX_TEMPFAIL, sysexits.h)
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
        return _wait(processes, meeting, folder, forwarder)
    finally:
        for process in processes:
            process.kill()  # one that has ended already is left alone
        forwarder.restore()
        shutil.rmtree(meeting, ignore_errors=True)


def _start(
    rank: int, count: int, folder: Path, meeting: Path, allow_targets: Sequence[str]
) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "lmexp", "run", str(folder), *as_flags(allow_targets)]
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


def _wait(
    processes: Sequence["subprocess.Popen[bytes]"],
    meeting: Path,
    folder: Path,
    forwarder: Forwarder,
) -> int:
    while not any(process.poll() for process in processes):
        if all(process.returncode == 0 for process in processes):
            return 0
        urged = forwarder.urged
        if urged is not None and time.monotonic() > urged + OBEY_SECONDS:
            for process in processes:  # one may be stopped, and the others wait for it
                process.kill()
            say(
                f"the processes have not ended {OBEY_SECONDS:.0f} s after a second signal, and "
                f"were killed: {_what_now(folder)}"
            )
            return 128 + (forwarder.received or signal.SIGKILL)
        time.sleep(LOOK_SECONDS)
    _wait_for_all(processes, END_SECONDS)
    by_themselves = [rank for rank, process in enumerate(processes) if process.returncode]
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in processes:
            process.send_signal(number)  # one that has ended already is left alone
        _wait_for_all(processes, OBEY_SECONDS)
    rank = min(by_themselves, key=lambda rank: (processes[rank].returncode == LOST, rank))
    status = processes[rank].returncode
    if status < 0 or (rank > 0 and processes[0].returncode != status):
        _report(rank, status, meeting, folder)
    return status if status > 0 else 128 - status


def _wait_for_all(processes: Sequence["subprocess.Popen[bytes]"], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))


def _report(rank: int, status: int, meeting: Path, folder: Path) -> None:
    text = ""
    if rank > 0:
        text = words(meeting, rank).read_text(encoding="utf-8", errors="replace").strip()
    if text:
        print(text, file=sys.stderr, flush=True)
    how = f"with exit status {status}" if status > 0 else f"killed by {_name(-status)}"
    say(f"rank {rank} ended first, {how}: {_what_now(folder)}")


def _what_now(folder: Path) -> str:
    has_begun = (folder / SUMMARY).exists()
    return f"go on with python train.py resume={folder}" if has_begun else "nothing had begun yet"


def _name(number: int) -> str:
    name = signal.Signals(number).name
    return f"{name}, perhaps for want of memory" if number == signal.SIGKILL else name


def die_with_parent() -> None:
    """End this process, one of several that were started here, when the one that started it ends.

    Its lock on the run folder is gone then, and another run may begin in it.
    """
    _die_with(PARENT, signal.SIGKILL)


def end_with_sweep() -> None:
    """Save and end this job of a sweep, if it is one, when whoever looks after it has gone."""
    if SWEEP_PARENT in os.environ:
        _die_with(SWEEP_PARENT, signal.SIGTERM)
        del os.environ[SWEEP_PARENT]  # what this process starts has another parent


def _die_with(parent: str, number: signal.Signals) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != int(os.environ[parent]):  # it had ended before
        raise SystemExit(128 + number)
