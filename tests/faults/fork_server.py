"""A process that has imported torch, Lightning and lmexp once, and forks itself for every run.

    python fork_server.py < requests > replies

It never computes anything itself, so that a copy is as good as a process of its own. What is
replaced is only how processes begin: a run of several ranks goes through launch_ranks as ever,
whose children are forked from the launcher instead of started anew. And the speed of the machine is
not measured, which takes a third of so small a run.

A request is a line of JSON: {"do": "start", "arguments": …, "faults": …, "folder": …} is answered
with the number of the process, {"do": "wait", "pid": …} with its exit status.
"""

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

import injection


class Forked:
    """A forked process, with what launch_ranks asks of a subprocess.Popen."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float) -> int:
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("fork", timeout)
            time.sleep(0.005)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def forked(
    command, output: Path, errors: Path, environment: dict[str, str], faults, directory: str = "."
) -> Forked:
    """Run `python -m lmexp <command>` in a copy of this process."""
    pid = os.fork()
    if pid:
        return Forked(pid)
    status = 70
    try:
        os.setsid()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.environ.clear()
        os.environ.update(environment)
        for stream, path in ((1, output), (2, errors)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
        os.chdir(directory)
        status = _run(command, faults)
    except SystemExit as ending:
        status = ending.code if isinstance(ending.code, int) else 1
    except BaseException:
        traceback.print_exc()
        status = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _run(command, faults) -> int:
    from lmexp import hardware, launch_ranks
    from lmexp.__main__ import main

    hardware._measured_flops = lambda device, dtype, threads: 1e11
    rank = os.environ.get("RANK", "launcher")
    for whom, what, *arguments in faults:
        if whom in (rank, "all"):
            getattr(injection, what)(*arguments)

    def start(rank, count, folder, meeting, allow_targets):
        environment = launch_ranks.environment_of(rank, count, meeting)
        flags = [part for package in allow_targets for part in ("--allow-targets", package)]
        errors = Path("/dev/stderr") if rank == 0 else launch_ranks.words(meeting, rank)
        output = Path("/dev/stdout" if rank == 0 else os.devnull)
        return forked(["run", str(folder), *flags], output, errors, environment, faults)

    launch_ranks._start = start
    return main(command)


def serve() -> None:
    """Answer requests until there are no more."""
    processes: dict[int, Forked] = {}
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "start":
            folder = Path(request["folder"])
            process = forked(
                request["arguments"],
                folder / "stdout.txt",
                folder / "stderr.txt",
                {**os.environ, **request["environment"]},
                request["faults"],
                request["directory"],
            )
            processes[process.pid] = process
            reply = process.pid
        else:
            try:
                reply = processes[request["pid"]].wait(request["seconds"])
            except subprocess.TimeoutExpired:
                reply = None
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    import lightning  # noqa: F401
    import torch

    import lmexp.launch
    import lmexp.pair_data
    import lmexp.sweep
    import lmexp.tasks.causal_lm
    import lmexp.tasks.text_to_text
    import lmexp.train  # noqa: F401

    torch.set_num_threads(1)
    serve()
