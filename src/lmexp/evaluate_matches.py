"""Figures of a model that finds the text that fits another."""

import argparse
import dataclasses
import time
from typing import Any

from lmexp import placement
from lmexp.errors import say
from lmexp.evaluate import Evaluated, chosen_split
from lmexp.evaluate_labels import labelled_data
from lmexp.loading import Loaded


def evaluate_matches(loaded: Loaded, args: argparse.Namespace) -> Evaluated:
    """The figures of a split: among its own targets, and among those of the training split too.

    Args:
        loaded: a model of text_pairs.
        args: of the command.
    """
    data: Any = labelled_data(loaded, args.allow_targets)
    if args.batch_size is not None:
        data.evaluation = dataclasses.replace(data.evaluation, batch_size=args.batch_size)
    split = chosen_split(args.split, data.corpus.splits, "data=… of a new run, or lmexp match")
    data.prepare(fit=False, splits=tuple({"train": 0, split: 0}), announce=say)
    started = time.perf_counter()
    with placement.place(loaded.task, args.device, args.precision):
        figures: dict[str, float | str] = {
            **loaded.task.evaluate(data.eval_dataloader(split), data.store(split)),
            **loaded.task.scores(data, split),
        }
    seconds = time.perf_counter() - started
    signature = {
        "checkpoint": str(loaded.path),
        "step": loaded.step,
        "data": data.corpus.source,
        "data_hash": data.data_hash,
        "tokenizer_hash": loaded.tokenizer.hash(),
        "data.max_length": data.max_length,
        "eval.batch_size": data.evaluation.batch_size,
        "precision": args.precision,
        "split": split,
    }
    return Evaluated(split, figures, signature, data.store(split).counts["dropped"], seconds)
