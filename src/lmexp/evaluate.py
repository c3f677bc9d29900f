"""Command `evaluate`: figures of a trained model over a split or a text of your own.

What is scored, and how, depends on what the model reads: evaluate_windows scores language models,
evaluate_pairs text-to-text models, evaluate_segments masked language models, evaluate_labels
those that label words or texts or answer questions, evaluate_matches those that match texts,
evaluate_sentences sentence VAEs.
"""

import argparse
import importlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lmexp import placement
from lmexp.errors import say, typed
from lmexp.output_files import check_apart, check_output
from lmexp.text_kinds import TEXT_KINDS
from lmexp.translate import SEARCH, add_search_arguments

UNITS = {"bytes": " of UTF-8, cleaned", "unk": " unknown tokens"}
OF_ONE = {  # kind of text -> options that make sense for it alone
    "text": ("file", "context", "stride", "carry"),
    "pairs": ("source", "reference", "tokenised", "outputs", "by_length", "execute", *SEARCH),
    "labels": ("confusion",),
}
WRITTEN = ("json", "outputs", "by_length", "confusion")
PICTURES = ("--by-length", "--confusion")
COUNTS = (
    "tokens",
    "pairs",
    "texts",
    "questions",
    "candidates",
    "candidates_of_all",
    "sentences",
    "bytes",
    "unk",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `evaluate`."""
    add = parser.add_argument
    add("run", type=Path, help="run folder, its parent (the newest), or checkpoint")
    add(
        "--split",
        choices=("test", "val", "train"),
        help="default test, or val without a test split",
    )
    add("--json", type=Path, metavar="OUT", help="write figures and signature there too")
    add(
        "--batch-size",
        type=int,
        help="windows, pairs or sentences scored at a time; changes no figure but the loss of "
        "models that match texts, whose candidates are those of a batch",
    )
    add("--allow-targets", action="append", default=[], metavar="PACKAGE")
    placement.add_arguments(parser)
    text = parser.add_argument_group("language models").add_argument
    text("--file", type=Path, help="a text of your own (plain, .gz, .zst, .jsonl), cleaned alike")
    text("--context", type=int, help="tokens a window reads (default as in training)")
    text("--stride", type=int, help="tokens from one window to the next (default: context)")
    text(
        "--carry",
        action=argparse.BooleanOptionalAction,
        help="recurrent state goes on from window to window (default as in training)",
    )
    group = parser.add_argument_group("models that label texts")
    group.add_argument("--confusion", type=Path, metavar="PNG", help="the confusion matrix, drawn")
    _add_pair_arguments(parser)


def _add_pair_arguments(parser: argparse.ArgumentParser) -> None:
    of_pairs = parser.add_argument_group("text-to-text models")
    pairs = of_pairs.add_argument
    pairs("--source", type=Path, help="lines of your own, plain, .gz or .zst, with --reference")
    pairs("--reference", type=Path, nargs="+", metavar="FILE", help="of each line of --source")
    pairs(
        "--tokenised",
        action="store_const",
        const=True,
        help="the lines of --source and --reference are cut into tokens: said with their scores",
    )
    add_search_arguments(of_pairs)
    pairs(
        "--execute",
        action="store_const",
        const=True,
        help="run the outputs, which are programs, against the tests of their pairs (pass@1)",
    )
    pairs("--outputs", type=Path, metavar="OUT", help="write the outputs there, one a line")
    pairs(
        "--by-length",
        type=Path,
        metavar="PNG",
        help="BLEU of shorter and longer sources too: as a table, and as a picture there",
    )


class Evaluated(NamedTuple):
    """What was found."""

    name: str  # of the split, or "file"
    figures: Mapping[str, float | str]
    signature: Mapping[str, Any]  # all that a figure depends on: two figures compare if these do
    dropped: Mapping[str, int]  # text left out or changed, by reason
    seconds: float


def main(args: argparse.Namespace) -> int:
    """Runs `evaluate`; returns the exit status."""
    _check_files(args)
    from lmexp.loading import load

    loaded = load(args.run, allow_targets=args.allow_targets)
    if args.batch_size is not None and args.batch_size < 1:
        raise ValueError(f"--batch-size {args.batch_size}: at least 1")
    kind = TEXT_KINDS[loaded.task.text_kind]
    others = {option for name in OF_ONE for option in OF_ONE[name]}
    own = OF_ONE.get(loaded.task.text_kind, ())
    _refuse(args, sorted(others - set(own)), f"{loaded.path} is of {kind.what}")
    evaluate = getattr(importlib.import_module(f"lmexp.{kind.evaluator}"), kind.evaluator)
    found: Evaluated = evaluate(loaded, args)
    _show(found, kind.unit)
    if args.json is not None:
        flat: dict[str, Any] = {
            f"{found.name}/{key}": _plain(value) for key, value in found.figures.items()
        }
        text = json.dumps(flat | {"signature": found.signature}, indent=2, ensure_ascii=False)
        args.json.write_text(text + "\n", encoding="utf-8")
    return 0


def _check_files(args: argparse.Namespace) -> None:
    """Before anything is loaded: what is to be read is there, what is to be written can be."""
    outputs = {typed(option): getattr(args, option) for option in WRITTEN}
    outputs = {option: path for option, path in outputs.items() if path is not None}
    for option, path in outputs.items():
        check_output(option, path, suffix=".png" if option in PICTURES else "")
    inputs: dict[str, list[Path]] = {}
    for option in ("file", "source", "reference"):
        given = getattr(args, option)
        inputs[typed(option)] = given if isinstance(given, list) else [given] if given else []
        for path in inputs[typed(option)]:
            if not path.is_file():
                raise FileNotFoundError(f"{typed(option)} {path}: no such file")
    check_apart(outputs, inputs)
    if (args.source is None) != (args.reference is None):
        missing = "--source" if args.source is None else "--reference"
        raise ValueError(f"{missing} is missing: write --source FILE --reference FILE [FILE …]")
    if args.tokenised and args.source is None:
        raise ValueError("--tokenised is of the lines of --source, which is not given")
    if args.execute and args.source is not None:
        raise ValueError("--execute and --source exclude each other: lines have no tests to pass")
    if args.split is not None and (args.file is not None or args.source is not None):
        other = "--file" if args.file is not None else "--source"
        raise ValueError(f"--split {args.split} and {other} exclude each other: give one of them")


def _refuse(args: argparse.Namespace, options: Sequence[str], reason: str) -> None:
    """Options that say nothing to this kind of model are a mistake."""
    for option in options:
        if getattr(args, option) is not None:
            raise ValueError(f"{reason}, which has no {typed(option)}: leave it out")


def chosen_split(asked: str | None, has: Sequence[str], instead: str) -> str:
    """The split asked for; else test, or val where there is no test split.

    Args:
        asked: by the user, if at all.
        has: the splits of the data.
        instead: what to write for a text of one's own.

    Raises:
        ValueError: the data does not have it.
    """
    split = asked or ("test" if "test" in has else "val")
    if split not in has:
        raise ValueError(
            f"--split {split}: the data of this run has: {', '.join(has)}; choose one of them, or "
            f"give a text of your own with {instead}"
        )
    if split != asked and split == "val":
        say("the data of this run has no test split: this is its validation split")
    return split


def _plain(value: float | str) -> float | str | None:
    """JSON knows no infinity."""
    return value if isinstance(value, str) or math.isfinite(value) else None


def _show(found: Evaluated, unit_of_loss: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{found.name}: {found.seconds:.1f} s", show_header=False)
    table.title_justify = "left"
    table.add_column()
    table.add_column(overflow="fold")
    for key, value in found.figures.items():
        number = value if isinstance(value, str) else f"{value:.4f}"
        text = f"{value:,.0f}" if key in COUNTS else number
        unit = f" nats per {unit_of_loss}" if key == "loss" else UNITS.get(key, "")
        table.add_row(f"{found.name}/{key}", text + unit)
    table.add_section()
    for key, value in found.signature.items():
        if key in found.figures:  # shown already
            continue
        text = value[:12] if key.endswith("hash") else str(value)
        table.add_row(key, text, style="dim")
    Console().print(table)
    if dropped := {reason: count for reason, count in found.dropped.items() if count}:
        counts = ", ".join(f"{number:,} {reason}" for reason, number in dropped.items())
        say(f"dropped or changed while reading: {counts}")
