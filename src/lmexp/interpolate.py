"""Command `interpolate`: the sentences on the way from one to another, from a sentence VAE."""

import argparse
from pathlib import Path
from typing import Any

from lmexp import placement, text_input
from lmexp.errors import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `interpolate`."""
    add = parser.add_argument
    add("run", type=Path, help="run folder, its parent (the newest), or checkpoint")
    add("first", help="sentence to begin with")
    add("second", help="sentence to end with")
    add(
        "--steps",
        type=int,
        default=5,
        help="points on the way, both ends among them (default %(default)s)",
    )
    add("--allow-targets", action="append", default=[], metavar="PACKAGE")
    placement.add_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Runs `interpolate`; returns the exit status."""
    if args.steps < 2:
        raise ValueError(f"--steps {args.steps}: at least 2, the two ends")
    sentences = [text_input.argument(text, "a sentence") for text in (args.first, args.second)]
    from lmexp.loading import check_kind, load

    loaded = load(args.run, allow_targets=args.allow_targets)
    check_kind(loaded, "sentences", args.run)
    ids = [encoded(loaded, text) for text in sentences]
    with placement.place(loaded.task, args.device, args.precision):
        texts = interpolated(loaded, ids[0], ids[1], args.steps)
    print("\n".join(texts))
    return 0


def encoded(loaded: Any, text: str) -> list[int]:
    """The sentence as the encoder reads it.

    Raises:
        ValueError: it is empty, or too long for the model.
    """
    ids: list[int] = list(loaded.tokenizer.encode(text.strip()))
    if not ids:
        raise ValueError(f"{text!r} has no word: give two sentences")
    longest = loaded.recipe["data"]["max_length"]
    if len(ids) + 1 > longest:
        raise ValueError(
            f"{text!r} takes {len(ids) + 1} tokens, and the model was trained on {longest} at most "
            "(data.max_length): give it less"
        )
    if unknown := ids.count(loaded.tokenizer.reserved.index("<unk>")):
        say(f"{unknown} of the {len(ids)} tokens of {text!r} are not in the model's vocabulary")
    return [*ids, loaded.vocab.eos_id]


def interpolated(loaded: Any, first: list[int], second: list[int], steps: int) -> list[str]:
    """Sentences from points on the line between two, the likeliest word each time.

    Each end is the mean of its sentence's posterior (Bowman et al. 2016, section 4.3).

    Args:
        loaded: a sentence VAE (loading.load).
        first: ids, end of sequence last.
        second: likewise.
        steps: points, both ends among them.
    """
    import torch

    from lmexp.decoding.latent import between, sentences
    from lmexp.decoding.sampling import Sampling

    ends = []
    with torch.no_grad():
        for ids in (first, second):
            row = torch.tensor([ids], device=loaded.task.device)
            ends.append(loaded.network.posterior(row, torch.ones_like(row, dtype=torch.bool)))
    longest = max(1, loaded.recipe["data"]["max_length"] - 1)
    return sentences(
        loaded.network,
        between(ends[0].mean[0], ends[1].mean[0], steps),
        Sampling(temperature=0.0, max_new_tokens=longest),
        vocab=loaded.vocab,
        decode=loaded.tokenizer.decode,
    )
