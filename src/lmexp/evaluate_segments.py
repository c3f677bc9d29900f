"""Figures of a masked language model: of hidden tokens, and of pairs of segments."""

import argparse
import time

from lmexp import placement
from lmexp.errors import say
from lmexp.evaluate import Evaluated, chosen_split
from lmexp.loading import Loaded
from lmexp.run_data import data_of_run, signature


def evaluate_segments(loaded: Loaded, args: argparse.Namespace) -> Evaluated:
    """The figures of a split; the same tokens are hidden in every evaluation.

    Args:
        loaded: a masked language model.
        args: of the command.
    """
    data = data_of_run(loaded, args.allow_targets, batch_size=args.batch_size)
    split = chosen_split(args.split, data.corpus.splits, "data=text of a new run")
    data.prepare(fit=False, splits=(split,), announce=say)
    started = time.perf_counter()
    with placement.place(loaded.task, args.device, args.precision):
        figures: dict[str, float | str] = {
            **loaded.task.evaluate(data.eval_dataloader(split)).figures(),
            **loaded.task.scores(data, split),
        }
    seconds = time.perf_counter() - started
    own = signature(loaded, data, args, split, figures)
    return Evaluated(split, figures, own, data.store(split).counts["dropped"], seconds)
