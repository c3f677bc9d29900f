"""Figures of a model that labels words or texts, or answers questions; reports by label."""

import argparse
import time

from lmexp import placement
from lmexp.errors import say
from lmexp.evaluate import Evaluated, chosen_split
from lmexp.label_tables import draw_confusion, print_report
from lmexp.loading import Loaded
from lmexp.run_data import data_of_run, signature


def evaluate_labels(loaded: Loaded, args: argparse.Namespace) -> Evaluated:
    """The figures of a split; reports are printed.

    Args:
        loaded: a model that labels.
        args: of the command.

    Raises:
        ValueError: a picture is asked for that this model has not.
    """
    data = data_of_run(loaded, args.allow_targets, batch_size=args.batch_size)
    split = chosen_split(args.split, data.corpus.splits, "data=… of a new run, or lmexp label")
    if args.confusion is not None and data.multiple:
        raise ValueError(
            f"--confusion {args.confusion}: {loaded.path} does not give one label to each text, "
            "and has no confusion matrix: leave it out"
        )
    data.prepare(fit=False, splits=(split,), announce=say)
    started = time.perf_counter()
    with placement.place(loaded.task, args.device, args.precision):
        report = loaded.task.evaluate(data.eval_dataloader(split), data.store(split))
    seconds = time.perf_counter() - started
    if loaded.task.text_kind == "tags":
        print_report(report.tokens.report(), title=f"{split}: words", first="tag")
        print_report(report.entity_report(), title=f"{split}: entities", first="type")
    elif loaded.task.text_kind == "labels":
        own = report.classes.report if report.classes is not None else report.counts.report()
        print_report(own, title=f"{split}: texts", first="label")
    if args.confusion is not None:
        classes = report.classes
        title = f"{loaded.path}, {split}"
        draw_confusion(classes.confusion, classes.classes, args.confusion, title=title)
        say(f"drawn in {args.confusion}")
    counts, figures = data.store(split).counts, report.figures()
    own = signature(loaded, data, args, split, figures)
    return Evaluated(split, figures, own, counts["dropped"], seconds)
