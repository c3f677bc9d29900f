"""Command `attend`: where a trained model looks, as a PNG.

Of a text-to-text model the attention of the output to its source, a row for each token that is put
out, as in Bahdanau et al. 2015, figure 3; of a language model the attention of a text to itself, a
row for each token that is read.

Shapes: L layers, H heads, T tokens that look, S tokens that are looked at.
"""

import argparse
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lmexp.errors import say, typed
from lmexp.output_files import check_output
from lmexp.translate import SEARCH, add_search_arguments, evaluation_asked_for

if TYPE_CHECKING:
    from torch import Tensor

    from lmexp.loading import Loaded


class Attention(NamedTuple):
    """The weights of a text, and what stands on the axes."""

    weights: "Tensor"  # (L, H, T, S), rows sum up to 1
    looking: list[str]  # T labels
    looked_at: list[str]  # S labels
    axes_names: tuple[str, str]  # of both
    output: str | None  # text that the rows spell, if it was searched for


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `attend`."""
    add = parser.add_argument
    add("run", type=Path, help="run folder, its parent (the newest), or checkpoint")
    add("text", help="source of a text-to-text model, or text of a language model")
    add("--target", help="text whose tokens look at the source (default: what the search finds)")
    add_search_arguments(parser)
    add("--layer", type=int, help="from 1, the lowest (default: the last)")
    add(
        "--heads",
        choices=("all", "mean"),
        default="all",
        help="a panel each (default), or one of their mean",
    )
    add("--out", type=Path, help="PNG to write (default: RUN/attention/….png)")
    add("--allow-targets", action="append", default=[], metavar="PACKAGE")


def main(args: argparse.Namespace) -> int:
    """Runs `attend`; returns the exit status.

    Raises:
        ValueError: the network has no attention, or the text does not fit it.
    """
    if args.out is not None:
        check_output("--out", args.out, suffix=".png")
    for option, given in (("the text", args.text), ("--target", args.target)):
        _check_text(option, given)

    import torch

    from lmexp.attention_maps import draw_attention
    from lmexp.loading import check_kind, load

    loaded = load(args.run, allow_targets=args.allow_targets)
    if loaded.task.text_kind != "pairs":
        check_kind(loaded, "text", args.run)
    with torch.no_grad():
        found = (
            _of_pair(loaded, args) if loaded.task.text_kind == "pairs" else _of_text(loaded, args)
        )
    layer, weights, panels = _chosen(found.weights, args)
    path: Path = args.out or _path(loaded, args, layer)
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = loaded.path.absolute().parent.parent.name  # of a checkpoint in a run, its time
    title = f"{folder}: {loaded.path.stem}, step {loaded.step:,}, layer {layer}"
    missing = draw_attention(
        weights.numpy(),
        found.looking,
        found.looked_at,
        path,
        title=title,
        panels=panels,
        axes_names=found.axes_names,
    )
    if missing:
        say(
            f"no font of this machine has {' '.join(sorted(missing))}: the picture shows their "
            "numbers; install a font with them, for example Noto Sans CJK"
        )
    if found.output is not None:
        print(f"output: {found.output}")
    print(path)
    return 0


def _check_text(option: str, given: str | None) -> None:
    if given is None:
        return
    if not given.strip():
        raise ValueError(f"{option} is empty: give a text with tokens that can be drawn")
    if any("\ud800" <= char <= "\udfff" for char in given):  # how Python hands over other bytes
        raise ValueError(f"{option} is not UTF-8 throughout: type it as UTF-8")


def _of_pair(loaded: "Loaded", args: argparse.Namespace) -> Attention:
    """Where each token of the output looks in the source."""
    import torch

    from lmexp.attention_maps import token_labels
    from lmexp.tokenizers import BOS_ID, EOS_ID

    if not hasattr(loaded.network, "cross_attention"):
        raise ValueError(
            f"{type(loaded.network).__name__} of {loaded.path} has no cross_attention(source_ids, "
            "source_mask, target_ids): there are no weights to draw"
        )
    tokenizer = loaded.tokenizer
    source = [*tokenizer.encode_sources([args.text])[0].tolist(), EOS_ID]
    _check_length("the text", source, loaded.recipe["data"]["max_length"])
    if args.target is None:
        target = _searched(loaded, source, args)
        output = tokenizer.target.decode(target)
    elif asked := [name for name in SEARCH if getattr(args, name) is not None]:
        raise ValueError(
            f"{typed(asked[0])} {getattr(args, asked[0])} is of a search, and --target gives the "
            "output"
        )
    else:
        target, output = tokenizer.target.encode(args.target), None
        _check_length("--target", [*target, EOS_ID], loaded.recipe["data"]["max_length"])
    _check_length("the output", [*target, EOS_ID], None)  # of a search too
    ids, read = torch.tensor([source]), torch.tensor([[BOS_ID, *target]])
    weights = loaded.network.cross_attention(ids, torch.ones_like(ids, dtype=torch.bool), read)
    return Attention(
        weights[:, 0],
        token_labels(tokenizer.target, [*target, EOS_ID]),  # each row when it is chosen
        token_labels(tokenizer.source, source),
        ("output", "source"),
        output,
    )


def _searched(loaded: "Loaded", source: list[int], args: argparse.Namespace) -> list[int]:
    """What the run's own search finds, its end left out."""
    from lmexp.decoding.translate import translate

    evaluation = evaluation_asked_for(loaded, args)
    tokens = evaluation.batch_tokens
    return translate(loaded.network, [source], evaluation.beam, batch_tokens=tokens)[0][0].ids


def _of_text(loaded: "Loaded", args: argparse.Namespace) -> Attention:
    """Where each token of a text looks in the text."""
    import torch

    from lmexp.attention_maps import token_labels

    for option in ("target", *SEARCH):
        if (given := getattr(args, option)) is not None:
            raise ValueError(
                f"{typed(option)} {given}: {loaded.path} is of a language model, "
                "whose text looks at itself: give the text alone"
            )
    if not hasattr(loaded.network, "self_attention"):
        raise ValueError(
            f"{loaded.path} is of a language model without attention "
            f"({type(loaded.network).__name__}): maps are drawn of model=transformer and of "
            "text-to-text models"
        )
    ids = [loaded.vocab.bos_id, *loaded.tokenizer.encode(args.text)]
    _check_length("the text", ids, getattr(loaded.network, "max_length", None))
    labels = token_labels(loaded.tokenizer, ids)
    weights = loaded.network.self_attention(torch.tensor([ids]))
    return Attention(weights[:, 0], labels, labels, ("token", "looks at"), None)


def _check_length(what: str, ids: Sequence[int], longest: int | None) -> None:
    from lmexp.attention_maps import MAX_TOKENS

    if longest is not None and len(ids) > longest:
        raise ValueError(
            f"{what} has {len(ids)} tokens, bos or eos included, and the model was trained on up "
            f"to {longest}: give a shorter text"
        )
    if len(ids) > MAX_TOKENS:
        raise ValueError(
            f"{what} has {len(ids)} tokens, and no more than {MAX_TOKENS} can be read in a "
            "picture: give a shorter text"
        )


def _chosen(weights: "Tensor", args: argparse.Namespace) -> tuple[int, "Tensor", list[str]]:
    """The layer, from 1, its weights (panels, T, S), and the panels' titles."""
    layer = len(weights) if args.layer is None else args.layer
    if not 1 <= layer <= len(weights):
        raise ValueError(
            f"--layer {layer}: this network has attention in {len(weights)}: write 1 to "
            f"{len(weights)}"
        )
    chosen = weights[layer - 1].float()
    heads = len(chosen)
    if heads == 1:
        return layer, chosen, ["one head"]
    if args.heads == "mean":
        return layer, chosen.mean(dim=0, keepdim=True), [f"mean of {heads} heads"]
    return layer, chosen, [f"head {head}" for head in range(1, heads + 1)]


def _path(loaded: "Loaded", args: argparse.Namespace, layer: int) -> Path:
    """A name of the text, the same for the same request."""
    search = [getattr(args, option) for option in SEARCH]
    request = repr((args.text, args.target, search, str(loaded.path)))
    digest = hashlib.sha256(request.encode()).hexdigest()[:8]
    words = re.sub(r"\W+", "-", args.text).strip("-")[:30] or "text"
    heads = "-mean" if args.heads == "mean" else ""
    beside = loaded.path.absolute().parent
    run = beside.parent if beside.name == "checkpoints" else beside
    return run / "attention" / f"{words}-layer{layer}{heads}-{digest}.png"
