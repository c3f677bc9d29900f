"""Training speed of an LSTM: `python train.py model=lstm` against a plain float32 nn.LSTM loop.

2 layers, width 512, tied weights, vocabulary 8,000, 16 lanes of 64 tokens with carried state, no
dropout. train.py runs in a terminal with checkpoints, counted at the default rate. Processes of
their own with the same number of threads, which take turns; medians. Exits with 1 if a target is
missed; that of the plain loop is train.py's in bfloat16 and not judged on a CPU without it.

    python benchmarks/recurrent_throughput.py
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from _measure import (
    OURS,
    Target,
    add_precision,
    print_table,
    program,
    take_turns,
    threads_here,
    train,
    why_not_bf16,
    write_text,
)
from _programs import DEVICE, VOCAB

TARGETS = (Target("plain nn.LSTM float32", 1.4), Target("bare loop", 0.98))
CHECKPOINT_EVERY = 10  # steps


def overrides(text: Path, precision: str) -> list[str]:
    """The run."""
    return [
        "model=lstm",
        "model.d_model=512",
        "model.num_layers=2",
        "model.dropout=0.0",
        "model.tied=true",
        "data=text",
        f"data.files={text}",
        "tokenizer=word",
        f"tokenizer.vocab_size={VOCAB.size - 7}",
        "data.max_length=64",
        "data.batch_size=16",
        f"trainer.precision={'bf16-mixed' if precision == 'bf16' else '32-true'}",
    ]


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=50, help="measured, a multiple of ten")
    parser.add_argument("--threads", type=int, default=threads_here())
    add_precision(parser, DEVICE)
    args = parser.parse_args()
    threads, lengths = args.threads, {"warmup": 10, "steps": args.steps}
    every, precision = CHECKPOINT_EVERY, args.precision
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder, "train.txt")
        write_text(text, 300_000, VOCAB.size - 7)
        run = overrides(text, precision)
        os.environ["LMEXP_CACHE"] = folder
        train(run, threads, warmup=10, steps=10, checkpoint_every=every)  # fills the cache
        programs = {
            OURS: lambda: train(run, threads, **lengths, checkpoint_every=every)[0],
            "bare loop": lambda: program(
                "bare", threads, overrides=run, precision=precision, **lengths
            ),
            "plain nn.LSTM float32": lambda: program(
                "plain_lstm", threads, overrides=run, precision="float32", **lengths
            ),
        }
        speeds = take_turns(programs, args.rounds)
    title = f"training an LSTM in {precision}, 1,024 tokens a step, {DEVICE}, {threads} threads"
    unmeasured = {} if precision == "bf16" else {"plain nn.LSTM float32": why_not_bf16(DEVICE)}
    return print_table(title, speeds, TARGETS, [], unmeasured=unmeasured)


if __name__ == "__main__":
    sys.exit(main())
