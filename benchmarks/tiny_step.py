"""What everything around a step costs: a network so small that a step takes 2 ms.

`python train.py` in a terminal with logging, progress bar, metrics and checkpoints on, one every
250 steps as by default, against a bare loop over the same network and knobs. Processes of their own
with the same number of threads, which take turns; medians. Exits with 1 if the target is missed.

    python benchmarks/tiny_step.py
"""

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

from _measure import (
    DEFAULT_CHECKPOINT_EVERY,
    OURS,
    Target,
    print_table,
    program,
    take_turns,
    train,
    write_text,
)
from _programs import DEVICE

TARGETS = (Target("bare loop", 0.6),)
ROWS_A_STEP, LENGTH, BYTES = 4, 16, 263


def overrides(text: Path) -> list[str]:
    """The run."""
    return [
        "model=transformer",
        "model.num_layers=1",
        "model.d_model=32",
        "model.num_heads=2",
        "model.num_kv_heads=2",
        "model.d_ff=64",
        "model.dropout=0.0",
        "data=text",
        f"data.files={text}",
        "tokenizer=byte",
        f"data.max_length={LENGTH}",
        f"data.batch_size={ROWS_A_STEP}",
        "trainer.precision=32-true",
    ]


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2_000, help="measured, a multiple of ten")
    parser.add_argument("--threads", type=int, default=1, help="more only wait for each other")
    args = parser.parse_args()
    threads, lengths = args.threads, {"warmup": 100, "steps": args.steps}
    every = min(DEFAULT_CHECKPOINT_EVERY, args.steps)
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder, "train.txt")
        write_text(text, 100_000, 1_000)
        run = overrides(text)
        os.environ["LMEXP_CACHE"] = folder
        train(run, threads, warmup=10, steps=10, checkpoint_every=every)  # fills the cache
        programs = {
            OURS: lambda: train(run, threads, **lengths, checkpoint_every=every)[0],
            "bare loop": lambda: program(
                "bare", threads, overrides=run, precision="float32", vocab_size=BYTES, **lengths
            ),
        }
        speeds = take_turns(programs, args.rounds)
    step = ROWS_A_STEP * LENGTH * 1_000 / statistics.median(speeds["bare loop"])
    title = f"training, a bare step of {step:.2f} ms, {DEVICE}, {threads} threads"
    return print_table(title, speeds, TARGETS, [])


if __name__ == "__main__":
    sys.exit(main())
