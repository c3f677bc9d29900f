"""What the training benchmarks share: programs as processes that take turns, medians, one table."""

import json
import os
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

BENCHMARKS = Path(__file__).resolve().parent
CHECKOUT = BENCHMARKS.parent
SETTINGS = (  # only what is measured: no samples, no validation but the last
    "logger=csv",
    "task.sample_tokens=0",
    "trainer.validate_every_steps=null",
    "trainer.log_every_steps=10",
)


OURS = "train.py"


class Target(NamedTuple):
    """How often train.py must train as many tokens as another program, at least."""

    program: str
    ratio: float


def threads_here() -> int:
    """Threads for every program: one a usable core."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def execute(command: Sequence[str | Path], threads: int, cwd: Path | None = None) -> str:
    """Standard output of a program that runs alone.

    Raises:
        SystemExit: it failed; with the end of what it said.
    """
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "WANDB_MODE": "offline",
        "LITGPT": os.environ.get("LITGPT", str(CHECKOUT / ".venv" / "litgpt")),
    }
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    if done.returncode:
        end = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise SystemExit(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{end}")
    return done.stdout


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
    overrides: Sequence[str], threads: int, *, warmup: int, steps: int
) -> tuple[float, dict[str, Any]]:
    """`python train.py`, everything on: tokens a second between two lines of metrics.jsonl.

    Args:
        overrides: of the run.
        threads: of torch.
        warmup: steps before the measured ones; it and steps are multiples of ten, between lines.
        steps: measured steps, with logging, progress bar, metrics and checkpoints among them.

    Returns:
        Tokens a second, and the run's summary.
    """
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "run")
        command = [sys.executable, str(CHECKOUT / "train.py"), *overrides, *SETTINGS]
        command += [f"trainer.max_steps={warmup + steps}", f"hydra.run.dir={run}"]
        execute(command, threads, cwd=Path(folder))
        lines = [
            line
            for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
            if "train/loss" in line
        ]
        by_step = {line["step"]: line for line in lines}
        first, last = by_step[warmup], by_step[warmup + steps]
        summary = json.loads((run / "summary.json").read_text())
    speed = (last["tokens"] - first["tokens"]) / (last["seconds"] - first["seconds"])
    return speed, summary


def write_text(path: Path, num_words: int, num_types: int) -> None:
    """Lines of twenty words out of so many types, the end of line included, from a fixed seed."""
    generator = random.Random(0)
    types = [f"w{number}" for number in range(num_types - 1)]
    words = types + generator.choices(types, k=num_words - len(types))
    lines = (" ".join(words[start : start + 20]) for start in range(0, num_words, 20))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def take_turns(measures: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Every program once a round, so that a slow minute of the machine hits all of them."""
    speeds: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(rounds):
        for name, measure in measures.items():
            speeds[name].append(measure())
            print(f"round {number + 1}: {name}: {speeds[name][-1]:,.0f}", file=sys.stderr)
    return speeds


def ratio(speeds: Mapping[str, Sequence[float]], name: str) -> float:
    """The median over the rounds of train.py's speed over the program's in the same round."""
    pairs = zip(speeds[OURS], speeds[name], strict=True)
    return statistics.median(ours / theirs for ours, theirs in pairs)


def print_table(
    title: str,
    speeds: Mapping[str, Sequence[float]],
    targets: Sequence[Target],
    notes: Sequence[str],
) -> None:
    """Median speeds, range, ours over theirs, and whether the target is met."""
    table = Table("program", "tokens/s", "range", "train.py / it", "target", title=title)
    wanted = dict(targets)
    for name, values in speeds.items():
        cells = [
            name,
            f"{statistics.median(values):,.0f}",
            f"{min(values):,.0f}–{max(values):,.0f}",
        ]
        if name in wanted:
            reached = ratio(speeds, name)
            verdict = "met" if reached >= wanted[name] else "MISSED"
            cells += [f"{reached:.3f}", f"{wanted[name]} {verdict}"]
        table.add_row(*cells)
    console = Console()
    console.print(table)
    for note in notes:
        console.print(note)
