"""What the tests of faults share: a fork server for each worker, and small runs of every kind."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from kinds import overrides, write_text

HERE = Path(__file__).resolve().parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.faults)


@dataclass
class Ended:
    """How a run ended."""

    status: int
    output: str
    errors: str


PATIENCE = 60.0  # seconds that a small run may take


class Started:
    """A run under way."""

    def __init__(self, server: "Server", pid: int, folder: Path) -> None:
        self.server, self.pid, self.folder = server, pid, folder

    def wait(self, seconds: float = PATIENCE) -> Ended:
        """Its end; an AssertionError where it hangs."""
        status = self.server.ask({"do": "wait", "pid": self.pid, "seconds": seconds})
        words = {name: self.folder / f"{name}.txt" for name in ("stdout", "stderr")}
        output, errors = (path.read_text() if path.exists() else "" for path in words.values())
        assert status is not None, f"not ended after {seconds} s: {output}\n{errors}"
        return Ended(status, output, errors)


class Server:
    """A fork server under way (fork_server.py)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count, self._first = 0, 1
        paths = [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            [sys.executable, HERE / "fork_server.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)},
        )

    def ask(self, request: dict):
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def start(self, arguments, faults=(), environment=None, directory=None) -> Started:
        """Begin `python train.py` with arguments, in a directory."""
        self._count += 1
        folder = self._folder / str(self._count)
        folder.mkdir()
        pid = self.ask(
            {
                "do": "start",
                "arguments": ["train", *map(str, arguments)],
                "folder": str(folder),
                "faults": list(faults),
                "environment": environment or {},
                "directory": str(directory or folder),
            }
        )
        return Started(self, pid, folder)

    def run(self, arguments, faults=(), environment=None, seconds: float = PATIENCE) -> Ended:
        """`python train.py` with arguments, to its end."""
        return self.start(arguments, faults, environment).wait(seconds)

    def forget(self) -> None:
        """From now on, for said()."""
        self._first = self._count + 1

    def said(self) -> str:
        """All that runs have written to stderr since forget()."""
        numbers = range(self._first, self._count + 1)
        files = (self._folder / str(number) / "stderr.txt" for number in numbers)
        return "\n".join(file.read_text() for file in files if file.exists())

    def end(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(PATIENCE)  # a busy machine takes a while to end it


@pytest.fixture(scope="session")
def text(tmp_path_factory) -> Path:
    """What the language models of a worker's tests read."""
    return write_text(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="session")
def server(tmp_path_factory, cache_of_the_session):
    """One for all tests of a worker."""
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.end()


@pytest.fixture(scope="session")
def whole(server, text, tmp_path_factory):
    """Gives the folder of a kind's run that nobody interrupted; each is trained once a worker."""
    done = {}

    def run(kind: str, ranks: int) -> Path:
        if (kind, ranks) not in done:
            folder = tmp_path_factory.mktemp("whole")
            rows = ["all", "write_rows", str(folder / "rows.jsonl")]
            ended = server.run(overrides(kind, folder / "run", text, ranks=ranks), [rows])
            assert ended.status == 0, ended.errors
            done[kind, ranks] = folder / "run"
        return done[kind, ranks]

    return run
