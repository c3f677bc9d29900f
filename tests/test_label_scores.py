"""Scores of labels against the packages and the program that others score with."""

import random
import warnings

import numpy as np
import pytest
import seqeval.metrics
import sklearn.metrics

from lmexp.label_scores import (
    LabelCounts,
    Span,
    confusion,
    entity_counts,
    report_of_confusion,
    spans,
    token_counts,
)

NAMES = {"macro avg": "macro avg", "micro avg": "micro avg", "weighted avg": "weighted avg"}
FIGURES = ("precision", "recall", "f1-score", "support")


def tagging(rng, lengths, types):
    tags = ["O", *(f"{letter}-{type_}" for letter in "BI" for type_ in types)]
    return [[rng.choice(tags) for _ in range(length)] for length in lengths]


def random_taggings(count):
    """Truths and guesses, where each may have types that the other has not, or none."""
    for seed in range(count):
        rng = random.Random(seed)
        lengths = [rng.randrange(8) for _ in range(rng.randrange(1, 6))]
        types = [rng.sample(["PER", "LOC", "MISC-x"], rng.randrange(4)) for _ in range(2)]
        gold, guess = (tagging(rng, lengths, own) for own in types)
        if seed % 3 == 0:  # agreeing mostly
            guess = [
                [new if rng.random() < 0.1 else old for old, new in zip(*pair, strict=True)]
                for pair in zip(gold, guess, strict=True)
            ]
        yield gold, guess


def assert_equals(report, others):
    """A report of ours against one in the form of sklearn and seqeval."""
    others = {name: row for name, row in others.items() if name != "accuracy"}
    ours = {**report.rows, **report.averages}
    assert set(report.rows) == set(others) - set(NAMES)
    for name, row in others.items():
        assert ours[name] == pytest.approx([row[figure] for figure in FIGURES], abs=1e-12), name


def conlleval(gold, guess):
    """Precision, recall and F by type, and over all: chunks by the rules that conlleval.pl states.

    A chunk ends between two words if the tag before is B or I and the next is B or O, or the type
    changes; it begins if the next is B, or I after O, or the type changes. A chunk is right if it
    begins and ends, with the same type, at the same words in both.
    """

    def split(tag):
        return tag.split("-", 1) if "-" in tag else [tag, ""]

    def ends(before, now):
        (letter, type_), (next_letter, next_type) = before, now
        return letter != "O" and (next_letter in "BO" or type_ != next_type)

    def begins(before, now):
        (letter, type_), (next_letter, next_type) = before, now
        return next_letter != "O" and (next_letter == "B" or letter == "O" or type_ != next_type)

    right, found, there = {}, {}, {}
    is_inside = False  # of a chunk that has been right so far
    words = [
        word
        for true, other in zip(gold, guess, strict=True)
        for word in [*zip(map(split, true), map(split, other), strict=True), (["O", ""],) * 2]
    ]
    last = (["O", ""], ["O", ""])
    for now in words:
        true_ends, guess_ends = (ends(last[side], now[side]) for side in range(2))
        true_begins, guess_begins = (begins(last[side], now[side]) for side in range(2))
        if is_inside and (true_ends or guess_ends):
            if true_ends and guess_ends:
                right[last[0][1]] = right.get(last[0][1], 0) + 1
            is_inside = False
        if true_begins and guess_begins and now[0][1] == now[1][1]:
            is_inside = True
        if true_begins:
            there[now[0][1]] = there.get(now[0][1], 0) + 1
        if guess_begins:
            found[now[1][1]] = found.get(now[1][1], 0) + 1
        last = now
    types = set(there) | set(found)
    rows = {t: _figures(right.get(t, 0), found.get(t, 0), there.get(t, 0)) for t in types}
    return rows, _figures(*(sum(own.values()) for own in (right, found, there)))


def _figures(right, found, there):
    precision = right / found if found else 0.0
    recall = right / there if there else 0.0
    both = precision + recall
    return precision, recall, 2 * precision * recall / both if both else 0.0


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("O O", []),
        ("B-X I-X O B-Y", [("X", 0, 2), ("Y", 3, 4)]),
        ("B-X B-X", [("X", 0, 1), ("X", 1, 2)]),
        ("I-X I-X O", [("X", 0, 2)]),
        ("B-X I-Y I-Y", [("X", 0, 1), ("Y", 1, 3)]),
        ("B-a-b I-a-b I-a", [("a-b", 0, 2), ("a", 2, 3)]),
        ("", []),
    ],
)
def test_spans_begin_and_end_as_in_conlleval(tags, expected):
    assert spans(tags.split()) == [Span(*span) for span in expected]


def test_entity_reports_of_1000_random_taggings_equal_seqeval():
    for gold, guess in random_taggings(1000):
        report = entity_counts(gold, guess).report()
        if not report.rows:  # seqeval fails where there is no entity at all
            assert report.averages["micro avg"] == (0, 0, 0, 0)
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of absent classes
            others = seqeval.metrics.classification_report(gold, guess, output_dict=True)

        assert_equals(report, others)


def test_entity_reports_of_1000_random_taggings_equal_conlleval():
    for gold, guess in random_taggings(1000):
        report = entity_counts(gold, guess).report()
        rows, overall = conlleval(gold, guess)

        assert set(report.rows) == set(rows)
        for name, row in rows.items():
            assert report.rows[name][:3] == pytest.approx(row)
        assert report.averages["micro avg"][:3] == pytest.approx(overall)


def test_token_reports_of_300_random_taggings_equal_sklearn():
    for gold, guess in random_taggings(300):
        true, other = ([tag for sentence in own for tag in sentence] for own in (gold, guess))
        report = token_counts(gold, guess).report()
        if not true:
            assert not report.rows
            continue
        labels = sorted({*true, *other})
        others = sklearn.metrics.classification_report(
            true, other, labels=labels, output_dict=True, zero_division=0
        )
        accuracy = others.pop("accuracy")

        assert report.averages["micro avg"][:3] == pytest.approx([accuracy] * 3)
        assert_equals(report, others)


def test_a_token_report_has_the_form_of_the_table_by_hand():
    report = token_counts([["B-X", "I-X", "O", "O"]], [["B-X", "O", "O", "B-X"]]).report()

    assert report.rows == {
        "B-X": (0.5, 1.0, pytest.approx(2 / 3), 1),
        "I-X": (0.0, 0.0, 0.0, 1),
        "O": (0.5, 0.5, 0.5, 2),
    }
    assert report.averages["micro avg"] == (0.5, 0.5, 0.5, 4)
    assert report.averages["macro avg"] == pytest.approx((1 / 3, 0.5, (2 / 3 + 0.5) / 3, 4))
    assert report.averages["weighted avg"] == pytest.approx((0.375, 0.5, (2 / 3 + 1) / 4, 4))


def test_counts_of_parts_add_up_to_those_of_the_whole():
    for gold, guess in random_taggings(50):
        cut = len(gold) // 2
        for counts in (entity_counts, token_counts):
            parts = counts(gold[:cut], guess[:cut]).plus(counts(gold[cut:], guess[cut:]))

            assert parts == counts(gold, guess)
            assert parts == LabelCounts({}).plus(parts)


def test_taggings_of_other_lengths_are_refused():
    with pytest.raises(ValueError, match="sentence 2 has 2 true tags and 1 predicted"):
        entity_counts([["O"], ["O", "O"]], [["O"], ["O"]])


def test_class_reports_of_300_random_classifications_equal_sklearn():
    for seed in range(300):
        rng = random.Random(seed)
        classes = list("abcd")
        size = rng.randrange(1, 30)
        of = [rng.sample(range(4), rng.randrange(1, 5)) for _ in range(2)]  # some never occur
        gold, guess = ([rng.choice(own) for _ in range(size)] for own in of)
        report = report_of_confusion(confusion(gold, guess, 4), classes)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a single label
            table = sklearn.metrics.confusion_matrix(gold, guess, labels=range(4))
            mcc = sklearn.metrics.matthews_corrcoef(gold, guess)
            macro = sklearn.metrics.f1_score(gold, guess, average="macro", zero_division=0)
            others = sklearn.metrics.precision_recall_fscore_support(
                gold, guess, labels=range(4), zero_division=0
            )

        assert (report.confusion == table).all()
        assert report.accuracy == pytest.approx(sklearn.metrics.accuracy_score(gold, guess))
        assert report.mcc == pytest.approx(mcc, abs=1e-12)
        assert report.macro_f1 == pytest.approx(macro)
        rows = np.array([report.report.rows[name] for name in classes])
        np.testing.assert_allclose(rows, np.array(others).T)


def test_confusions_of_parts_add_up_and_no_text_scores_nothing():
    whole = confusion([0, 1, 2, 2], [0, 2, 2, 1], 3)

    assert (whole == confusion([0, 1], [0, 2], 3) + confusion([2, 2], [2, 1], 3)).all()
    assert whole.tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 1]]
    report = report_of_confusion(confusion([], [], 3), "abc")
    assert (report.accuracy, report.macro_f1, report.mcc) == (0, 0, 0)


@pytest.mark.parametrize(
    ("gold", "guess", "message"),
    [
        ([0], [0, 1], "1 true classes and 2 predicted ones"),
        ([0, 3], [0, 1], "classes from 0 to 3, but there are 3"),
        ([0, 1], [-1, 1], "classes from -1 to 1, but there are 3"),
    ],
)
def test_classes_that_cannot_be_scored_are_refused(gold, guess, message):
    with pytest.raises(ValueError, match=message):
        confusion(gold, guess, 3)
