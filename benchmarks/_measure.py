"""What the benchmarks share: programs as processes that take turns, medians, one table."""

import argparse
import json
import os
import pty
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from lmexp.hardware import has_bf16_instructions

BENCHMARKS = Path(__file__).resolve().parent
CHECKOUT = BENCHMARKS.parent
LOG_EVERY = 10  # steps between two lines of metrics.jsonl
SETTINGS = (  # only what is measured: no validation but the last
    "logger=csv",
    "trainer.validate_every_steps=null",
    f"trainer.log_every_steps={LOG_EVERY}",
)
OURS = "train.py"
DEFAULT_CHECKPOINT_EVERY = 250  # steps, conf/trainer/base.yaml


class Target(NamedTuple):
    """How often train.py must train as many tokens as another program, at least."""

    program: str
    ratio: float


def threads_here() -> int:
    """Threads for every program: one a usable core."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def add_precision(parser: argparse.ArgumentParser, device: str) -> None:
    """--precision: bf16 where the device multiplies it."""
    parser.add_argument(
        "--precision",
        choices=("bf16", "float32"),
        default="bf16" if multiplies_bf16(device) else "float32",
        help="of train.py (default %(default)s: by what this machine multiplies)",
    )


def multiplies_bf16(device: str) -> bool:
    """Whether bfloat16 can be measured there: a CPU without it takes hundreds of times longer."""
    return device != "cpu" or has_bf16_instructions()


def why_not_bf16(device: str) -> str:
    """Why a target of train.py in bfloat16 is not judged."""
    if multiplies_bf16(device):
        return "not measured: train.py ran in float32"
    return "not measured: this CPU has no bfloat16 instructions"


def environment(threads: int) -> dict[str, str]:
    """Of every program that is measured."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "WANDB_MODE": "offline",
        "LITGPT": os.environ.get("LITGPT", str(CHECKOUT / ".venv" / "litgpt")),
    }


def execute(command: Sequence[str | Path], threads: int, cwd: Path | None = None) -> str:
    """Standard output of a program that runs alone.

    Raises:
        SystemExit: it failed; with the end of what it said.
    """
    done = subprocess.run(
        command, cwd=cwd, env=environment(threads), capture_output=True, text=True
    )
    if done.returncode:
        raise failure(command, done.returncode, done.stdout + done.stderr)
    return done.stdout


def execute_in_terminal(command: Sequence[str | Path], threads: int, cwd: Path) -> str:
    """What a program writes to a terminal, so that it draws what it draws for people.

    Raises:
        SystemExit: it failed; with the end of what it said.
    """
    ours, its = pty.openpty()
    shown = {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40"}
    process = subprocess.Popen(
        command, cwd=cwd, env=environment(threads) | shown, stdin=its, stdout=its, stderr=its
    )
    os.close(its)
    written = b""
    while piece := _piece(ours):
        written += piece
    os.close(ours)
    text = written.decode(errors="replace")
    if process.wait():
        raise failure(command, process.returncode, text)
    return text


def _piece(terminal: int) -> bytes:
    """What comes next; nothing once the program has closed its side."""
    try:
        return os.read(terminal, 2**16)
    except OSError:  # how Linux says it
        return b""


def failure(command: Sequence[str | Path], status: int, written: str) -> SystemExit:
    """What ends the benchmark: a program failed, with the end of what it said."""
    end = "\n".join(written.splitlines()[-20:])
    return SystemExit(f"{' '.join(map(str, command))} ended with {status}:\n{end}")


def program(name: str, threads: int, **options: Any) -> float:
    """What a program of _programs.py says of itself: tokens or operations a second."""
    command = [sys.executable, str(BENCHMARKS / "_programs.py"), name]
    with tempfile.TemporaryDirectory() as folder:
        for key, value in {"folder": folder, **options}.items():
            values = value if isinstance(value, list | tuple) else [value]
            command += [f"--{key}", *map(str, values)]
        printed = execute(command, threads).splitlines()[-1]
    return float(json.loads(printed)["per_second"])


def train(
    overrides: Sequence[str],
    threads: int,
    *,
    warmup: int,
    steps: int,
    checkpoint_every: int,
    no_samples: str = "task.sample_tokens=0",
    tokens: int | None = None,
) -> tuple[float, dict[str, Any]]:
    """`python train.py` in a terminal: tokens a second between two lines of metrics.jsonl.

    Args:
        overrides: of the run.
        threads: of torch.
        warmup: steps before the measured ones; it and steps are multiples of ten, between lines.
        steps: measured steps, with logging, progress bar, metrics and checkpoints among them.
        checkpoint_every: steps; at most `steps`, so that one at least is measured. What writing
            them took is counted at the default rate, one in DEFAULT_CHECKPOINT_EVERY steps.
        no_samples: the override that keeps validation from putting out texts.
        tokens: of the measured steps; None: as many as metrics.jsonl says.

    Returns:
        Tokens a second, and the run's summary.

    Raises:
        SystemExit: the run failed, or drew no progress bar.
    """
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "run")
        command = [sys.executable, str(CHECKOUT / "train.py"), *overrides, *SETTINGS, no_samples]
        command += [f"trainer.max_steps={warmup + steps}", f"hydra.run.dir={run}"]
        command += [f"trainer.checkpoint_every_steps={checkpoint_every}"]
        written = execute_in_terminal(command, threads, Path(folder))
        if "tokens/s" not in written or "\N{BOX DRAWINGS HEAVY HORIZONTAL}" not in written:
            raise SystemExit(f"train.py drew no progress bar:\n{written[-2_000:]}")
        lines = [
            line
            for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
            if "train/loss" in line
        ]
        summary = json.loads((run / "summary.json").read_text())
    first, *measured = [line for line in lines if warmup <= line["step"] <= warmup + steps]
    last = measured[-1]
    stepping = sum(LOG_EVERY * line["train/step_seconds"] for line in measured)
    saving = last["seconds"] - first["seconds"] - stepping
    seconds = stepping + saving * checkpoint_every / DEFAULT_CHECKPOINT_EVERY
    counted = last["tokens"] - first["tokens"] if tokens is None else tokens
    return counted / seconds, summary


def write_text(path: Path, num_words: int, num_types: int) -> None:
    """Lines of twenty words out of so many types, the end of line included, from a fixed seed."""
    generator = random.Random(0)
    types = [f"w{number}" for number in range(num_types - 1)]
    words = types + generator.choices(types, k=num_words - len(types))
    lines = (" ".join(words[start : start + 20]) for start in range(0, num_words, 20))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def take_turns(
    measures: Mapping[str, Callable[[], float]], rounds: int, *, digits: int = 0
) -> dict[str, list[float]]:
    """Every program once a round, so that a slow minute of the machine hits all of them."""
    speeds: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(rounds):
        for name, measure in measures.items():
            speeds[name].append(measure())
            print(f"round {number + 1}: {name}: {speeds[name][-1]:,.{digits}f}", file=sys.stderr)
    return speeds


def ratio(speeds: Mapping[str, Sequence[float]], name: str, ours: str = OURS) -> float:
    """The median over the rounds of our program's speed over another's in the same round."""
    pairs = zip(speeds[ours], speeds[name], strict=True)
    return statistics.median(our / their for our, their in pairs)


def print_table(
    title: str,
    speeds: Mapping[str, Sequence[float]],
    targets: Sequence[Target],
    notes: Sequence[str],
    *,
    unmeasured: Mapping[str, str] | None = None,
) -> int:
    """Median speeds, range, ours over theirs, and whether the target is met.

    Args:
        title: what was measured, where and how.
        speeds: of each program by round.
        targets: those that are judged, and those of `unmeasured`.
        notes: printed under the table.
        unmeasured: programs whose target could not be judged, and why.

    Returns:
        1 if a target is missed, else 0.
    """
    table = Table("program", "tokens/s", "range", "train.py / it", "target", title=title)
    unmeasured, status = unmeasured or {}, 0
    wanted = dict(targets)
    for name, values in speeds.items():
        cells = [name, f"{statistics.median(values):,.0f}"]
        cells += [f"{min(values):,.0f}–{max(values):,.0f}"]
        if name != OURS:
            cells.append(f"{ratio(speeds, name):.3f}")
        if name in wanted and name not in unmeasured:
            met = ratio(speeds, name) >= wanted[name]
            cells.append(f"{wanted[name]} {'met' if met else 'MISSED'}")
            status = status if met else 1
        elif name in unmeasured:
            cells.append(f"{wanted[name]} {unmeasured[name]}")
        table.add_row(*cells)
    for name in unmeasured:
        if name not in speeds:
            table.add_row(name, "–", "", "", f"{wanted[name]} {unmeasured[name]}")
    console = Console()
    console.print(table)
    for note in notes:
        console.print(note)
    return status
