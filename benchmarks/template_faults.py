"""The same faults on an ordinary Lightning template and on lmexp, side by side; two gloo processes.

The template is _template.py: a stock Trainer, ModelCheckpoint(save_last=True), DistributedSampler.
Both train the same LSTM. Prints one table; nothing is asserted.

    python benchmarks/template_faults.py
"""

import argparse
import contextlib
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from _measure import BENCHMARKS, CHECKOUT
from _template import prepare
from rich.console import Console
from rich.table import Table

STEPS, KILLED_AT, PATIENCE = 40, 23, 25.0  # steps, step, seconds
SAVES = 8  # kills while saving
ELSEWHERE = Path("/dev/shm")
UNREADABLE = (
    OSError,
    RuntimeError,
    ValueError,
    EOFError,
    pickle.UnpicklingError,
)  # of a checkpoint


class Side(NamedTuple):
    """A program under faults."""

    name: str
    command: Callable[..., list[str]]  # folder, devices, resume, width -> words
    step: Callable[[Path], int]  # that it has come to
    weights: Callable[[Path], dict[str, torch.Tensor]]  # of its newest checkpoint
    losses: Callable[[Path], dict[int, float]]  # by step
    validated: Callable[[Path], int]  # examples


def template_command(folder: Path, devices: int = 2, resume: bool = False, width: int = 16) -> Any:
    words = [sys.executable, str(BENCHMARKS / "_template.py"), "--folder", str(folder)]
    words += ["--devices", str(devices), "--steps", str(STEPS), "--width", str(width)]
    return [*words, *(["--resume"] if resume else [])]


def our_command(folder: Path, devices: int = 2, resume: bool = False, width: int = 16) -> Any:
    words = [sys.executable, str(CHECKOUT / "train.py"), "--allow-targets", "_template"]
    if resume:
        return [*words, f"resume={folder / 'run'}", f"trainer.devices={devices}"]
    return [
        *words,
        *("--config-dir", str(folder / "conf"), "model=lstm_of_both", f"model.width={width}"),
        *("data=text", f"data.files={folder / 'train.txt'}", "tokenizer=byte"),
        *(f"data.corpus.val_files={folder / 'val.txt'}", "data.corpus.document=line"),
        *("data.max_length=16", "data.batch_size=8", "eval.batch_size=1", "task.sample_tokens=0"),
        *("trainer=debug", f"trainer.devices={devices}", f"trainer.max_steps={STEPS}"),
        *("trainer.validate_every_steps=16", "trainer.checkpoint_every_steps=5", "logger=none"),
        f"hydra.run.dir={folder / 'run'}",
    ]


def template_losses(folder: Path) -> dict[int, float]:
    lines = (folder / "steps").read_text().splitlines() if (folder / "steps").exists() else []
    return {int(line.split()[0]) + 1: float(line.split()[1]) for line in lines if len(line) > 6}


def our_lines(folder: Path) -> list[dict[str, Any]]:
    file = folder / "run" / "metrics.jsonl"
    text = file.read_text() if file.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def template_weights(folder: Path) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = torch.load(folder / "last.ckpt", weights_only=True)[
        "state_dict"
    ]
    return weights


def our_weights(folder: Path) -> dict[str, torch.Tensor]:
    from lmexp import checkpoint

    weights: dict[str, torch.Tensor] = checkpoint.read(folder / "run/checkpoints/last.ckpt")[
        "state_dict"
    ]
    return weights


def our_validated(folder: Path) -> int:
    """Tokens over those of a line, 15 letters and the end."""
    tokens = next(line["val/tokens"] for line in our_lines(folder) if "val/tokens" in line)
    return round(tokens / 16)


SIDES = (
    Side(
        "template",
        template_command,
        lambda folder: max(template_losses(folder), default=0),
        template_weights,
        template_losses,
        lambda folder: int((folder / "validated").read_text()),
    ),
    Side(
        "lmexp",
        our_command,
        lambda folder: max((line["step"] for line in our_lines(folder)), default=0),
        our_weights,
        lambda folder: {
            line["step"]: line["train/loss"] for line in our_lines(folder) if "train/loss" in line
        },
        our_validated,
    ),
)


class Run:
    """A program under way, and all processes that it has begun."""

    def __init__(self, side: Side, folder: Path, environment: dict[str, str], **how: Any) -> None:
        self.side, self.folder = side, folder
        self.process = subprocess.Popen(
            side.command(folder, **how),
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment}
            | {"PYTHONPATH": str(BENCHMARKS), "GLOO_SOCKET_IFNAME": "lo"},
            start_new_session=True,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def family(self) -> dict[int, str]:
        """The processes in the run's folder, each with its LOCAL_RANK, or nothing."""
        found = {}
        for link in Path("/proc").glob("[0-9]*/cwd"):
            with contextlib.suppress(OSError):
                if link.readlink() == self.folder:
                    settings = link.with_name("environ").read_bytes().split(b"\0")
                    rank = next((s[11:] for s in settings if s.startswith(b"LOCAL_RANK=")), b"")
                    found[int(link.parent.name)] = rank.decode()
        return found

    def at(self, step: int) -> "Run":
        """Wait for a step."""
        while self.side.step(self.folder) < step and self.process.poll() is None:
            time.sleep(0.005)
        return self

    def send(self, number: int, rank: str | None = None) -> "Run":
        """A signal to all processes, or to those of a rank."""
        for pid, own in self.family().items():
            if rank in (None, own):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        return self

    def end(self) -> str:
        """How it ended: status and seconds, or that it hung and was killed."""
        began = time.monotonic()
        while self.family() and time.monotonic() < began + PATIENCE:
            time.sleep(0.02)
        hung = bool(self.family())
        self.send(signal.SIGKILL)
        status = self.process.wait()
        if hung:
            return f"hangs (killed after {PATIENCE:.0f} s)"
        return (
            f"exit {status if status >= 0 else 128 - status} after {time.monotonic() - began:.1f} s"
        )


def finish(side: Side, folder: Path, **how: Any) -> None:
    """A run to its end."""
    run = Run(side, folder, {}, **how)
    run.process.wait()


def distance(side: Side, folder: Path, whole: Path) -> str:
    """How far the last weights are from those of a run that was left alone."""
    ours, theirs = side.weights(folder), side.weights(whole)
    far = max(float((ours[n] - theirs[n]).norm() / theirs[n].norm()) for n in theirs)
    return "bitwise the same weights" if far == 0 else f"weights {far:.1%} away"


def killed(side: Side, folder: Path, whole: Path) -> str:
    Run(side, folder, {}).at(KILLED_AT).send(signal.SIGKILL).end()
    finish(side, folder, resume=True)
    return distance(side, folder, whole)


def moved(side: Side, folder: Path, whole: Path) -> str:
    Run(side, folder, {}).at(KILLED_AT).send(signal.SIGKILL).end()
    finish(side, folder, resume=True, devices=1)
    ours, theirs = side.losses(folder), side.losses(whole)
    steps = [step for step in ours if step > KILLED_AT + 2 and step in theirs]
    far = max(abs(ours[step] / theirs[step] - 1) for step in steps)
    return f"step {max(ours)} of {STEPS}; losses up to {far:.1e} away"


def ended(side: Side, folder: Path, rank: str | None) -> str:
    how = Run(side, folder, {}).at(KILLED_AT).send(signal.SIGTERM, rank).end()
    return f"{how}; {lost_steps(side, folder, side.step(folder))}"


def lost_steps(side: Side, folder: Path, step: int) -> str:
    """What of the steps done is in the newest checkpoint."""
    file = folder / ("last.ckpt" if side.name == "template" else "run/checkpoints/last.ckpt")
    if not file.exists():
        return "all lost"
    content = torch.load(file, weights_only=True)
    done = content["global_step"] if side.name == "template" else content["training"]["steps_done"]
    return f"{max(0, step - done)} steps lost"


def spoilt(side: Side, folder: Path) -> str:
    how = Run(side, folder, {"NAN_AT": f"1:{KILLED_AT}"}).end().partition(" after")[0]
    weights = side.weights(folder)
    bad = any(not value.isfinite().all() for value in weights.values())
    return f"{how}; last.ckpt {'is NaN' if bad else 'is finite'}"


def saving(side: Side, folder: Path) -> str:
    unreadable = 0
    for number in range(SAVES):
        place = folder / str(number)
        place.mkdir()
        prepare(place)
        run = Run(side, place, {"TMPDIR": str(ELSEWHERE)}, width=900).at(5)
        name = "last.ckpt" if side.name == "template" else "run/checkpoints/last.ckpt"
        while not (place / name).exists() and run.process.poll() is None:
            time.sleep(0.0005)
        time.sleep(0.002 * number)
        run.send(signal.SIGKILL).end()
        try:
            side.weights(place)
        except UNREADABLE:
            unreadable += 1
        shutil.rmtree(place)
    return f"{unreadable} of {SAVES} unreadable"


def rows(side: Side, base: Path) -> dict[str, str]:
    """What each fault does to one side."""

    def place(name: str) -> Path:
        folder = base / side.name / name
        folder.mkdir(parents=True)
        prepare(folder)
        return folder

    whole = place("whole")
    finish(side, whole)
    found = {}
    for name, act in {
        "`kill -9` of all at step 23 of 40, resumed": lambda: killed(side, place("kill"), whole),
        "the same, resumed on one process": lambda: moved(side, place("move"), whole),
        "SIGTERM to all": lambda: ended(side, place("all"), None),
        "SIGTERM to rank 1 alone": lambda: ended(side, place("one"), "1"),
        "NaN in one batch of rank 1": lambda: spoilt(side, place("nan")),
        "`kill -9` while saving, TMPDIR on another filesystem": lambda: saving(side, place("save")),
        "5 validation examples": lambda: f"{side.validated(whole)} counted",
    }.items():
        found[name] = act()
        print(f"{side.name}: {name}: {found[name]}", file=sys.stderr, flush=True)
    return found


def main() -> int:
    """Do all faults to both sides and print."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LMEXP_CACHE"] = f"{folder}/cache"
        found = [rows(side, Path(folder)) for side in SIDES]
    table = Table("fault", *(side.name for side in SIDES), title="two gloo processes on a CPU")
    for name in found[0]:
        table.add_row(name, *(own[name] for own in found))
    Console(width=140).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
