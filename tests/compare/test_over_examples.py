"""Tests over examples of groups of models, against slow references."""

import numpy as np
import pytest
from paired_outputs import outputs, references, statistics
from sacrebleu.metrics import BLEU

from lmexp.compare.over_examples import corrected, example_differences, orders
from lmexp.compare.paired import Examples, paired_comparison
from lmexp.compare.seeds import holm

SENTENCES = references(200)


@pytest.fixture(scope="module")
def bleu():
    """BLEU's statistics of five systems, from bad to good."""
    rates = (0.50, 0.48, 0.46, 0.30, 0.28)
    return [
        statistics(BLEU(), outputs(SENTENCES, rate, seed), SENTENCES)
        for seed, rate in enumerate(rates)
    ]


def losses(*means, n=60, seed=0):
    """(N, 2) nats and tokens of models that share the difficulty of their documents."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(1, 30, n).astype(float)
    difficulty = rng.normal(0, 1, n)
    return [
        np.column_stack([tokens * (mean + difficulty + rng.normal(0, 0.3, n)), tokens])
        for mean in means
    ]


def example_rows(groups, baseline, formula, *, greater_is_better, **options):
    tests = example_differences(groups, baseline, formula, **options)
    return corrected(tests, 0.95, greater_is_better=greater_is_better)


def test_one_model_against_one_is_the_paired_comparison(bleu):
    groups = {"a": bleu[:1], "b": bleu[1:2], "c": bleu[3:4]}
    keys = [str(row) for row in range(len(SENTENCES))]

    found = example_rows(groups, "a", "bleu", greater_is_better=True)

    for name in ("b", "c"):
        expected = paired_comparison(
            Examples("a", keys, groups["a"][0]), Examples(name, keys, groups[name][0]), "bleu"
        )
        row = found[name]
        assert row.difference == pytest.approx(expected.difference)
        assert row.interval == pytest.approx(expected.interval)
        assert row.p_bootstrap == expected.p_bootstrap
        assert row.p_randomisation == expected.p_randomisation
        assert row.p_sacrebleu == expected.p_sacrebleu
    ps = [found[name].p_bootstrap for name in ("b", "c")]
    assert [found[name].p_bootstrap_corrected for name in ("b", "c")] == holm(ps)
    assert (found["b"].verdict, found["c"].verdict) == ("no difference shown", "better")


def test_groups_are_means_of_figures_on_examples_drawn_in_common():
    first, second, third = losses(3.0, 3.1, 2.7)
    groups = {"base": [first, second], "own": [third]}

    row = example_rows(groups, "base", "ratio", greater_is_better=False, resamples=300)["own"]

    def loss(table, rows):
        return table[rows, 0].sum() / table[rows, 1].sum()

    def apart(rows):
        return loss(third, rows) - (loss(first, rows) + loss(second, rows)) / 2

    drawn = np.random.default_rng(12345).integers(60, size=(300, 60))
    slow = np.array([apart(rows) for rows in drawn])
    observed = apart(np.arange(60))
    strays = np.abs(slow - slow.mean()) >= abs(observed)
    assert row.difference == pytest.approx(observed)
    assert row.interval == pytest.approx(np.quantile(slow, (0.025, 0.975), method="weibull"))
    assert row.p_bootstrap == pytest.approx((strays.sum() + 1) / 301)
    assert row.p_randomisation is None  # two models have no one each to change sides with
    assert row.p_sacrebleu is None
    assert row.verdict == "better"


def test_all_models_of_a_group_change_sides_together():
    tables = losses(3.0, 3.1, 3.02, 3.05)
    groups = {"base": tables[:2], "own": tables[2:]}

    row = example_rows(groups, "base", "ratio", greater_is_better=False, resamples=300)["own"]

    stays = np.random.default_rng(12345).integers(2, size=(300, 60), dtype=np.bool_)
    slow = []
    for kept in stays:
        pairs = zip(tables[:2], tables[2:], strict=True)
        sides = [(np.where(kept[:, None], a, b), np.where(kept[:, None], b, a)) for a, b in pairs]
        figures = [[t.sum(axis=0)[0] / t.sum(axis=0)[1] for t in pair] for pair in sides]
        slow.append(np.mean([after - before for before, after in figures]))
    is_more = np.abs(slow) >= abs(row.difference) * (1 - 1e-9)
    assert row.p_randomisation == pytest.approx((is_more.sum() + 1) / 301)


def test_equal_groups_differ_by_nothing():
    [table] = losses(3.0)
    groups = {"a": [table, table], "b": [table, table]}

    row = example_rows(groups, "a", "perplexity", greater_is_better=False)["b"]

    assert row.difference == 0
    assert (row.p_bootstrap, row.p_randomisation) == (1.0, 1.0)
    assert row.verdict == "no difference shown"


def test_where_resamples_have_no_figure_a_sentence_says_so():
    table = np.zeros((5, 2))
    table[0] = 1

    found = example_differences({"a": [table], "b": [table]}, "a", "ratio")

    assert found == {"b": "too few of 5 examples have anything to count"}


def test_orders_bring_examples_together_equal_ones_in_their_order():
    baseline = np.array([9, 7, 3, 7], np.uint64)

    same, other, longer = orders(
        baseline,
        [np.array(keys, np.uint64) for keys in ([7, 3, 7, 9], [9, 7, 3, 3], [9, 7, 3, 7, 7])],
    )

    assert same.tolist() == [3, 0, 1, 2]
    assert other is None
    assert longer is None
