"""Command `sample`: sentences from a sentence VAE, each from a point drawn from the prior."""

import argparse
import dataclasses
from pathlib import Path

from lmexp import placement

BATCH = 64  # sentences at a time


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `sample`."""
    add = parser.add_argument
    add("run", type=Path, help="run folder, its parent (the newest), or checkpoint")
    add("--count", type=int, default=10, help="of sentences (default %(default)s)")
    add("--seed", type=int, default=0, help="of all draws (default %(default)s)")
    add(
        "--temperature",
        type=float,
        default=1.0,
        help="of the words, given the point; 0 is greedy (default %(default)s: the model's own)",
    )
    add("--allow-targets", action="append", default=[], metavar="PACKAGE")
    placement.add_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Runs `sample`; returns the exit status."""
    if args.count < 1:
        raise ValueError(f"--count {args.count}: at least 1")
    from lmexp.decoding.latent import normals, sentences
    from lmexp.decoding.sampling import Sampling
    from lmexp.loading import check_kind, load

    sampling = Sampling(temperature=args.temperature, seed=args.seed)  # refuses what cannot be
    loaded = load(args.run, allow_targets=args.allow_targets)
    check_kind(loaded, "sentences", args.run)
    longest = max(1, loaded.recipe["data"]["max_length"] - 1)
    sampling = dataclasses.replace(sampling, max_new_tokens=longest)
    for first in range(0, args.count, BATCH):
        rows = range(first, min(first + BATCH, args.count))
        latent = normals(args.seed, rows, 1, loaded.network.latent_size)[0]
        with placement.place(loaded.task, args.device, args.precision):
            texts = sentences(
                loaded.network,
                latent.to(loaded.task.device),
                sampling,
                vocab=loaded.vocab,
                decode=loaded.tokenizer.decode,
                first_row=first,
            )
        print("\n".join(texts), flush=True)
    return 0
