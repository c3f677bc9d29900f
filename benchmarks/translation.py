"""Translation on Multi30k, English to German, against four other programs, on the CPU.

3 + 3 layers, width 256, feed-forward 1,024, 4 heads, joint bpe of 8,000 types, dropout and label
smoothing 0.1. JoeyNMT, eole and CTranslate2 are installed into .venv/peers, each into an
environment of its own, once (2 GB). All are processes with the same number of threads, one busy at
a time, which take turns; medians. Three parts, in this order; exits with 1 if a target is missed:

bleu        BLEU on test_2016 after exactly three minutes of training from nothing with batches of
            1,024 tokens, norms before the layers; JoeyNMT on the same schedule.
search      sentences a second of beam search, beam 5, on test_2016 with the weights of a run of
            ours copied into JoeyNMT, Marian of the Transformers library and CTranslate2, with
            length penalties that hardly differ. The run is another three minutes of training:
            Marian has its norms after the layers alone. Printed beside: BLEU, tokens of a text on
            average, and how many texts are those of lmexp. JoeyNMT, many times slower, translates
            every tenth sentence. lmexp and CTranslate2 search 3,200 tokens of sources at once,
            the others 64 sentences, which suits them better.
training    target tokens a second, padding not counted, in batches of 4,096 tokens as each program
            counts them. train.py runs in a terminal with checkpoints, counted at the default rate.

Targets of train.py or of search in bfloat16 are not judged on a CPU without it.

    python benchmarks/translation.py
    python benchmarks/translation.py --only search --keep /tmp/search    # then --run /tmp/search
    python benchmarks/translation.py --rounds 1 --seconds 20    # quicker, proves nothing
"""

import argparse
import contextlib
import functools
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _environments import PEERS, Asked, python_of
from _measure import (
    OURS,
    Target,
    add_precision,
    multiplies_bf16,
    print_table,
    ratio,
    take_turns,
    threads_here,
    train,
    why_not_bf16,
)
from _peer import BEAM
from _translation import Texts, Training, bleu, overrides, train_for, write_texts
from rich.console import Console
from rich.table import Table

import lmexp

PARTS = ("bleu", "search", "training")
TRAINING_TARGETS = (Target("JoeyNMT", 3.5), Target("eole", 1.35))
SEARCH_TARGETS = {
    ("float32", "JoeyNMT"): 10.0,
    ("float32", "Marian"): 1.05,
    ("bf16", "Marian"): 1.3,
    ("bf16", "CTranslate2"): 0.9,
}
BLEU_TARGET = 15.0
BATCH_TOKENS = 4_096  # of the part training
OF_BLEU = Training(tokens=1_024, lr=1.0e-3, warmup_steps=100, norm_first=True)
OF_SEARCH = Training(tokens=1_024, lr=1.0e-3, warmup_steps=200, norm_first=False)
EVERY = 10  # sentences, of which JoeyNMT translates one


def measure_bleu(texts: Texts, run: Path, args: argparse.Namespace) -> int:
    """The part bleu: train into the run folder, let JoeyNMT do the same, print; exit status."""
    summary = train_for(args.seconds, run, args.threads, args.precision, OF_BLEU)
    table = Table("program", "search", "steps", "BLEU", "target")
    table.title = (
        f"test_2016 after {args.seconds} s of training, {OF_BLEU.tokens:,} tokens a batch, "
        f"{args.threads} threads"
    )
    met = summary["test/bleu"] >= BLEU_TARGET
    verdict = f"{BLEU_TARGET:.0f} {'met' if met else 'MISSED'}"
    steps = str(summary["step"])
    table.add_row(OURS, f"beam {BEAM}", steps, f"{summary['test/bleu']:.1f}", verdict)
    options = {
        **texts.options(every=1),
        "seconds": args.seconds,
        "batch_tokens": OF_BLEU.tokens,
        "lr": OF_BLEU.lr,
        "warmup_steps": OF_BLEU.warmup_steps,
    }
    program = "joeynmt", "train_and_translate"
    with contextlib.closing(Asked(*program, args.threads, **options)) as joeynmt:
        steps = str(joeynmt.ask()["steps"])
        score = bleu(joeynmt.ask()["outputs"], texts)
    table.add_row("JoeyNMT", "greedy", steps, f"{score:.1f}", "")
    console = Console()
    console.print(table)
    console.print(f"BLEU's signature: {summary['test/bleu_signature']}")
    return int(not met)


def measure_search(texts: Texts, run: Path, args: argparse.Namespace) -> int:
    """The part search, with the weights of a run: measure and print; exit status."""
    weights = texts.folder / "weights.npz"
    loaded = lmexp.load(run)
    if loaded.recipe["model"]["norm_first"]:
        raise ValueError(
            f"{run} has model.norm_first=true, and the other programs are built with false: name a "
            "run that --only search --keep made"
        )
    state = loaded.network.state_dict()
    np.savez(weights, **{name: part.numpy() for name, part in state.items()})
    options = {**texts.options(every=1), "weights": str(weights), "run": str(run)}
    precisions = {"float32": "32-true", "bf16": "bf16-true"}
    if not multiplies_bf16("cpu"):
        del precisions["bf16"]
    with contextlib.ExitStack() as running:

        def program(name: str, **changes: Any) -> Asked:
            made = Asked(name, "translate", args.threads, **(options | changes))
            running.callback(made.close)
            return made

        programs = {
            f"lmexp {name}": program("lmexp", precision=precision)
            for name, precision in precisions.items()
        }
        programs["JoeyNMT"] = program("joeynmt", every=EVERY)
        programs["Marian"] = program("marian")
        programs["CTranslate2"] = program("ctranslate2", precision="float32")
        outputs: dict[str, list[list[int]]] = {}

        def measure(name: str) -> float:
            answer = programs[name].ask()
            outputs[name] = answer["outputs"]
            return float(answer["per_second"])

        measures = {name: functools.partial(measure, name) for name in programs}
        speeds = take_turns(measures, args.rounds, digits=1)
    return print_search(speeds, outputs, texts, args.threads)


def print_search(
    speeds: Mapping[str, Sequence[float]],
    outputs: Mapping[str, Sequence[Sequence[int]]],
    texts: Texts,
    threads: int,
) -> int:
    """One table of the part search; 1 if a target is missed, else 0."""
    precisions = ("float32", "bf16")
    table = Table("program", "sentences/s", "range")
    table.title = f"beam {BEAM} on test_2016, the same weights, CPU, {threads} threads"
    for name in (*(f"lmexp {own} / it" for own in precisions), "BLEU", "tokens", "as lmexp"):
        table.add_column(name)
    status = 0
    for name, values in speeds.items():
        cells = [name, f"{statistics.median(values):,.1f}"]
        cells.append(f"{min(values):,.1f}–{max(values):,.1f}")
        for own in precisions:
            target = SEARCH_TARGETS.get((own, name))
            ours = f"lmexp {own}"
            if ours not in speeds:
                cells.append("" if target is None else f"– ({target} not measured)")
            elif ours == name:
                cells.append("")
            else:
                reached = ratio(speeds, name, ours)
                met = target is None or reached >= target
                status = status if met else 1
                verdict = "" if target is None else f" ({target} {'met' if met else 'MISSED'})"
                cells.append(f"{reached:.2f}{verdict}")
        found = outputs[name]
        same = list(
            map(
                list.__eq__, found, outputs["lmexp float32"][:: len(texts.references) // len(found)]
            )
        )
        cells.append(f"{bleu(found, texts):.1f}")
        cells.append(f"{statistics.mean(map(len, found)):.2f}")
        cells.append(f"{sum(same):,} of {len(same):,}")
        table.add_row(*cells)
    console = Console()
    console.print(table)
    if not multiplies_bf16("cpu"):
        console.print(f"lmexp in bf16: {why_not_bf16('cpu')}")
    return status


def measure_training(texts: Texts, args: argparse.Namespace) -> int:
    """The part training: measure and print; exit status."""
    run = [
        *overrides(args.precision, norm_first=False),
        f"data.batch_tokens={BATCH_TOKENS}",
        "data.corpus.test=null",
    ]
    ours = {"warmup": 10, "checkpoint_every": 10, "no_samples": "eval.sample_pairs=0"}
    options = {**texts.options(every=1), "batch_tokens": BATCH_TOKENS}
    with contextlib.ExitStack() as running:

        def program(name: str, **changes: Any) -> Asked:
            made = Asked(name, "train", args.threads, **(options | changes))
            running.callback(made.close)
            return made

        joeynmt = program("joeynmt", warmup=1, steps=args.steps // 2)
        eole = program("eole", warmup=2, steps=args.steps, bucket_pairs=texts.num_pairs)
        measures = {
            OURS: lambda: train(run, args.threads, steps=args.steps, **ours)[0],
            "JoeyNMT": lambda: float(joeynmt.ask()["per_second"]),
            "eole": lambda: float(eole.ask()["per_second"]),
        }
        speeds = take_turns(measures, args.rounds)
    title = (
        f"training in {args.precision} (the others in float32), target tokens without padding, "
        f"{BATCH_TOKENS:,} tokens a batch, CPU, {args.threads} threads"
    )
    unmeasured = {}
    if args.precision != "bf16":
        unmeasured = {name: why_not_bf16("cpu") for name, _ in TRAINING_TARGETS}
    return print_table(title, speeds, TRAINING_TARGETS, [], unmeasured=unmeasured)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=PARTS, help="repeatable; default all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=180, help="of each run that is trained")
    parser.add_argument("--steps", type=int, default=10, help="of training, a multiple of ten")
    parser.add_argument("--run", type=Path, help="whose weights search uses, instead of training")
    parser.add_argument("--keep", type=Path, help="folder for the run of search, to be made")
    parser.add_argument("--threads", type=int, default=threads_here())
    add_precision(parser, "cpu")
    args = parser.parse_args()
    parts = args.only or PARTS
    for name in PEERS:
        python_of(name)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LMEXP_CACHE"] = folder
        texts = write_texts(Path(folder))
        status = 0
        if "bleu" in parts:
            status |= measure_bleu(texts, Path(folder, "bleu"), args)
        if "search" in parts:
            run = args.run or args.keep or Path(folder, "search")
            if args.run is None:
                train_for(args.seconds, run, args.threads, args.precision, OF_SEARCH)
            status |= measure_search(texts, run, args)
        if "training" in parts:
            status |= measure_training(texts, args)
    return status


if __name__ == "__main__":
    sys.exit(main())
