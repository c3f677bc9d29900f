"""Loss, perplexity and bits per byte of a language model, over windows of a text."""

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lmexp import placement
from lmexp.build import build_data
from lmexp.check import check
from lmexp.corpora.text import TextFiles
from lmexp.data import text_loader
from lmexp.errors import say
from lmexp.evaluate import Evaluated, chosen_split
from lmexp.loading import Loaded
from lmexp.metrics import language_model_figures
from lmexp.networks.interface import CarryingDecoder
from lmexp.origins import of_file
from lmexp.preparation import Preparation
from lmexp.run_data import data_signature, figure_signature
from lmexp.targets import build


class Scored(NamedTuple):
    """Text to be scored, in windows."""

    name: str  # of the split, or "file"
    loader: Any
    store: Any  # packing.TokenStore
    signature: Mapping[str, Any]  # see run_data.data_signature
    dropped: Mapping[str, int]  # by reason


def evaluate_windows(loaded: Loaded, args: argparse.Namespace) -> Evaluated:
    """The figures of a split or a file.

    Args:
        loaded: a language model.
        args: of the command.
    """
    recipe = _with_windows(loaded, args)
    with tempfile.TemporaryDirectory(prefix="lmexp-evaluate-") as folder:
        if args.file is None:
            scored = _split(loaded, recipe, args)
        else:
            scored = _file(loaded, recipe, args, Path(folder) / "tokens")
        started = time.perf_counter()
        with placement.place(loaded.task, args.device, args.precision):
            figures = _figures(loaded.task.evaluate(scored.loader), scored.store)
        seconds = time.perf_counter() - started
    own = figure_signature(
        scored.signature,
        figures,
        checkpoint=loaded.path,
        step=loaded.step,
        precision=args.precision,
    )
    return Evaluated(scored.name, figures, own, scored.dropped, seconds)


def _with_windows(loaded: Loaded, args: argparse.Namespace) -> dict[str, Any]:
    """The recipe with the windows asked for, resolved to numbers.

    Raises:
        ValueError: they do not go together, or the network cannot read them.
    """
    sections = ("data", "eval")  # what is built here, beside the network
    check(loaded.recipe, args.allow_targets, of_file(loaded.path, loaded.recipe), sections)

    for option in ("context", "stride"):
        value = getattr(args, option)
        if value is not None and value < 1:
            raise ValueError(f"--{option} {value}: at least 1")
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


def _split(loaded: Loaded, recipe: Mapping[str, Any], args: argparse.Namespace) -> Scored:
    data = build_data(recipe, loaded.tokenizer, args.allow_targets)
    split = chosen_split(args.split, data.corpus.splits, "--file")
    data.prepare(fit=False, splits=(split,), announce=say)
    store = data.store(split)
    own = data_signature(data, split)
    return Scored(split, data.eval_dataloader(split), store, own, store.counts["dropped"])


def _file(
    loaded: Loaded, recipe: Mapping[str, Any], args: argparse.Namespace, folder: Path
) -> Scored:
    """A file, cut into documents and cleaned as the text of the training was."""
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
    windows = build(recipe["eval"], args.allow_targets)
    loader, store = text_loader(
        cleaning.clean(corpus.pieces("train"), dropped),
        tokenizer=loaded.tokenizer,
        windows=windows,
        max_length=section["max_length"],
        folder=folder,
        is_stream=corpus.is_stream,
    )
    own = {
        "data": str(args.file),
        "data_hash": Preparation(corpus, cleaning).data_hash,
        "tokenizer_hash": loaded.tokenizer.hash(),
        **windows.deciding(section["max_length"]),
        "split": str(args.file),
    }
    return Scored("file", loader, store, own, dropped + corpus.counts)


def _figures(sums: Any, store: Any) -> dict[str, float]:

    figures = language_model_figures(
        sums.nll, sums.tokens, sums.correct, store.num_bytes, store.num_chars, store.num_unk
    )
    return figures | {"bytes": store.num_bytes, "unk": store.num_unk}
