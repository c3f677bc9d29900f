"""Command `fill`: what a masked language model puts in the place of [MASK]."""

import argparse
import re
from pathlib import Path
from typing import Any, NamedTuple

from lmexp import placement, text_input

_MASK = re.compile(r"\[MASK\]|<mask>")


class Filling(NamedTuple):
    """What one mask was filled with."""

    token: str
    probability: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `fill`."""
    add = parser.add_argument
    add("run", type=Path, help="run folder, its parent (the newest), or checkpoint")
    add("text", help="with [MASK] in the place of each token to be found")
    add("--top", type=int, default=5, metavar="N", help="tokens for each mask (default 5)")
    add("--allow-targets", action="append", default=[], metavar="PACKAGE")
    placement.add_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Runs `fill`; returns the exit status."""
    from rich.console import Console
    from rich.table import Table

    from lmexp.loading import check_kind, load

    if args.top < 1:
        raise ValueError(f"--top {args.top}: at least 1")
    text = text_input.argument(args.text, "the text")
    loaded = load(args.run, allow_targets=args.allow_targets)
    check_kind(loaded, "segments", args.run)
    with placement.place(loaded.task, args.device, args.precision):
        found = fillings(loaded, text, args.top)
    table = Table("mask", "token", "probability")
    for number, own in enumerate(found, start=1):
        for filling in own:
            table.add_row(str(number), repr(filling.token), f"{filling.probability:.4f}")
    Console().print(table)
    print(filled(text, [own[0].token for own in found]))
    return 0


def fillings(loaded: Any, text: str, top: int) -> list[list[Filling]]:
    """The likeliest tokens for each mask of a text, by falling probability.

    Every mask is filled as if the others stayed masks.

    Args:
        loaded: a masked language model (loading.load).
        text: with [MASK] or <mask> in it.
        top: tokens for each.

    Raises:
        ValueError: there is no mask, or the text is too long for the model.
    """
    import torch

    ids = masked_ids(loaded, text)
    input_ids = torch.tensor([ids], device=loaded.task.device)
    with torch.no_grad():
        hidden = loaded.network.hidden(input_ids, torch.ones_like(input_ids, dtype=torch.bool))
        restored = loaded.network.restored(hidden[input_ids == loaded.vocab.mask_id])
        logits = loaded.network.output(restored).float()
    logits[:, : len(loaded.tokenizer.reserved)] = -torch.inf  # which no text holds
    best = logits.softmax(dim=-1).topk(min(top, logits.shape[1]), dim=-1)
    return [
        [
            Filling(loaded.tokenizer.decode([number]), share)
            for number, share in zip(numbers, shares, strict=True)
        ]
        for shares, numbers in zip(*(part.tolist() for part in best), strict=True)
    ]


def masked_ids(loaded: Any, text: str) -> list[int]:
    """The text as the model reads it.

    Raises:
        ValueError: there is no mask, or the text is too long for the model.
    """
    from lmexp.tokenizers import Pretrained, SentencePiece

    parts = _MASK.split(text)
    if len(parts) == 1:
        raise ValueError(
            f"{text!r} has no mask: write [MASK] in the place of a token, for example "
            "'The [MASK] statement'"
        )
    own = loaded.tokenizer
    keeps_spaces = isinstance(own, SentencePiece) or (
        isinstance(own, Pretrained) and own.keeps_spaces
    )
    if keeps_spaces:  # the filled token brings its own
        parts = [*(part.removesuffix(" ") for part in parts[:-1]), parts[-1]]
    ids = [loaded.vocab.bos_id]
    for number, part in enumerate(parts):
        ids += [loaded.vocab.mask_id] * bool(number) + loaded.tokenizer.encode(part)
    ids.append(loaded.vocab.eos_id)
    longest = loaded.recipe["data"]["max_length"]
    if len(ids) > longest:
        raise ValueError(
            f"the text takes {len(ids)} tokens, and the model was trained on {longest} at most "
            "(data.max_length): give it less"
        )
    return ids


def filled(text: str, tokens: list[str]) -> str:
    """The text with a token in the place of each mask."""
    parts = _MASK.split(text)
    whole = parts[0]
    for token, part in zip(tokens, parts[1:], strict=True):
        whole += (token.lstrip() if whole.endswith(" ") else token) + part
    return whole
