"""Programs that a model has put out, run on tests: pass@1 (Chen et al. 2021, arXiv:2107.03374).

Each program runs in a process of its own, with limits on time, memory and files, an empty working
folder, an empty environment, the standard library alone, and nothing to read from or write to.
Python's audit events stop it from writing or removing files, starting processes, and connecting to
anything (lmexp.execution_child).

That keeps mistakes of a model from doing harm. It is no sandbox: code that is made to break out of
it can, it can read what the user can read, and no network is out of its reach for certain. Where
that matters run lmexp itself in a container without a network.
"""

import contextlib
import json
import os
import secrets
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

SECONDS = 10.0  # for a program and its tests; the slowest of MBPP's solutions takes 4
MEMORY_BYTES = 1 << 29  # of address space; Python itself takes some 20 MB
SIGNATURE = (
    f"python:{sys.version_info.major}.{sys.version_info.minor}|seconds:{SECONDS:g}|"
    f"memory_mb:{MEMORY_BYTES >> 20}"
)

_CHILD = Path(__file__).with_name("execution_child.py")
# -P and -S: neither the working folder nor installed packages; -B: no .pyc is written.
_COMMAND = (sys.executable, "-P", "-S", "-B", str(_CHILD))
_ENVIRONMENT = {"PYTHONHASHSEED": "0"}  # the same order of sets every time


def passes(
    program: str,
    tests: Sequence[str],
    *,
    seconds: float = SECONDS,
    memory_bytes: int = MEMORY_BYTES,
) -> bool:
    """Whether a program and then its tests run to their ends, and raise nothing.

    Args:
        program: Python; what it defines is there for the tests. It is not run as a script: its
            `__name__` is not `__main__`.
        tests: Python with assert statements, run in order.
        seconds: for all of it, the start of Python included.
        memory_bytes: of address space.
    """
    word = secrets.token_hex(16)
    asked = {
        "program": program,
        "tests": list(tests),
        "word": word,
        "seconds": seconds,
        "memory_bytes": memory_bytes,
    }
    with tempfile.TemporaryDirectory(prefix="lmexp-") as folder, tempfile.TemporaryFile() as given:
        given.write(json.dumps(asked).encode())
        given.seek(0)
        child = subprocess.Popen(
            _COMMAND,
            stdin=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env=_ENVIRONMENT,
            start_new_session=True,
        )
        assert child.stdout is not None
        with child.stdout as answer:
            try:
                return _first_words(answer.fileno(), seconds) == word.encode()
            finally:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(child.pid, signal.SIGKILL)  # not waited for yet, so the id is its own
                child.wait()


def _first_words(pipe: int, seconds: float) -> bytes:
    """What is written first into a pipe; empty at its end, or after some time."""
    waiting = select.poll()
    waiting.register(pipe, select.POLLIN)
    return os.read(pipe, 1024) if waiting.poll(seconds * 1000) else b""


def passed(programs: Sequence[str], tests: Sequence[Sequence[str]]) -> list[bool]:
    """Which programs pass their tests; pass@1 is their share, as there is one a task.

    Raises:
        ValueError: there is nothing to run, or programs and tests are not equally many.
    """
    if not programs or len(programs) != len(tests):
        raise ValueError(
            f"{len(programs)} programs and tests of {len(tests)}: give tests for every program"
        )
    return [passes(program, own) for program, own in zip(programs, tests, strict=True)]


def check_execution(tests: Mapping[str, Sequence[Sequence[str]]]) -> None:
    """Refuse early what `passed` would find out late.

    Args:
        tests: of each pair, by split.

    Raises:
        ValueError: a pair has no tests, or programs cannot be run here.
    """
    for split, of_pairs in tests.items():
        if without := sum(not any(map(str.strip, own)) for own in of_pairs):
            raise ValueError(
                f"eval.execute=true runs tests for every pair, and {without:,} of "
                f"{len(of_pairs):,} in {split} have none: name the fields that hold them in "
                "data.tests (of data=code), or leave --execute or eval.execute=true out"
            )
    if not passes("", ["assert True"]):
        raise ValueError(
            "eval.execute=true: not even an empty program passes here: its limits need Linux, and "
            f"{_COMMAND[0]} has to start within {SECONDS:g} s and {MEMORY_BYTES >> 20} MB; write "
            "eval.execute=false"
        )
