"""Figures of a model that finds the text that fits another."""

import argparse
import time

from lmexp import placement
from lmexp.errors import say
from lmexp.evaluate import Evaluated, chosen_split
from lmexp.loading import Loaded
from lmexp.run_data import data_of_run, signature


def evaluate_matches(loaded: Loaded, args: argparse.Namespace) -> Evaluated:
    """The figures of a split: among its own targets, and among those of the training split too.

    Args:
        loaded: a model of text_pairs.
        args: of the command.
    """
    data = data_of_run(loaded, args.allow_targets, batch_size=args.batch_size)
    split = chosen_split(args.split, data.corpus.splits, "data=… of a new run, or lmexp match")
    data.prepare(fit=False, splits=tuple(dict.fromkeys(("train", split))), announce=say)
    started = time.perf_counter()
    with placement.place(loaded.task, args.device, args.precision):
        figures: dict[str, float | str] = {
            **loaded.task.evaluate(data.eval_dataloader(split), data.store(split)),
            **loaded.task.scores(data, split),
        }
    seconds = time.perf_counter() - started
    own = signature(loaded, data, args, split, figures)
    return Evaluated(split, figures, own, data.store(split).counts["dropped"], seconds)
