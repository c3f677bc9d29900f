"""Command `label`: what a trained model says of texts: tags of their words, or labels of theirs."""

import argparse
import html
import itertools
import json
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lmexp import placement, text_input
from lmexp.errors import say
from lmexp.output_files import check_output

LINES = 256  # labelled at once
_WORD = re.compile(r"\w+(?:['’.-]\w+)*|[^\w\s]")
_COLOURS = ("#ffd8a8", "#a5d8ff", "#b2f2bb", "#eebefa", "#ffec99", "#99e9f2", "#ffc9c9", "#d0bfff")


class Entity(NamedTuple):
    """Words of a text that a model gave a type."""

    text: str
    type: str
    start: int  # words before it
    end: int  # and after its last one
    confidence: float  # the least probability among its words' tags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `label`."""
    add = parser.add_argument
    add("run", type=Path, help="run folder, its parent (the newest), or checkpoint")
    add("--text", action="append", help="instead of the lines of standard input; may be repeated")
    add(
        "--tokenised",
        action="store_true",
        help="words are what stands between spaces (taggers); else marks are cut off them",
    )
    add("--html", type=Path, metavar="OUT", help="write the texts there too, entities coloured")
    add("--allow-targets", action="append", default=[], metavar="PACKAGE")
    placement.add_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Runs `label`; returns the exit status."""
    if args.html is not None:
        check_output("--html", args.html, suffix=".html")
    from lmexp.loading import check_kind, load
    from lmexp.run_data import data_of_run

    loaded = load(args.run, allow_targets=args.allow_targets)
    check_kind(loaded, ("tags", "labels"), args.run)
    is_tagger = loaded.task.text_kind == "tags"
    if not is_tagger and (args.html is not None or args.tokenised):
        raise ValueError(
            f"{loaded.path} labels whole texts: --html and --tokenised are of models that tag words"
        )
    data = data_of_run(loaded, args.allow_targets)
    lines, changed = text_input.lines_of(args.text), Counter[str]()
    found: list[dict[str, Any]] = []
    with placement.place(loaded.task, args.device, args.precision):
        while block := list(itertools.islice(lines, LINES)):
            own = (
                tagged(loaded.task, data, [_words(line, data, args.tokenised) for line in block])
                if is_tagger
                else labelled(loaded.task, data, block, changed)
            )
            for record in own:
                sys.stdout.buffer.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
            sys.stdout.buffer.flush()
            found += own if args.html is not None else []
    for what, count in (+changed).items():
        say(f"{count:,} {what}")
    if args.html is not None:
        joined = "" if data.corpus.joins_words else " "
        args.html.write_text(_page(found, joined), encoding="utf-8")
        say(f"written to {args.html}")
    return 0


def _words(line: str, data: Any, is_tokenised: bool) -> list[str]:
    if data.corpus.joins_words:
        return list(line)
    return line.split() if is_tokenised else _WORD.findall(line)


def tagged(task: Any, data: Any, sentences: Sequence[list[str]]) -> list[dict[str, Any]]:
    """Entities of sentences, and the tag of each word with its probability.

    Args:
        task: a TokenLabels.
        data: a data module of tags with the task's tokenizer.
        sentences: words of each; one without gives nothing.
    """
    import torch

    from lmexp.batch import move

    joined = "" if data.corpus.joins_words else " "
    tags: list[list[str]] = [[] for _ in sentences]
    shares: list[list[float]] = [[] for _ in sentences]
    places = [place for place, words in enumerate(sentences) if words]
    for batch in data.batches_of([sentences[place] for place in places]):
        device = move(batch, task.device)
        with torch.no_grad():
            scores = task.network(device)
            given = task.given(scores, device)
            sure = task.confidences(scores, device, given)
        for number, own, probabilities in zip(batch.sentences.tolist(), given, sure, strict=True):
            tags[places[number]] += [task.vocab.labels[tag] for tag in own]
            shares[places[number]] += probabilities
    return [
        {
            "words": list(words),
            "tags": own,
            "confidences": [round(share, 4) for share in sure],
            "entities": [entity._asdict() for entity in entities(words, own, sure, joined)],
        }
        for words, own, sure in zip(sentences, tags, shares, strict=True)
    ]


def entities(
    words: Sequence[str], tags: Sequence[str], shares: Sequence[float], joined: str
) -> list[Entity]:
    """The entities of a tagged sentence."""
    from lmexp.label_scores import spans

    return [
        Entity(
            joined.join(words[span.start : span.end]),
            *span,
            round(min(shares[span.start : span.end]), 4),
        )
        for span in spans(tags)
    ]


def labelled(
    task: Any, data: Any, lines: Sequence[str], changed: Counter[str]
) -> list[dict[str, Any]]:
    """The label of each text, or the labels that hold, with probabilities.

    Args:
        task: a TextLabels.
        data: a data module of labels with the task's tokenizer.
        lines: texts; where the model reads pairs a tab stands between the two. One that is blank
            has no label.
        changed: counts by reason what is not read, or not whole.

    Raises:
        ValueError: it does, and there is none.
    """
    import torch

    from lmexp.batch import move

    none: dict[str, Any] = {"labels": []} if task.multiple else {"label": None, "confidence": None}
    records: list[dict[str, Any]] = [{"text": line, **none, "probabilities": {}} for line in lines]
    places = [place for place, line in enumerate(lines) if line.strip()]
    changed["blank lines: no label"] += len(lines) - len(places)
    texts: list[tuple[str, ...]] = [
        _pair(lines[place]) if data.corpus.has_pairs else (lines[place],) for place in places
    ]
    place_of = iter(places)
    for batch, own in data.batches_of(texts, changed):
        with torch.no_grad():
            scores = task.network(move(batch, task.device))
        for row, shares in zip(own, task.probabilities(scores).tolist(), strict=True):
            by_label = dict(zip(task.vocab.labels, shares, strict=True))
            shown = {name: round(share, 4) for name, share in by_label.items()}
            best = max(by_label, key=by_label.__getitem__)
            said: dict[str, Any] = (
                {"labels": [name for name, share in by_label.items() if share > 0.5]}
                if task.multiple
                else {"label": best, "confidence": shown[best]}
            )
            record = {"text": "\t".join(row), **said, "probabilities": shown}
            records[next(place_of)] = record
    return records


def _pair(line: str) -> tuple[str, str]:
    first, tab, second = line.partition("\t")
    if not tab:
        raise ValueError(
            f"{line[:60]!r} has no tab: this model reads pairs of texts, with a tab between them"
        )
    return first, second


def _page(records: Sequence[dict[str, Any]], joined: str) -> str:
    """The texts as a page, entities in the colour of their type."""
    kinds = sorted({entity["type"] for record in records for entity in record["entities"]})
    colours = {kind: _COLOURS[place % len(_COLOURS)] for place, kind in enumerate(kinds)}
    rows = []
    for record in records:
        words = [html.escape(word) for word in record["words"]]
        for entity in record["entities"]:
            kind, sure = html.escape(entity["type"]), f"{entity['confidence']:.2f}"
            words[entity["start"]] = (
                f'<mark style="background:{colours[entity["type"]]}" title="{sure}">'
                + words[entity["start"]]
            )
            words[entity["end"] - 1] += f" <small>{kind}</small></mark>"
        rows.append(f"<p>{joined.join(words)}</p>")
    legend = " ".join(
        f'<mark style="background:{colour}">{html.escape(kind)}</mark>'
        for kind, colour in colours.items()
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Entities</title>'
        "<style>body{font:16px/1.7 serif;max-width:46em;margin:2em auto;padding:0 1em}"
        "mark{padding:.1em .25em;border-radius:.25em}small{font:bold .65em sans-serif}</style>"
        f"</head><body>\n<p>{legend}</p>\n" + "\n".join(rows) + "\n</body></html>\n"
    )
