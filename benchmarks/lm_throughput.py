"""Training speed of a decoder: `python train.py` against four other ways to train it.

6 layers, width 384, 6 heads, 4,096 tokens a step (16 x 256), vocabulary 8,000, GPT-2's kind of
network. train.py runs in a terminal with logging, progress bar, metrics and checkpoints on, what
these take counted at the default rate; the others save nothing. All are processes of their own
with the same number of threads, which take turns; medians. Prints one table with the ratios, the
ceiling of matrix products and the model FLOPs utilisation; exits with 1 if a target is missed. The
targets but that of the bare loop are those of train.py in bfloat16: on a CPU without it they are
not judged.

    python benchmarks/lm_throughput.py                      # make benchmarks installs what it needs
    NANOGPT=~/nanoGPT python benchmarks/lm_throughput.py    # nanoGPT's own train.py as well
"""

import argparse
import functools
import operator
import os
import pickle
import re
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from _measure import (
    OURS,
    Target,
    add_precision,
    execute,
    print_table,
    program,
    take_turns,
    threads_here,
    train,
    why_not_bf16,
    write_text,
)
from _programs import DEVICE, VOCAB, Sizes

SIZES = Sizes()
TARGETS = (
    Target("bare loop", 0.98),
    Target("nanoGPT", 2.0),
    Target("Hugging Face float32", 2.2),
    Target("Hugging Face bf16", 1.4),
    Target("litgpt bf16", 1.6),
)
UTILISATION = 0.70  # of the bf16 ceiling, at least
CEILING = "ceiling"
CHECKPOINT_EVERY = 10  # steps


def overrides(text: Path, precision: str) -> list[str]:
    """The run: GPT-2's options spelled out."""
    return [
        "model=transformer",
        f"model.num_layers={SIZES.num_layers}",
        f"model.d_model={SIZES.d_model}",
        f"model.num_heads={SIZES.num_heads}",
        f"model.num_kv_heads={SIZES.num_heads}",
        f"model.d_ff={4 * SIZES.d_model}",
        "model.activation=gelu",  # the exact one, as nanoGPT and litgpt; Hugging Face is told to
        "model.norm=layer",
        "model.norm_first=true",
        "model.positions=learned",
        f"model.max_length={SIZES.length}",
        "model.dropout=0.0",
        "model.bias=false",
        "model.tied=true",
        "data=text",
        f"data.files={text}",
        "tokenizer=word",
        f"tokenizer.vocab_size={VOCAB.size - 7}",
        f"data.max_length={SIZES.length}",
        f"data.batch_size={SIZES.rows}",
        f"trainer.precision={'bf16-mixed' if precision == 'bf16' else '32-true'}",
    ]


def nanogpt(checkout: Path, threads: int, warmup: int, steps: int) -> float:
    """nanoGPT's own train.py on random tokens; tokens a second by the times that it prints."""
    with tempfile.TemporaryDirectory() as folder:
        tokens = np.random.default_rng(0).integers(7, SIZES.vocab_size, 1_000_000, np.uint16)
        for split in ("train", "val"):
            tokens.tofile(Path(folder, f"{split}.bin"))
        Path(folder, "meta.pkl").write_bytes(pickle.dumps({"vocab_size": SIZES.vocab_size}))
        settings = {
            "dataset": folder,  # an absolute path replaces nanoGPT's data/
            "out_dir": folder,
            "device": DEVICE,
            "dtype": "bfloat16" if DEVICE == "cuda" else "float32",
            "compile": False,
            "n_layer": SIZES.num_layers,
            "n_head": SIZES.num_heads,
            "n_embd": SIZES.d_model,
            "block_size": SIZES.length,
            "batch_size": SIZES.rows,
            "gradient_accumulation_steps": 1,
            "dropout": 0.0,
            "max_iters": warmup + steps,
            "eval_interval": 1_000_000,
            "eval_iters": 1,
            "log_interval": 1,
        }
        options = [f"--{key}={value}" for key, value in settings.items()]
        printed = execute([sys.executable, "train.py", *options], threads, cwd=checkout)
    times = [float(found) for found in re.findall(r"time ([\d.]+)ms", printed)]
    seconds = sum(times[-steps:]) / 1_000
    return steps * SIZES.rows * SIZES.length / seconds


def contenders(
    text: Path, threads: int, args: argparse.Namespace
) -> dict[str, Callable[[], float]]:
    """What takes turns, ours first."""
    precision, run = args.precision, overrides(text, args.precision)
    flops = functools.partial(program, "ceiling", threads, precision=precision)
    fast = {"warmup": 10, "steps": args.steps}
    slow = {"warmup": 3, "steps": max(1, args.steps // 2)}
    found: dict[str, Callable[[], float]] = {
        OURS: lambda: train(run, threads, **fast, checkpoint_every=CHECKPOINT_EVERY)[0],
        "bare loop": lambda: program("bare", threads, overrides=run, precision=precision, **fast),
    }
    if args.nanogpt:
        found["nanoGPT"] = lambda: nanogpt(Path(args.nanogpt), threads, **slow)
    for theirs in ("float32", "bf16") if precision == "bf16" else ("float32",):
        found[f"Hugging Face {theirs}"] = functools.partial(
            program, "huggingface", threads, precision=theirs, **slow
        )
    found[f"litgpt {precision}"] = lambda: program("litgpt", threads, precision=precision, **slow)
    kept = {name: found[name] for name in found if not args.only or name in (OURS, *args.only)}
    return {**kept, CEILING: flops}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="measured, a multiple of ten")
    parser.add_argument("--threads", type=int, default=threads_here())
    parser.add_argument("--nanogpt", default=os.environ.get("NANOGPT"), help="a checkout")
    parser.add_argument("--only", action="append", help="beside train.py; repeatable")
    add_precision(parser, DEVICE)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder, "train.txt")
        write_text(text, 500_000, VOCAB.size - 7)
        os.environ["LMEXP_CACHE"] = folder
        run = overrides(text, args.precision)  # fills the cache:
        _, summary = train(run, args.threads, warmup=10, steps=10, checkpoint_every=10)
        speeds = take_turns(contenders(text, args.threads, args), args.rounds)
    status, note = utilisation(
        [speed * summary["flops_per_token"] for speed in speeds[OURS]],
        speeds.pop(CEILING),
        args.precision,
    )
    notes = [note]
    if not args.nanogpt:
        notes.append("nanoGPT was not measured: name a checkout of it in NANOGPT")
    title = (
        f"training in {args.precision}, {SIZES.rows * SIZES.length:,} tokens a step, {DEVICE}, "
        f"{args.threads} threads"
    )
    asked = [
        target
        for target in TARGETS
        if (not args.only or target.program in args.only)
        and (args.nanogpt or target.program != "nanoGPT")
    ]
    unmeasured = {}
    if args.precision != "bf16":
        in_bf16 = [target.program for target in asked if target.program != "bare loop"]
        unmeasured = dict.fromkeys(in_bf16, why_not_bf16(DEVICE))
    return max(status, print_table(title, speeds, asked, notes, unmeasured=unmeasured))


def utilisation(used: list[float], ceilings: list[float], precision: str) -> tuple[int, str]:
    """Exit status and text of train.py's FLOP/s against the machine's, a figure a round."""
    share = statistics.median(map(operator.truediv, used, ceilings))
    verdict = "met" if share >= UTILISATION else "MISSED"
    judged = f"target {UTILISATION:.0%} {verdict}"
    if precision != "bf16":
        judged = f"target {UTILISATION:.0%} of that in bf16 {why_not_bf16(DEVICE)}"
    text = (
        f"{precision} ceiling {statistics.median(ceilings) / 1e9:,.0f} GFLOP/s; "
        f"train.py uses {statistics.median(used) / 1e9:,.0f} of it: "
        f"utilisation {share:.1%}, {judged}"
    )
    return int(precision == "bf16" and share < UTILISATION), text


if __name__ == "__main__":
    sys.exit(main())
