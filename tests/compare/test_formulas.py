import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paired_outputs import outputs, references, statistics
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER

from lmexp.compare.formulas import COLUMNS, columns, figure, figures

METRICS = {"bleu": BLEU, "chrf": CHRF, "ter": TER}
WORDS = st.lists(st.sampled_from(["a", "bb", "ccc", "dd", "e"]), max_size=9).map(" ".join)


@pytest.mark.parametrize(
    ("formula", "sums", "expected"),
    [
        ("mean", [6], 6 / 4),
        ("ratio", [3, 8], 3 / 8),
        ("perplexity", [8 * math.log(5), 8], 5),
        ("bits_per_byte", [16 * math.log(2), 8], 2),
        ("f1", [3, 4, 6], 2 * (3 / 4) * (3 / 6) / (3 / 4 + 3 / 6)),
        ("f1", [0, 0, 0], 0),
        ("ter", [3, 12], 25),
        ("ter", [3, 0], 100),
        ("ter", [0, 0], 0),
        ("bleu", [4, 4, 4, 3, 2, 1, 4, 3, 2, 1], 100),
        ("bleu", [4, 8, 4, 3, 2, 1, 4, 3, 2, 1], 100 * math.exp(1 - 8 / 4)),
        # no pair, triple or quadruple matches: halves, quarters and eighths of a match
        ("bleu", [4, 4, 4, 0, 0, 0, 4, 3, 2, 1], 100 * (1 / 6 / 8 / 8) ** (1 / 4)),
        ("chrf", [4, 5, 2] * 6, 100 * 5 * (2 / 4) * (2 / 5) / (4 * (2 / 4) + 2 / 5)),
    ],
)
def test_figures_by_hand(formula, sums, expected):
    found = figures(formula, np.array([sums, sums], float), 4)

    assert found == pytest.approx([expected, expected], rel=1e-12)


def test_what_divides_by_zero_is_no_number():
    for formula in ("ratio", "perplexity", "bits_per_byte"):
        assert np.isnan(figures(formula, np.zeros((1, 2)), 3)).all()


@pytest.mark.parametrize("name", METRICS)
@settings(max_examples=150, deadline=None)
@given(pairs=st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4))
def test_scores_of_any_corpus_are_those_of_sacrebleu(name, pairs):
    made, right = [list(side) for side in zip(*pairs, strict=True)]
    metric = METRICS[name]()

    ours = figure(name, statistics(metric, made, right))

    theirs = metric.corpus_score(made, [right]).score
    assert ours == pytest.approx(theirs, rel=1e-13, abs=1e-13)


@pytest.mark.parametrize("name", METRICS)
def test_scores_of_many_sums_at_once_are_those_of_sacrebleu(name):
    right = references(60)
    metric = METRICS[name]()
    table = statistics(metric, outputs(right, 0.3, seed=1), right)
    rng = np.random.default_rng(0)
    drawn = [table[rng.integers(60, size=size)] for size in (1, 2, 3, 60) for _ in range(50)]

    ours = figures(name, np.stack([part.sum(axis=0) for part in drawn]), 1)

    theirs = [metric._aggregate_and_compute(part.tolist()).score for part in drawn]
    assert len(set(theirs)) > 100
    assert ours == pytest.approx(theirs, rel=1e-13)


def test_columns_of_several_statistics_stand_side_by_side():
    table = {"nll": np.array([1, 2]), "sizes": np.array([[3.0, 5], [4, 6]])}

    of_all = columns(table, {"formula": "f1", "of": ["nll", "sizes"]}, "f1")

    assert of_all.tolist() == [[1, 3, 5], [2, 4, 6]]


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ({"formula": "blue", "of": ["a"]}, "no formula 'blue'; did you mean 'bleu'.*perplexity"),
        ({"formula": "mean", "of": ["c"]}, "figure is computed of 'c'.* it has: a, b, short, nan"),
        ({"formula": "ratio", "of": ["a"]}, r"ratio takes 2 columns \(numerator, .* a have 1"),
        ({"formula": "mean", "of": []}, r"mean takes 1 columns \(value\), and  have 0"),
        ({"formula": "ratio", "of": ["a", "short"]}, r"same examples \(a: 2, short: 1\)"),
        ({"formula": "mean", "of": ["nan"]}, r"example 1 \(counted from 0\) has .*nan"),
        ({"formula": "mean", "of": ["empty"]}, "the table has no examples"),
    ],
)
def test_what_does_not_fit_its_formula_is_refused(metric, message):
    table = {"a": [1, 2], "b": [3, 4], "short": [1], "nan": [1, math.nan], "empty": []}

    with pytest.raises(ValueError, match=message):
        columns({name: np.array(part) for name, part in table.items()}, metric, "figure")


def test_every_formula_computes_something_of_its_columns():
    for formula, names in COLUMNS.items():
        assert np.isfinite(figures(formula, np.ones((3, len(names))), 1)).all()
