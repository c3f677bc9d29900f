"""Command `translate`: one line in, one line out, with a trained text-to-text model."""

import argparse
import dataclasses
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmexp import placement
from lmexp.errors import say, standard_input, typed

if TYPE_CHECKING:
    from lmexp.decoding.beam import Beam
    from lmexp.loading import Loaded
    from lmexp.pair_evaluation import EvalPairs

_BLANKS = dict.fromkeys(map(ord, "\t\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"), " ")
SEARCH = {  # option: key of eval
    "beam": "beam_size",
    "length_penalty": "length_penalty",
    "coverage_penalty": "coverage_penalty",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `translate`."""
    add = parser.add_argument
    add("run", type=Path, help="run folder, its parent (the newest), or checkpoint")
    add_search_arguments(parser)
    add(
        "--n-best",
        type=int,
        metavar="N",
        help="N lines out for every line in, the best first: its number, from 0, the score that "
        "it was ranked by and the text, with tabs between. Where there are fewer texts, and for a "
        "line without text, -inf and no text fill the N up",
    )
    add(
        "--to",
        metavar="LANGUAGE",
        help="begin sources with the tag of this language (default: that of training)",
    )
    add("--allow-targets", action="append", default=[], metavar="PACKAGE")
    placement.add_arguments(parser)


def add_search_arguments(parser: "argparse._ActionsContainer") -> None:
    """--beam and what ranks its hypotheses."""
    add = parser.add_argument
    add("--beam", type=int, help="hypotheses at a time; 1: greedy (default eval.beam_size)")
    add("--length-penalty", type=float, help="0: none (default eval.length_penalty)")
    add("--coverage-penalty", type=float, help="0: none (default eval.coverage_penalty)")


def main(args: argparse.Namespace) -> int:
    """Runs `translate`: standard input to standard output; returns the exit status."""
    from lmexp.decoding.prepacked import prepack
    from lmexp.loading import check_kind, load

    loaded = load(args.run, allow_targets=args.allow_targets)
    check_kind(loaded, "pairs", args.run)
    evaluation = evaluation_asked_for(loaded, args)
    beam = _beam(evaluation, args.n_best)
    if args.to is not None:
        loaded = loaded._replace(tokenizer=loaded.tokenizer.towards(args.to))
    lines = standard_input().buffer.read().split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    context = placement.place(loaded.network, args.device, args.precision)
    if args.precision != "bf16-mixed":
        prepack(loaded.network)
    started = time.perf_counter()
    with context:
        outputs = _outputs(loaded, lines, beam, evaluation.batch_tokens)
    for number, found in enumerate(outputs):
        for score, text in found:
            before = "" if args.n_best is None else f"{number}\t{score:.4f}\t"
            sys.stdout.buffer.write(f"{before}{as_line(text)}\n".encode())
    sys.stdout.buffer.flush()
    seconds = time.perf_counter() - started
    print(f"{len(lines)} lines in {seconds:.1f} s", file=sys.stderr)
    return 0


def as_line(text: str) -> str:
    """A text without what any program takes for the end of a line or of a field."""
    return text.translate(_BLANKS)


def evaluation_asked_for(loaded: "Loaded", args: argparse.Namespace) -> "EvalPairs":
    """The run's own settings of the search, with those asked for.

    Raises:
        ValueError: one is out of its range.
    """
    from lmexp.check import check
    from lmexp.origins import of_file
    from lmexp.targets import build

    check(loaded.recipe, args.allow_targets, of_file(loaded.path, loaded.recipe), ("eval",))
    if args.beam is not None and args.beam < 1:
        raise ValueError(f"--beam {args.beam}: at least 1")
    asked = {option: getattr(args, option) for option in SEARCH}
    given = {SEARCH[option]: value for option, value in asked.items() if value is not None}
    for option in ("length_penalty", "coverage_penalty"):
        if not 0 <= given.get(option, 0) < math.inf:
            raise ValueError(f"{typed(option)} {given[option]}: a number from 0 up")
    evaluation: EvalPairs = build(loaded.recipe["eval"], args.allow_targets)
    return dataclasses.replace(evaluation, **given)


def _beam(evaluation: Any, n_best: int | None) -> "Beam":
    """The search, and how many of its texts are asked for: the best one without --n-best."""
    beam: Beam = evaluation.beam
    if n_best is None:
        return beam
    if not 1 <= n_best <= beam.size:
        raise ValueError(
            f"--n-best {n_best}: from 1 to the {beam.size} hypotheses of the beam"
            + (f"; write --beam {n_best} as well" if n_best > beam.size else "")
        )
    return dataclasses.replace(beam, n_best=n_best)


def _outputs(
    loaded: "Loaded", lines: Sequence[bytes], beam: "Beam", batch_tokens: int
) -> list[list[tuple[float, str]]]:
    """The n best texts of every line and their scores; empty ones for a line without text."""
    from lmexp.decoding.translate import translate
    from lmexp.tokenizers import EOS_ID

    lines = [line.removesuffix(b"\r") for line in lines]
    texts = [line.decode("utf-8", errors="replace") for line in lines]
    invalid = sum(text.encode() != line for text, line in zip(texts, lines, strict=True))
    if invalid:
        say(f"{invalid} lines are not UTF-8 throughout: U+FFFD stands for what could not be read")
    longest = loaded.recipe["data"]["max_length"] - 1  # and the end
    rows = [row for row, text in enumerate(texts) if text.strip()]
    sources = loaded.tokenizer.encode_sources([texts[row] for row in rows])
    if cut := sum(len(source) > longest for source in sources):
        say(f"{cut} lines are longer than {longest} tokens: their first {longest} are read")
    found = translate(
        loaded.network,
        [[*source[:longest].tolist(), EOS_ID] for source in sources],
        beam,
        batch_tokens=batch_tokens,
    )
    outputs = [[(-math.inf, "")] * beam.n_best for _ in lines]
    for row, hypotheses in zip(rows, found, strict=True):
        for rank, own in enumerate(hypotheses):
            outputs[row][rank] = own.score, loaded.tokenizer.target.decode(own.ids)
    return outputs
