"""Scores of a text-to-text model: loss of the targets, BLEU and others of the outputs."""

import argparse
import dataclasses
import time
from typing import Any

from lmexp import placement
from lmexp.build import build_data
from lmexp.check import check
from lmexp.corpora.parallel import ParallelFiles
from lmexp.errors import say
from lmexp.evaluate import Evaluated, chosen_split
from lmexp.length_breakdown import by_length, draw_by_length, print_by_length
from lmexp.loading import Loaded
from lmexp.metrics import language_model_figures
from lmexp.origins import of_file
from lmexp.pair_evaluation import EvalPairs
from lmexp.preparation import Split
from lmexp.run_data import signature
from lmexp.translate import as_line, evaluation_asked_for


def evaluate_pairs(loaded: Loaded, args: argparse.Namespace) -> Evaluated:
    """The figures of a split, or of lines of one's own with their references.

    Args:
        loaded: a text-to-text model.
        args: of the command.
    """
    check(loaded.recipe, args.allow_targets, of_file(loaded.path, loaded.recipe), ("data",))
    data = build_data(loaded.recipe, loaded.tokenizer, args.allow_targets)
    data.evaluation = _evaluation(loaded, args)
    split: Split
    if args.source is not None:
        data.corpus = _own_lines(args, data.corpus.languages)
        name, split = "file", "test"
    else:
        name = split = _split(args.split, data.corpus.splits)
    data.prepare(fit=False, splits=(split,), announce=say)
    store = data.store(split)
    started = time.perf_counter()
    with placement.place(loaded.task, args.device, args.precision):
        sums = loaded.task.evaluate(data.eval_dataloader(split))
        rows = range(store.num_pairs)
        outputs = loaded.task.outputs(data, split, rows, data.evaluation.beam)
    seconds = time.perf_counter() - started
    figures: dict[str, float | str] = {
        "pairs": store.num_pairs,
        **language_model_figures(
            sums.nll, sums.tokens, sums.correct, store.num_bytes, store.num_chars, store.num_unk
        ),
        **loaded.task.scored(data, split, outputs),
    }
    if args.outputs is not None:
        lines = [as_line(output) + "\n" for output in outputs]
        args.outputs.write_text("".join(lines), encoding="utf-8", newline="")
    if args.by_length is not None:
        groups = by_length(store.texts(), outputs, data.corpus.languages[1])
        print_by_length(groups)
        draw_by_length(groups, args.by_length, title=f"{loaded.path}, {name}")
        say(f"drawn in {args.by_length}")
    scored = name if args.source is None else str(args.source)
    own = signature(loaded, data, args, scored, figures)
    return Evaluated(name, figures, own, store.counts["dropped"], seconds)


def _evaluation(loaded: Loaded, args: argparse.Namespace) -> EvalPairs:
    """As the run has it, with what was asked for."""
    evaluation = evaluation_asked_for(loaded, args)
    if evaluation.execute and not args.execute:
        say("eval.execute=true is of the training: to run outputs here too, write --execute")
    # never because a checkpoint says so: it may come from anywhere
    evaluation = dataclasses.replace(evaluation, execute=bool(args.execute))
    if args.batch_size is None:
        return evaluation
    return dataclasses.replace(evaluation, batch_size=args.batch_size)


def _split(asked: Any, has: Any) -> Any:
    """See chosen_split; pairs of the training split are kept without their texts.

    Raises:
        ValueError: the training split is asked for.
    """
    if asked == "train":
        raise ValueError(
            "--split train: the texts of the training split are not kept, so its outputs cannot be "
            "scored; name its files with --source and --reference"
        )
    return chosen_split(asked, has, "--source and --reference")


def _own_lines(args: argparse.Namespace, languages: tuple[str | None, str | None]) -> ParallelFiles:
    """Lines of one's own in the place of the test split."""
    corpus = ParallelFiles(
        train=None,
        val=None,
        test=[str(path.resolve()) for path in (args.source, *args.reference)],
        pair=None,
        val_fraction=0.0,
        test_fraction=0.0,
        fields=None,
        on_invalid="error",
        tokenised=bool(args.tokenised),
    )
    corpus.languages = languages  # BLEU's tokenizer goes by the target's
    return corpus
