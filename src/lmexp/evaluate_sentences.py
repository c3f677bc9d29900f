"""Figures of a sentence VAE: the bound, its parts, and how much of the latent space is used."""

import argparse
import dataclasses
import time

from lmexp import placement
from lmexp.build import build_data
from lmexp.check import check
from lmexp.errors import say
from lmexp.evaluate import Evaluated, chosen_split
from lmexp.loading import Loaded
from lmexp.origins import of_file


def evaluate_sentences(loaded: Loaded, args: argparse.Namespace) -> Evaluated:
    """The figures of a split; the same points are drawn in every evaluation.

    Args:
        loaded: a sentence VAE.
        args: of the command.
    """
    check(loaded.recipe, args.allow_targets, of_file(loaded.path, loaded.recipe), ("data", "eval"))
    data = build_data(loaded.recipe, loaded.tokenizer, args.allow_targets)
    if args.batch_size is not None:
        data.evaluation = dataclasses.replace(data.evaluation, batch_size=args.batch_size)
    split = chosen_split(args.split, data.corpus.splits, "data=text of a new run")
    data.prepare(fit=False, splits=(split,), announce=say)
    started = time.perf_counter()
    with placement.place(loaded.task, args.device, args.precision):
        sums = loaded.task.evaluate(data.eval_dataloader(split))
        figures: dict[str, float | str] = {**sums.figures(), **loaded.task.scores(data, split)}
    seconds = time.perf_counter() - started
    if found := sums.collapse():
        say(found)
    signature = {
        "checkpoint": str(loaded.path),
        "step": loaded.step,
        "data": data.corpus.source,
        "data_hash": data.data_hash,
        "tokenizer_hash": loaded.tokenizer.hash(),
        "data.max_length": data.max_length,
        "eval.importance_samples": data.evaluation.importance_samples,
        "eval.information_sentences": data.evaluation.information_sentences,
        "precision": args.precision,
        "split": split,
    }
    return Evaluated(split, figures, signature, data.store(split).counts["dropped"], seconds)
