"""Command `match`: which of many texts fit a text best."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from lmexp import placement, text_input
from lmexp.errors import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `match`."""
    add = parser.add_argument
    add("run", type=Path, help="run folder, its parent (the newest), or checkpoint")
    add("--candidates", type=Path, required=True, metavar="FILE", help="texts, one a line")
    add("--text", action="append", help="instead of the lines of standard input; may be repeated")
    add("--top", type=int, default=5, metavar="N", help="candidates for each (default 5)")
    add("--allow-targets", action="append", default=[], metavar="PACKAGE")
    placement.add_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Runs `match`; returns the exit status."""
    if args.top < 1:
        raise ValueError(f"--top {args.top}: at least 1")
    if not args.candidates.is_file():
        raise FileNotFoundError(f"--candidates {args.candidates}: no such file")
    text = text_input.decoded(args.candidates.read_bytes(), f"--candidates {args.candidates}")
    candidates = [line for line in text.replace("\r\n", "\n").split("\n") if line.strip()]
    if not candidates:
        raise ValueError(f"--candidates {args.candidates} has no text: write one a line")
    from lmexp.loading import check_kind, load

    loaded = load(args.run, allow_targets=args.allow_targets)
    check_kind(loaded, "matches", args.run)
    queries = list(text_input.lines_of(args.text))
    with placement.place(loaded.task, args.device, args.precision):
        for record in matches(loaded, queries, candidates, args.top):
            sys.stdout.buffer.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
        sys.stdout.buffer.flush()
    return 0


def matches(
    loaded: Any, queries: list[str], candidates: list[str], top: int
) -> list[dict[str, Any]]:
    """The best candidates for each query, by falling cosine.

    Args:
        loaded: a model of text_pairs (loading.load).
        queries: texts.
        candidates: texts, at least one.
        top: candidates for each.
    """
    task, longest = loaded.task, loaded.recipe["data"]["max_length"] - 1
    if not queries:
        return []

    def read(texts: list[str]) -> Any:
        ids = loaded.tokenizer.source.encode_many(texts)
        if cut := sum(len(own) > longest for own in ids):
            say(f"{cut:,} texts are longer than {longest} tokens: their first {longest} are read")
        return task.read([(*own[:longest].tolist(), task.vocab.source.eos_id) for own in ids])

    scores = read(queries) @ read(candidates).T
    best = scores.topk(min(top, len(candidates)), dim=1)
    return [
        {
            "text": query,
            "matches": [
                {"text": candidates[place], "cosine": round(cosine, 4)}
                for place, cosine in zip(places, cosines, strict=True)
            ],
        }
        for query, places, cosines in zip(
            queries, best.indices.tolist(), best.values.tolist(), strict=True
        )
    ]
