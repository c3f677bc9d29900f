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
_OF_MEMORY = ("out of memory", "memoryerror", "cannot allocate memory", "can't allocate memory")
_OOM_KILLS = Path("/sys/fs/cgroup/memory.events")


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
    if number == signal.SIGKILL and oom_kills > 0:
        return Ended("failed", OUT_OF_MEMORY, "SIGKILL: the system killed it for memory")
    if any(words in error.lower() for words in _OF_MEMORY):
        return Ended("failed", OUT_OF_MEMORY, error)
    not_finite = [line for line in lines if "is not finite" in line]
    if return_code == 1 and not_finite:
        return Ended("failed", NOT_FINITE, not_finite[-1])
    if number in set(signal.Signals):
        return Ended("failed", KILLED, f"{signal.Signals(number).name}: {error}".rstrip(": "))
    return Ended("failed", ERROR, error)


def oom_kills() -> int:
    """How often the system has killed a process of this container for memory; 0 if unknown."""
    try:
        lines = _OOM_KILLS.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
