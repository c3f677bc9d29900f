"""Scores of labels: entities and single tags of words, classes of texts.

Counts are sums, so that those of batches and of ranks can be added; figures are computed from the
sum. Figures lie in [0, 1]; where one would be divided by zero it is 0.

Shapes: C classes.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Span(NamedTuple):
    """An entity of a sentence."""

    type: str
    start: int  # of its first word
    end: int  # after its last word


class Row(NamedTuple):
    """A line of a report."""

    precision: float
    recall: float
    f1: float
    support: int  # how often it is right


class Hits(NamedTuple):
    """How often a label was rightly given, wrongly given, and missing."""

    right: int
    wrong: int
    missed: int

    @property
    def row(self) -> Row:
        """Its precision, recall, f1 and support."""
        given, support = self.right + self.wrong, self.right + self.missed
        precision = self.right / given if given else 0.0
        recall = self.right / support if support else 0.0
        # 2 right / (given + support) is the harmonic mean of both
        return Row(precision, recall, 2 * self.right / max(given + support, 1), support)


class LabelCounts(NamedTuple):
    """Hits by label; of a part of the data, or of all."""

    hits: Mapping[str, Hits]

    def plus(self, other: "LabelCounts") -> "LabelCounts":
        """Those of both parts together."""
        labels = sorted({*self.hits, *other.hits})
        return LabelCounts(
            {
                label: _total([part.hits[label] for part in (self, other) if label in part.hits])
                for label in labels
            }
        )

    def report(self) -> "Report":
        """The figures."""
        rows = {label: self.hits[label].row for label in sorted(self.hits)}
        return Report(rows, _averages(rows, _total(list(self.hits.values()))))


class Report(NamedTuple):
    """Precision, recall, f1 and support: of every label, and their averages."""

    rows: Mapping[str, Row]  # by label, sorted
    averages: Mapping[str, Row]  # micro avg, macro avg, weighted avg


class ClassReport(NamedTuple):
    """Figures of a classification with C classes."""

    accuracy: float
    macro_f1: float  # mean of all classes that occur, be it in the truth or in the predictions
    mcc: float  # Matthews' correlation coefficient, of C classes (Gorodkin 2004)
    report: Report
    confusion: NDArray[np.int64]  # (C, C): row of the truth, column of the prediction
    classes: tuple[str, ...]


def spans(tags: Sequence[str]) -> list[Span]:
    """Entities of a sentence by the rule of conlleval (Tjong Kim Sang & Buchholz 2000).

    An entity begins at B-TYPE, and at an I-TYPE that has no entity of its type before it to go on
    with. It ends before whatever does not go on with it.

    Args:
        tags: of all words: O, B-TYPE, I-TYPE.
    """
    found: list[Span] = []
    start, open_type = 0, ""
    for place, tag in enumerate((*tags, "O")):
        letter, _, type_ = tag.partition("-")
        goes_on = letter == "I" and type_ == open_type
        if open_type and not goes_on:
            found.append(Span(open_type, start, place))
        if not goes_on:
            start, open_type = place, type_  # "" of O
    return found


def entity_counts(gold: Iterable[Sequence[str]], predicted: Iterable[Sequence[str]]) -> LabelCounts:
    """Entities found by type: right ones have the type and both ends of one of the truth.

    Args:
        gold: true tags of each sentence, IOB2.
        predicted: tags given, of as many words.

    Raises:
        ValueError: sentences or words are not equally many.
    """
    right: Counter[str] = Counter()
    given: Counter[str] = Counter()
    wanted: Counter[str] = Counter()
    for true, guess in _aligned(gold, predicted):
        true_spans, guessed = set(spans(true)), set(spans(guess))
        wanted.update(span.type for span in true_spans)
        given.update(span.type for span in guessed)
        right.update(span.type for span in true_spans & guessed)
    return _counts(right, given, wanted)


def token_counts(gold: Iterable[Sequence[str]], predicted: Iterable[Sequence[str]]) -> LabelCounts:
    """Tags of single words found, O included; arguments and errors as of `entity_counts`."""
    right: Counter[str] = Counter()
    given: Counter[str] = Counter()
    wanted: Counter[str] = Counter()
    for true, guess in _aligned(gold, predicted):
        wanted.update(true)
        given.update(guess)
        right.update(tag for tag, other in zip(true, guess, strict=True) if tag == other)
    return _counts(right, given, wanted)


def confusion(gold: Sequence[int], predicted: Sequence[int], num_classes: int) -> NDArray[np.int64]:
    """(C, C) counts by true class, the row, and predicted class; those of parts can be added.

    Args:
        gold: true classes, in [0, C).
        predicted: likewise, as many.
        num_classes: C.

    Raises:
        ValueError: they are not equally many, or a class is out of range.
    """
    true, guess = np.asarray(gold, np.int64), np.asarray(predicted, np.int64)
    if true.shape != guess.shape:
        raise ValueError(
            f"{len(gold)} true classes and {len(predicted)} predicted ones: give one of each for "
            "every text"
        )
    both = np.concatenate([true, guess])
    if both.size and not (both.min() >= 0 and both.max() < num_classes):
        raise ValueError(
            f"classes from {both.min()} to {both.max()}, but there are {num_classes}: they count "
            "from 0"
        )
    flat = np.bincount(true * num_classes + guess, minlength=num_classes**2)
    return flat.reshape(num_classes, num_classes).astype(np.int64)


def report_of_confusion(table: NDArray[np.int64], classes: Sequence[str]) -> ClassReport:
    """The figures of a classification.

    A class that never occurs has figures of 0 and counts in no average.

    Args:
        table: (C, C), from `confusion`.
        classes: names of the C classes.
    """
    right, given, wanted = table.diagonal(), table.sum(axis=0), table.sum(axis=1)
    hits = [
        Hits(int(r), int(g - r), int(w - r)) for r, g, w in zip(right, given, wanted, strict=True)
    ]
    rows = {name: own.row for name, own in zip(classes, hits, strict=True)}
    occurring = {name: rows[name] for name, own in zip(classes, hits, strict=True) if any(own)}
    averages = _averages(occurring, _total(hits))
    return ClassReport(
        accuracy=averages["micro avg"].f1,
        macro_f1=averages["macro avg"].f1,
        mcc=_mcc(right, given, wanted),
        report=Report(rows, averages),
        confusion=table,
        classes=tuple(classes),
    )


def _mcc(right: NDArray[np.int64], given: NDArray[np.int64], wanted: NDArray[np.int64]) -> float:
    """Gorodkin 2004, equation 8, in exact integers; 0 if all texts, or all guesses, are alike."""
    hits, total = int(right.sum()), int(wanted.sum())
    together = sum(int(g) * int(w) for g, w in zip(given, wanted, strict=True))
    of_given = total**2 - sum(int(g) ** 2 for g in given)
    of_wanted = total**2 - sum(int(w) ** 2 for w in wanted)
    if not of_given or not of_wanted:
        return 0.0
    return (hits * total - together) / math.sqrt(of_given * of_wanted)


def _averages(rows: Mapping[str, Row], total: Hits) -> dict[str, Row]:
    """Micro: of all hits together. Macro: mean of the rows. Weighted: by their support."""
    support = total.row.support
    weights = {
        "macro avg": [1 / len(rows)] * len(rows) if rows else [],
        "weighted avg": [row.support / support if support else 0.0 for row in rows.values()],
    }
    averages = {"micro avg": total.row}
    for name, own in weights.items():
        columns = zip(*rows.values(), strict=True) if rows else [(), (), (), ()]
        precision, recall, f1, _ = (_weighted(own, column) for column in columns)
        averages[name] = Row(precision, recall, f1, support)
    return averages


def _weighted(weights: Sequence[float], values: Sequence[float]) -> float:
    return sum(weight * value for weight, value in zip(weights, values, strict=True))


def _total(hits: Sequence[Hits]) -> Hits:
    right, wrong, missed = (sum(own[place] for own in hits) for place in range(3))
    return Hits(right, wrong, missed)


def _counts(right: Counter[str], given: Counter[str], wanted: Counter[str]) -> LabelCounts:
    return LabelCounts(
        {
            label: Hits(right[label], given[label] - right[label], wanted[label] - right[label])
            for label in sorted({*given, *wanted})
        }
    )


def _aligned(
    gold: Iterable[Sequence[str]], predicted: Iterable[Sequence[str]]
) -> Iterable[tuple[Sequence[str], Sequence[str]]]:
    for number, (true, guess) in enumerate(zip(gold, predicted, strict=True), start=1):
        if len(true) != len(guess):
            raise ValueError(
                f"sentence {number} has {len(true)} true tags and {len(guess)} predicted ones: "
                "every word has one of each"
            )
        yield true, guess
