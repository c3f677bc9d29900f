"""Why a job failed, from what is left of it."""

import signal
from pathlib import Path
from typing import NamedTuple

NOT_FINITE = "not finite"
OUT_OF_MEMORY = "out of memory"
KILLED = "killed"
HUNG = "hung"
TOO_LONG = "too long"
ERROR = "error"
CAUSES = {
    NOT_FINITE: "loss or gradient became NaN or infinite",
    OUT_OF_MEMORY: "a device's or the machine's memory was not enough",
    KILLED: "a signal ended it that the sweep had not sent",
    HUNG: "it neither wrote nor computed for sweep.silent_minutes",
    TOO_LONG: "it took more than sweep.minutes",
    ERROR: "anything else; stderr.txt in its folder says what",
}
_OF_MEMORY = (
    *("out of memory", "memoryerror", "cannot allocate memory", "can't allocate memory"),
    *("out_of_memory", "running low on memory"),  # as Slurm and Ray say it
)
# What Slurm, submitit and Ray say of a job that something else ended.
_OF_A_KILL = ("node_fail", "cancelled", "preempted", "boot_fail", "interrupted", "died")
_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")
_MACHINE = Path("/proc/vmstat")


class Ended(NamedTuple):
    """How a process ended."""

    status: str
    cause: str | None
    error: str | None


def judge(return_code: int, said: str, oom_kills: int) -> Ended:
    """How a job ended that nobody stopped.

    Args:
        return_code: of its process; negative after a signal.
        said: the end of what it wrote to stderr.
        oom_kills: processes that the system has killed for memory since the job began.
    """
    if return_code == 0:
        return Ended("finished", None, None)
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    error = lines[-1] if lines else ""
    number = -return_code if return_code < 0 else return_code - 128
    is_killed = number == signal.SIGKILL or "by signal: Killed" in error  # of a loader's worker
    if is_killed and oom_kills > 0:
        return Ended("failed", OUT_OF_MEMORY, "the system killed it for memory (SIGKILL)")
    if is_of_memory(error):
        return Ended("failed", OUT_OF_MEMORY, error)
    not_finite = [line for line in lines if "is not finite" in line]
    if return_code == 1 and not_finite:
        return Ended("failed", NOT_FINITE, not_finite[-1])
    if number in set(signal.Signals):
        return Ended("failed", KILLED, f"{signal.Signals(number).name}: {error}".rstrip(": "))
    return Ended("failed", ERROR, error)


def of_cluster(said: str) -> str:
    """The cause of an end that a cluster tells.

    Args:
        said: its own words.
    """
    if is_of_memory(said):
        return OUT_OF_MEMORY
    if "TIMEOUT" in said:  # Slurm's state; a library's own timeout is an error as any other
        return TOO_LONG
    return KILLED if any(words in said.lower() for words in _OF_A_KILL) else ERROR


def is_of_memory(said: str) -> bool:
    """Whether an error says that memory was not enough."""
    return any(words in said.lower() for words in _OF_MEMORY)


def oom_kills() -> int:
    """How often the system has killed a process for memory; 0 if unknown.

    In our control group, the container's if that one does not count, or else on the machine.
    """
    for file in (*_memory_events(), _MACHINE):
        try:
            lines = file.read_text(encoding="ascii").splitlines()
        except OSError:
            continue
        counts = [int(line.split()[1]) for line in lines if line.startswith("oom_kill ")]
        if counts:
            return counts[0]
    return 0


def _memory_events() -> list[Path]:
    """Where control groups of version 2 count; a container may show only its root's."""
    try:
        groups = _OWN_CGROUP.read_text(encoding="utf-8").splitlines()
    except OSError:
        groups = []
    own = [group.removeprefix("0::/") for group in groups if group.startswith("0::/")]
    return [_CGROUPS / group / "memory.events" for group in (*own, "")]
