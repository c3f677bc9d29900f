"""What a sweep adds to its jobs: `python train.py -m` over a plain loop of `python train.py`.

Both train the default run, a little shorter, with the same seeds, one job at a time, their text
tokenised before. A loop composes each job when its turn comes; a sweep composes all of them at the
start, freezes recipes and code, and watches. They take turns. Prints one table and exits with 1 if
the target is missed.

    python benchmarks/sweep_overhead.py
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from _measure import CHECKOUT, take_turns
from rich.console import Console
from rich.table import Table

LOOP, SWEEP = "a loop of train.py", "train.py -m"
MOST = 1.05  # of the loop's time


def seconds_of(commands: Sequence[Sequence[str]]) -> float:
    """How long commands take, one after the other.

    Raises:
        SystemExit: one failed.
    """
    began = time.perf_counter()
    for words in commands:
        command = [sys.executable, str(CHECKOUT / "train.py"), *words]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2_000:]}")
    return time.perf_counter() - began


def loop(jobs: int, steps: int) -> float:
    """Seconds of the jobs by themselves."""
    with tempfile.TemporaryDirectory() as folder:
        return seconds_of(
            [
                [f"seed={seed}", f"trainer.max_steps={steps}", f"hydra.run.dir={folder}/{seed}"]
                for seed in range(jobs)
            ]
        )


def sweep(jobs: int, steps: int) -> float:
    """Seconds of the same as a sweep."""
    with tempfile.TemporaryDirectory() as folder:
        seeds = ",".join(map(str, range(jobs)))
        words = ["-m", f"seed={seeds}", f"trainer.max_steps={steps}"]
        seconds = seconds_of([[*words, f"hydra.sweep.dir={folder}/sweep"]])
        finished = len(list(Path(folder, "sweep").glob("*/summary.json")))
    if finished != jobs:
        raise SystemExit(f"the sweep has {finished} jobs with a summary instead of {jobs}")
    return seconds


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=12)
    parser.add_argument("--steps", type=int, default=100, help="of a job")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        os.environ["LMEXP_CACHE"] = cache
        loop(1, 1)  # fills the cache
        measures = {
            LOOP: lambda: loop(args.jobs, args.steps),
            SWEEP: lambda: sweep(args.jobs, args.steps),
        }
        seconds = take_turns(measures, args.rounds, digits=1)
    ratios = [ours / own for ours, own in zip(seconds[SWEEP], seconds[LOOP], strict=True)]
    over = statistics.median(ratios)
    title = f"{args.jobs} jobs of {args.steps} steps, {args.rounds} rounds"
    table = Table("command", "seconds", "range", "over the loop", "target", title=title)
    for name, values in seconds.items():
        judged = [f"{over:.3f}", f"at most {MOST} {'met' if over <= MOST else 'MISSED'}"]
        table.add_row(
            name,
            f"{statistics.median(values):.1f}",
            f"{min(values):.1f}–{max(values):.1f}",
            *(judged if name == SWEEP else []),
        )
    Console().print(table)
    return int(over > MOST)


if __name__ == "__main__":
    sys.exit(main())
