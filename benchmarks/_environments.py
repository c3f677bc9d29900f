"""Programs of others: environments of their own, and processes that measure when they are asked."""

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from _measure import BENCHMARKS, CHECKOUT, environment, failure

ENVIRONMENTS = CHECKOUT / ".venv" / "peers"


class Peer(NamedTuple):
    """What its environment is made of."""

    package: str  # without what it says it needs: old pins, CUDA builds, servers, linters
    needs: str  # of that, what it imports here; constraints.txt has the versions not given


PEERS = {
    "joeynmt": Peer(
        "joeynmt==2.3.0",
        "torch numpy matplotlib packaging pyyaml sacrebleu sentencepiece tensorboard tqdm "
        "importlib_metadata==10.2.0 subword-nmt==0.3.8",
    ),
    "eole": Peer(
        "eole==0.6.4",
        "torch numpy huggingface_hub pydantic pyyaml regex sacrebleu safetensors tensorboard "
        "tokenizers tqdm pyonmttok==1.38.1",
    ),
    "ctranslate2": Peer("ctranslate2==4.8.5", "numpy pyyaml setuptools"),
}


def python_of(name: str) -> Path:
    """The interpreter that has the peer; makes its environment if there is none yet.

    The file `installed` is written last: what was interrupted is done again.

    Args:
        name: one of PEERS; any other is at home in this environment.

    Raises:
        SystemExit: pip failed; with the end of what it said.
    """
    if name not in PEERS:
        return Path(sys.executable)
    peer, folder = PEERS[name], ENVIRONMENTS / name
    python, stamp, contents = folder / "bin" / "python", folder / "installed", " ".join(PEERS[name])
    if stamp.exists() and stamp.read_text() == contents:
        return python
    print(f"installing {peer.package} into {folder}, once: a minute or two", file=sys.stderr)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    commands: list[Sequence[str | Path]] = [
        [sys.executable, "-m", "venv", "--clear", folder],
        [*pip, "-c", CHECKOUT / "constraints.txt", *peer.needs.split()],
        [*pip, "--no-deps", peer.package],
    ]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise failure(command, done.returncode, done.stdout + done.stderr)
    stamp.write_text(contents)
    return python


class Asked:
    """A program of _peer_<name>.py, which measures once each time that it is asked.

    Made once it is ready; between two questions it sleeps: one program is busy at a time.

    Args:
        name: of the peer.
        program: of those that the file has.
        threads: of its arithmetic.
        options: that it takes.

    Raises:
        SystemExit: it ended before; with the end of what it said.
    """

    def __init__(self, name: str, program: str, threads: int, **options: Any) -> None:
        self._command = [python_of(name), BENCHMARKS / f"_peer_{name}.py", program]
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed with the process
        self._process = subprocess.Popen(
            [*self._command, json.dumps({**options, "threads": threads})],
            env=environment(threads),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
        )
        self._answer()

    def ask(self) -> dict[str, Any]:
        """The next measurement.

        Raises:
            SystemExit: it ended instead; with the end of what it said.
        """
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            self._said.seek(0)
            raise failure(self._command, status, self._said.read())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()
        self._said.close()
