"""Command `answer`: what of a text answers a question, by a trained model."""

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

from lmexp import placement


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `answer`."""
    add = parser.add_argument
    add("run", type=Path, help="run folder, its parent (the newest), or checkpoint")
    add("--context", type=Path, required=True, help="a text file, or - for standard input")
    add("--question", action="append", required=True, help="may be repeated")
    add("--allow-targets", action="append", default=[], metavar="PACKAGE")
    placement.add_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Runs `answer`; returns the exit status."""
    context = read_context(args.context)
    if blank := [question for question in args.question if not question.strip()]:
        raise ValueError(f"--question {blank[0]!r} asks nothing: write a question")
    from lmexp.evaluate_labels import labelled_data
    from lmexp.loading import check_kind, load

    loaded = load(args.run, allow_targets=args.allow_targets)
    check_kind(loaded, "questions", args.run)
    data = labelled_data(loaded, args.allow_targets)
    with placement.place(loaded.task, args.device, args.precision):
        for record in answers(loaded.task, data, context, args.question):
            print(json.dumps(record, ensure_ascii=False), flush=True)
    return 0


def read_context(path: Path) -> str:
    """The text of a file, or of standard input.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not UTF-8, or has no text.
    """
    if str(path) != "-" and not path.is_file():
        raise FileNotFoundError(f"--context {path}: no such file")
    raw = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"--context {path} is not UTF-8 at byte {error.start}: save it so"
        ) from None
    if not text.strip():
        raise ValueError(f"--context {path} has no text to answer from")
    return text


def answers(task: Any, data: Any, context: str, questions: list[str]) -> list[dict[str, Any]]:
    """For each question the answer, its place in the context and its probability.

    Args:
        task: a QuestionAnswering.
        data: a data module of questions with the task's tokenizer.
        context: a text with a word at least.
        questions: about it.
    """
    import torch

    from lmexp.batch import move

    records = []
    asked = zip(questions, data.batches_of(context, questions), strict=True)
    for question, (batch, begins, ends) in asked:
        with torch.no_grad():
            (found,) = task.answered(task.network(move(batch, task.device)), batch)
        start, end = begins[found.first], ends[found.last]
        is_given = task.is_given(found)
        records.append(
            {
                "question": question,
                "answer": context[start:end] if is_given else "",
                "start": start if is_given else None,
                "confidence": round(math.exp(found.log_share), 4),
            }
        )
    return records
