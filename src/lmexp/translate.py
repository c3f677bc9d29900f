"""Command `translate`: one line in, one line out, with a trained text-to-text model."""

import argparse
import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmexp import placement

if TYPE_CHECKING:
    from lmexp.loading import Loaded


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `translate`."""
    add = parser.add_argument
    add("run", type=Path, help="run folder, its parent (the newest), or checkpoint")
    add("--beam", type=int, help="hypotheses at a time; 1: greedy (default eval.beam_size)")
    add("--length-penalty", type=float, help="0: none (default eval.length_penalty)")
    add("--allow-targets", action="append", default=[], metavar="PACKAGE")
    placement.add_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Runs `translate`: standard input to standard output; returns the exit status."""
    from lmexp.loading import load

    loaded = load(args.run, allow_targets=args.allow_targets)
    if loaded.task.text_kind != "pairs":
        raise ValueError(
            f"{loaded.path} is of a language model: continue a text with lmexp generate {args.run}"
        )
    evaluation = _evaluation(loaded, args)
    lines = sys.stdin.buffer.read().split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    context = placement.place(loaded.network, args.device, args.precision)
    started = time.perf_counter()
    with context:
        outputs = _outputs(loaded, lines, evaluation)
    for output in outputs:
        sys.stdout.buffer.write(output.replace("\n", " ").encode() + b"\n")
    sys.stdout.buffer.flush()
    seconds = time.perf_counter() - started
    print(f"{len(lines)} lines in {seconds:.1f} s", file=sys.stderr)
    return 0


def _evaluation(loaded: "Loaded", args: argparse.Namespace) -> Any:
    """The run's own settings of the search, with those asked for."""
    from lmexp.check import check
    from lmexp.origins import of_file
    from lmexp.targets import build

    check(loaded.recipe, args.allow_targets, of_file(loaded.path, loaded.recipe), ("eval",))
    if args.beam is not None and args.beam < 1:
        raise ValueError(f"--beam {args.beam}: at least 1")
    if args.length_penalty is not None and not args.length_penalty >= 0:
        raise ValueError(f"--length-penalty {args.length_penalty}: at least 0")
    asked = {"beam_size": args.beam, "length_penalty": args.length_penalty}
    given = {name: value for name, value in asked.items() if value is not None}
    return dataclasses.replace(build(loaded.recipe["eval"], args.allow_targets), **given)


def _outputs(loaded: "Loaded", lines: Sequence[bytes], evaluation: Any) -> list[str]:
    """A text for every line; an empty one for a line without text."""
    from lmexp.decoding.translate import translate
    from lmexp.tokenizers import EOS_ID

    lines = [line.removesuffix(b"\r") for line in lines]
    texts = [line.decode("utf-8", errors="replace") for line in lines]
    invalid = sum(text.encode() != line for text, line in zip(texts, lines, strict=True))
    if invalid:
        _say(f"{invalid} lines are not UTF-8 throughout: U+FFFD stands for what could not be read")
    longest = loaded.recipe["data"]["max_length"] - 1  # and the end
    rows = [row for row, text in enumerate(texts) if text.strip()]
    sources = [loaded.tokenizer.source.encode(texts[row]) for row in rows]
    if cut := sum(len(source) > longest for source in sources):
        _say(f"{cut} lines are longer than {longest} tokens: their first {longest} are read")
    found = translate(
        loaded.network,
        [[*source[:longest], EOS_ID] for source in sources],
        evaluation.beam,
        batch_tokens=evaluation.batch_tokens,
    )
    outputs = [""] * len(lines)
    for row, hypotheses in zip(rows, found, strict=True):
        outputs[row] = loaded.tokenizer.target.decode(hypotheses[0].ids)
    return outputs


def _say(text: str) -> None:
    print(f"lmexp: {text}", file=sys.stderr)
