"""How long nothing happens: from the command to the first optimizer step, and to the help.

`python train.py` as it comes, its text tokenised before, against importing torch and lightning in a
process of its own; `python train.py --help`. They take turns; medians. Prints one table and exits
with 1 if a target is missed.

    python benchmarks/startup.py
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from _measure import CHECKOUT, take_turns
from rich.console import Console
from rich.table import Table

IMPORTS, FIRST_STEP, HELP = (
    "import torch, lightning",
    "train.py, first step done",
    "train.py --help",
)
OVER_IMPORTS = 2.0  # seconds, at most
HELP_SECONDS = 1.0  # at most
POLL_SECONDS = 0.005
TIMEOUT_SECONDS = 300.0


def seconds_of(call: Callable[[], object]) -> float:
    """How long a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def to_first_step() -> float:
    """Seconds until train.py has written the figures of its first step; then it is killed.

    Raises:
        SystemExit: it ended before.
    """
    with tempfile.TemporaryDirectory() as folder, Path(folder, "output").open("w+") as output:
        metrics = Path(folder, "run", "metrics.jsonl")
        command = [sys.executable, str(CHECKOUT / "train.py"), "trainer.log_every_steps=1"]
        command.append(f"hydra.run.dir={metrics.parent}")
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=folder)
        while not (metrics.exists() and metrics.stat().st_size):
            if process.poll() is not None or time.perf_counter() - began > TIMEOUT_SECONDS:
                process.kill()
                output.seek(0)
                raise SystemExit(f"{' '.join(command)} made no step:\n{output.read()[-2_000:]}")
            time.sleep(POLL_SECONDS)
        seconds = time.perf_counter() - began
        process.kill()
        process.wait()
    return seconds


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    show_help = [sys.executable, str(CHECKOUT / "train.py"), "--help"]
    with tempfile.TemporaryDirectory() as cache:
        os.environ["LMEXP_CACHE"] = cache
        to_first_step()  # fills the cache
        measures = {
            IMPORTS: lambda: seconds_of(
                lambda: subprocess.run([sys.executable, "-c", IMPORTS], check=True)
            ),
            FIRST_STEP: to_first_step,
            HELP: lambda: seconds_of(
                lambda: subprocess.run(show_help, check=True, stdout=subprocess.DEVNULL)
            ),
        }
        seconds = take_turns(measures, args.rounds, digits=2)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    most = {FIRST_STEP: medians[IMPORTS] + OVER_IMPORTS, HELP: HELP_SECONDS}
    table = Table("command", "seconds", "range", "target", title=f"start, {args.rounds} rounds")
    for name, values in seconds.items():
        verdict = ""
        if name in most:
            verdict = (
                f"at most {most[name]:.2f} {'met' if medians[name] <= most[name] else 'MISSED'}"
            )
        table.add_row(name, f"{medians[name]:.2f}", f"{min(values):.2f}–{max(values):.2f}", verdict)
    Console().print(table)
    return int(any(medians[name] > limit for name, limit in most.items()))


if __name__ == "__main__":
    sys.exit(main())
