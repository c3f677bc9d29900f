"""Command `answer`: what of a text answers a question, by a trained model."""

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lmexp import placement, text_input
from lmexp.errors import say, standard_input


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
    check_questions(args.question)
    context = read_context(args.context)
    from lmexp.loading import check_kind, load
    from lmexp.run_data import data_of_run

    loaded = load(args.run, allow_targets=args.allow_targets)
    check_kind(loaded, "questions", args.run)
    data = data_of_run(loaded, args.allow_targets)
    with placement.place(loaded.task, args.device, args.precision):
        for record in answers(loaded.task, data, context, args.question):
            sys.stdout.buffer.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
            sys.stdout.buffer.flush()
    return 0


def check_questions(questions: Sequence[str]) -> None:
    """Refuse what asks nothing.

    Raises:
        ValueError: a question is blank, or not UTF-8.
    """
    for question in questions:
        if not question.strip():
            raise ValueError(f"--question {question!r} asks nothing: write a question")
        text_input.argument(question, "--question")


def read_context(path: Path) -> str:
    """The text of a file, or of standard input.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not UTF-8, or has no text.
    """
    if str(path) != "-" and not path.is_file():
        raise FileNotFoundError(f"--context {path}: no such file")
    raw = standard_input().buffer.read() if str(path) == "-" else path.read_bytes()
    text = text_input.decoded(raw, f"--context {path}")
    if not text.strip():
        raise ValueError(f"--context {path} has no text to answer from")
    return text


def answers(
    task: Any, data: Any, context: str, questions: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """For each question the answer, its place in the context and its probability.

    Args:
        task: a QuestionAnswering.
        data: a data module of questions with the task's tokenizer.
        context: a text with a word at least.
        questions: about it.
    """
    import torch

    from lmexp.batch import move
    from lmexp.tasks.question_answering import likeliest

    for number, question in enumerate(questions):
        asked = data.asked(context, question)
        for reason, count in asked.changed.items():
            if number == 0 or reason.startswith("questions"):  # of the context it is said once
                say(f"{question!r}: {count:,} {reason}")
        found = []
        with torch.no_grad():
            for batch in asked.batches:
                found += task.answered(task.network(move(batch, task.device)), batch)
        (best,) = likeliest(found)
        start, end = asked.begins[best.first], asked.ends[best.last]
        is_given = task.is_given(best)
        yield {
            "question": question,
            "answer": context[start:end] if is_given else "",
            "start": start if is_given else None,
            "confidence": round(math.exp(best.log_share if is_given else best.log_none), 4),
        }
