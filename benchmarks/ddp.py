"""Two processes of one thread each against one process of two threads, and what exactness costs.

The same recipe, so the same examples in every step, of a language model and of a translation model
(pairs of generated text). The processes take turns; medians. Then the parts of a step that make it
exact on any number of ranks, each timed alone: planning which rows it reads, seeding before every
micro-batch, and adding up the counts of all ranks. They may take 2% of a step; exits with 1 if not.

    python benchmarks/ddp.py
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _measure import OURS, add_precision, execute, print_table, take_turns, train, write_text
from _programs import DEVICE
from lm_throughput import overrides as lm_overrides

MOST_OVERHEAD = 0.02
RANKS, MICRO_BATCHES = 2, 2
ONE = "one process"
TIMED = 2_000  # calls of each part


def translation_overrides(folder: Path, precision: str) -> list[str]:
    """3 + 3 layers of width 256, 2,048 tokens of either side a step."""
    return [
        *("model=transformer", "model.num_layers=3", "model.d_model=256", "model.num_heads=4"),
        *("model.num_kv_heads=4", "model.d_ff=1024", "model.dropout=0.1"),
        *("data=parallel", f"data.train=[{folder}/train.en,{folder}/train.de]", "data.pair=en-de"),
        *("data.val_fraction=0.02", "data.test_fraction=0.02", "tokenizer=word"),
        *("data.batch_tokens=2048", "eval.sample_pairs=0", "eval.beam_size=1", "eval.max_extra=1"),
        f"trainer.precision={'bf16-mixed' if precision == 'bf16' else '32-true'}",
    ]


def write_pairs(folder: Path) -> None:
    """Sentences of 5 to 30 words, and as many of another language."""
    generator = random.Random(0)
    for language in ("en", "de"):
        lines = [
            " ".join(f"{language}{generator.randrange(4_000)}" for _ in range(length))
            for length in random.Random(1).choices(range(5, 31), k=20_000)
        ]
        (folder / f"train.{language}").write_text("\n".join(lines) + "\n")


def speed(run: list[str], ranks: int, threads: int, lengths: dict[str, int]) -> float:
    """Tokens a second of training."""
    silent = "task.sample_tokens=0" if "data=text" in run else "eval.batch_size=64"
    settings = [f"trainer.devices={ranks}", f"trainer.micro_batches={MICRO_BATCHES}"]
    settings += ["trainer.accelerator=cpu", f"trainer.threads={threads}"]
    every = lengths["steps"]
    return train([*run, *settings], threads, **lengths, checkpoint_every=every, no_samples=silent)[
        0
    ]


def seconds_of_exactness(run: list[str]) -> dict[str, float]:
    """Of each part, in one step of one rank; from a program of its own with two ranks."""
    with tempfile.TemporaryDirectory() as folder:
        ranks = [
            subprocess.Popen(
                [sys.executable, __file__, "--parts", *run],
                env={
                    **os.environ,
                    "RANK": str(rank),
                    "WORLD_SIZE": str(RANKS),
                    "OMP_NUM_THREADS": "1",
                    "LMEXP_RENDEZVOUS": f"{folder}/store",
                },
                stdout=subprocess.PIPE,
                text=True,
            )
            for rank in range(RANKS)
        ]
        printed = [rank.communicate()[0] for rank in ranks]
    parts: dict[str, float] = json.loads(printed[0].splitlines()[-1])
    return parts


def time_parts(run: list[str]) -> None:
    """Print the seconds of each part as JSON."""
    from lmexp.batch_plan import deal
    from lmexp.build import build_data
    from lmexp.ranks import join, leave
    from lmexp.recipe import build, compose
    from lmexp.seeds import seed_torch

    recipe = compose([*run, f"trainer.micro_batches={MICRO_BATCHES}"])
    data = build_data(recipe, build(recipe["tokenizer"]))
    data.prepare()
    ranks = join("cpu")

    def plan(number: int) -> Any:
        position = divmod(number, data.steps_per_epoch)
        return deal(data.plan.step(*position), ranks.number, RANKS)

    parts = {
        "planning": plan,
        "seeding": lambda number: [seed_torch(0, number, 0) for _ in range(MICRO_BATCHES // RANKS)],
        "counts": lambda number: ranks.total(1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0),
    }
    seconds = {}
    for name, part in parts.items():
        part(0)
        began = time.perf_counter()
        for number in range(TIMED):
            part(number)
        seconds[name] = (time.perf_counter() - began) / TIMED
    print(json.dumps(seconds), flush=True)
    leave()


def compare(name: str, run: list[str], args: argparse.Namespace) -> int:
    """Measure one task and print its table; 1 if exactness costs too much."""
    lengths = {"warmup": 10, "steps": args.steps}
    speed(run, 1, RANKS, {"warmup": 10, "steps": 10})  # fills the cache
    speeds = take_turns(
        {
            OURS: lambda: speed(run, RANKS, 1, lengths),
            ONE: lambda: speed(run, 1, RANKS, lengths),
        },
        args.rounds,
    )
    parts = seconds_of_exactness(run)
    tokens = step_tokens(run)
    step = tokens / statistics.median(speeds[OURS])
    share = sum(parts.values()) / step
    shown = ", ".join(f"{part} {1e6 * seconds:.0f} µs" for part, seconds in parts.items())
    met = "met" if share <= MOST_OVERHEAD else "MISSED"
    note = f"exactness: {shown}: {share:.2%} of a step of {1e3 * step:.0f} ms, 2% {met}"
    title = f"{name} in {args.precision}, {RANKS} ranks of one thread as train.py, {DEVICE}"
    print_table(title, speeds, (), [note])
    return int(share > MOST_OVERHEAD)


def step_tokens(run: list[str]) -> int:
    """Predicted tokens of a step, on average."""
    code = (
        "import sys; from lmexp.build import build_data; from lmexp.recipe import build, compose\n"
        "recipe = compose(sys.argv[1:]); data = build_data(recipe, build(recipe['tokenizer']))\n"
        "data.prepare(); print(data.tokens_per_step)"
    )
    return int(execute([sys.executable, "-c", code, *run], 1).splitlines()[-1])


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20, help="measured, a multiple of ten")
    parser.add_argument("--parts", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    add_precision(parser, DEVICE)
    args = parser.parse_args()
    if args.parts:
        time_parts(args.parts)
        return 0
    status = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["LMEXP_CACHE"] = name
        write_text(folder / "train.txt", 300_000, 7_993)
        write_pairs(folder)
        run = lm_overrides(folder / "train.txt", args.precision)
        status |= compare("a language model", run, args)
        status |= compare("translation", translation_overrides(folder, args.precision), args)
    return status


if __name__ == "__main__":
    sys.exit(main())
