"""Command `evaluate`: loss, perplexity and bits per byte of a trained language model."""

import argparse
import json
import math
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lmexp import placement

if TYPE_CHECKING:
    from lmexp.loading import Loaded

UNITS = {"loss": " nats per token", "bytes": " of UTF-8, cleaned", "unk": " unknown tokens"}
COUNTS = ("tokens", "bytes", "unk")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `evaluate`."""
    add = parser.add_argument
    add("run", type=Path, help="run folder, its parent (the newest), or checkpoint")
    text = parser.add_mutually_exclusive_group()
    text.add_argument(
        "--split",
        choices=("test", "val", "train"),
        help="default test, or val without a test split",
    )
    text.add_argument(
        "--file", type=Path, help="a text of your own (plain, .gz, .zst, .jsonl), cleaned alike"
    )
    add("--json", type=Path, metavar="OUT", help="write figures and signature there too")
    add("--context", type=int, help="tokens a window reads (default as in training)")
    add("--stride", type=int, help="tokens from one window to the next (default: context)")
    add(
        "--carry",
        action=argparse.BooleanOptionalAction,
        help="recurrent state goes on from window to window (default as in training)",
    )
    add("--batch-size", type=int, help="windows at a time; changes no figure")
    add("--allow-targets", action="append", default=[], metavar="PACKAGE")
    placement.add_arguments(parser)


class Scored(NamedTuple):
    """Text to be scored, in windows."""

    name: str  # of the split, or "file"
    loader: Any
    store: Any  # packing.TokenStore
    source: str
    data_hash: str
    dropped: Mapping[str, int]  # by reason


def main(args: argparse.Namespace) -> int:
    """Runs `evaluate`; returns the exit status."""
    if args.json is not None and not args.json.parent.is_dir():
        raise FileNotFoundError(f"--json {args.json}: there is no folder {args.json.parent}")
    if args.file is not None and not args.file.is_file():
        raise FileNotFoundError(f"--file {args.file}: no such file")
    from lmexp.loading import load_language_model

    loaded = load_language_model(args.run, allow_targets=args.allow_targets)
    recipe = _with_windows(loaded, args)
    with tempfile.TemporaryDirectory(prefix="lmexp-evaluate-") as folder:
        if args.file is None:
            scored = _split(loaded, recipe, args)
        else:
            scored = _file(loaded, recipe, args, Path(folder) / "tokens")
        started = time.perf_counter()
        with placement.place(loaded.task, args.device, args.precision):
            figures = _figures(loaded.task.evaluate(scored.loader), scored.store)
        dropped = {reason: count for reason, count in scored.dropped.items() if count}
        seconds = time.perf_counter() - started
    name, signature = scored.name, _signature(loaded, recipe, args, scored)
    _show(name, figures, signature, seconds)
    if dropped:
        counts = ", ".join(f"{number:,} {reason}" for reason, number in dropped.items())
        _say(f"dropped or changed while reading: {counts}")
    if args.json is not None:
        flat: dict[str, Any] = {f"{name}/{key}": _plain(value) for key, value in figures.items()}
        text = json.dumps(flat | {"signature": signature}, indent=2, ensure_ascii=False)
        args.json.write_text(text + "\n", encoding="utf-8")
    return 0


def _with_windows(loaded: "Loaded", args: argparse.Namespace) -> dict[str, Any]:
    """The recipe with the windows asked for, resolved to numbers.

    Raises:
        ValueError: they do not go together, or the network cannot read them.
    """
    from lmexp.check import check
    from lmexp.networks.interface import CarryingDecoder
    from lmexp.origins import of_file
    from lmexp.targets import build

    sections = ("data", "eval")  # what is built here, beside the network
    check(loaded.recipe, args.allow_targets, of_file(loaded.path, loaded.recipe), sections)

    for option in ("context", "stride", "batch_size"):
        value = getattr(args, option)
        if value is not None and value < 1:
            raise ValueError(f"--{option.replace('_', '-')} {value}: at least 1")
    names = ("context", "stride", "carry", "batch_size")
    asked = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    section = {**loaded.recipe["eval"], **asked}
    if args.context is not None and args.stride is None:
        section["stride"] = None  # the recipe's belongs to the recipe's context
    context, stride = build(section, args.allow_targets).resolve(
        loaded.recipe["data"]["max_length"]
    )
    if section["carry"] and not isinstance(loaded.network, CarryingDecoder):
        raise ValueError(
            f"eval.carry=true carries state from window to window, and "
            f"{type(loaded.network).__name__} has none: write --no-carry"
        )
    reach = getattr(loaded.network, "max_length", None)
    if reach is not None and context > reach:
        raise ValueError(
            f"windows of {context} tokens, but the network has learned {reach} positions: "
            f"write --context {reach}"
        )
    return {**loaded.recipe, "eval": {**section, "context": context, "stride": stride}}


def _split(loaded: "Loaded", recipe: Mapping[str, Any], args: argparse.Namespace) -> Scored:
    from lmexp.build import build_data

    data = build_data(recipe, loaded.tokenizer, args.allow_targets)
    split = _chosen_split(args.split, data.corpus.splits)
    data.prepare(fit=False, splits=(split,), announce=_say)
    facts, store = data.facts(), data.store(split)
    source, data_hash = facts["source"], facts["data_hash"]
    return Scored(
        split, data.eval_dataloader(split), store, source, data_hash, store.counts["dropped"]
    )


def _chosen_split(asked: str | None, has: Sequence[str]) -> str:
    """The split asked for; else test, or val where there is no test split.

    Raises:
        ValueError: the data does not have it.
    """
    split = asked or ("test" if "test" in has else "val")
    if split not in has:
        raise ValueError(
            f"--split {split}: the data of this run has: {', '.join(has)}; choose one of them, or "
            "give a text of your own with --file"
        )
    if split != asked and split == "val":
        _say("the data of this run has no test split: this is its validation split")
    return split


def _file(
    loaded: "Loaded", recipe: Mapping[str, Any], args: argparse.Namespace, folder: Path
) -> Scored:
    """A file, cut into documents and cleaned as the text of the training was."""
    from lmexp.corpora.text import TextFiles
    from lmexp.data import text_loader
    from lmexp.preparation import Preparation
    from lmexp.targets import build

    section = recipe["data"]
    trained_on = build(section["corpus"], args.allow_targets, root=section["root"])
    corpus = TextFiles(
        files=str(args.file.resolve()),
        val_files=None,
        test_files=None,
        val_fraction=0.0,
        test_fraction=0.0,
        cut="tail",
        document="split" if trained_on.is_stream else section["corpus"].get("document", "file"),
        text_field=section["corpus"].get("text_field", "text"),
        on_invalid="error",
    )
    cleaning = build(section["cleaning"], args.allow_targets)
    dropped: Counter[str] = Counter()
    loader, store = text_loader(
        cleaning.clean(corpus.pieces("train"), dropped),
        tokenizer=loaded.tokenizer,
        windows=build(recipe["eval"], args.allow_targets),
        max_length=section["max_length"],
        folder=folder,
        is_stream=corpus.is_stream,
    )
    data_hash = Preparation(corpus, cleaning).data_hash
    counts = dropped + corpus.counts
    return Scored("file", loader, store, str(args.file), data_hash, counts)


def _figures(sums: Any, store: Any) -> dict[str, float]:
    from lmexp.metrics import language_model_figures

    figures = language_model_figures(
        sums.nll, sums.tokens, sums.correct, store.num_bytes, store.num_chars, store.num_unk
    )
    return figures | {"bytes": store.num_bytes, "unk": store.num_unk}


def _signature(
    loaded: "Loaded", recipe: Mapping[str, Any], args: argparse.Namespace, scored: Scored
) -> dict[str, Any]:
    """All that a figure depends on: two figures compare if these do."""
    windows = recipe["eval"]
    return {
        "checkpoint": str(loaded.path),
        "step": loaded.step,
        "data": scored.source,
        "data_hash": scored.data_hash,
        "split": scored.name if args.file is None else str(args.file),
        "tokenizer_hash": loaded.tokenizer.hash(),
        "eval.context": windows["context"],
        "eval.stride": windows["stride"],
        "eval.carry": windows["carry"],
        "precision": args.precision,
    }


def _plain(value: float) -> float | None:
    """JSON knows no infinity."""
    return value if math.isfinite(value) else None


def _say(text: str) -> None:
    print(f"lmexp: {text}", file=sys.stderr)


def _show(
    name: str, figures: Mapping[str, float], signature: Mapping[str, Any], seconds: float
) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{name}: {seconds:.1f} s", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for key, value in figures.items():
        text = f"{value:,.0f}" if key in COUNTS else f"{value:.4f}"
        table.add_row(f"{name}/{key}", text + UNITS.get(key, ""))
    table.add_section()
    for key, value in signature.items():
        text = value[:12] if key.endswith("hash") else str(value)
        table.add_row(key, text, style="dim")
    Console().print(table)
