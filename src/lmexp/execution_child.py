"""The process in which lmexp.execution runs a program and its tests; started as a script.

It knows the standard library alone. What is asked comes on standard input, as JSON; the answer is
a random word on what was standard output when the process began, written after the last test. The
program cannot come to write it by accident: it reads and writes the null device alone, and does not
know the word.
"""

import json
import os
import resource
import signal
import sys
import types
from typing import Any

OPEN_FILES = 16
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

# Python's own audit events of what a program may not do, by their beginning; those it may.
REFUSED = (
    "os.",
    "shutil.",
    "subprocess.",
    "pty.",
    "resource.",
    "ctypes.",
    "signal.pthread_kill",
    "socket.connect",
    "socket.bind",
    "socket.get",
    "socket.send",
)
ALLOWED = ("os.listdir", "os.scandir", "os.walk", "os.fwalk", "os.chdir", "os.putenv")


def main() -> None:
    """Answer if the program and all tests run to their ends; end in any case."""
    asked = json.load(sys.stdin)
    answer = os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.close(null)
    _limit(asked["seconds"], asked["memory_bytes"])
    write, leave = os.write, os._exit  # as they are before the program can change them
    module = types.ModuleType("program")  # not __main__: what a script does is not asked for
    sys.modules["program"] = module
    sys.addaudithook(_refuse)
    try:
        for number, text in enumerate((asked["program"], *asked["tests"])):
            # each by itself: a quote that the program leaves open does not swallow the tests
            code = compile(text, f"<part {number}>", "exec", dont_inherit=True)
            exec(code, module.__dict__)
        write(answer, asked["word"].encode())
    finally:
        leave(0)  # whatever was raised, and without waiting for threads or exit handlers


def _limit(seconds: float, memory_bytes: int) -> None:
    """No file grows, and the process ends even if nobody is left to end it."""
    limits = {
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_CORE: 0,
    }
    for limit, value in limits.items():
        resource.setrlimit(limit, (value, value))
    signal.setitimer(signal.ITIMER_REAL, seconds + 1)


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """Raise before a program writes or removes files, starts processes or connects to anything."""
    is_refused = event.startswith(REFUSED) and event not in ALLOWED
    if event == "open":
        is_refused = bool(arguments[2] & _WRITES)
    if is_refused:
        raise PermissionError(f"{event} is not for programs under test")


if __name__ == "__main__":
    main()
