import time

import numpy as np
import pytest
from paired_outputs import outputs, references, statistics
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER
from sacrebleu.significance import PairedTest, estimate_ci

from lmexp.compare.formulas import figure, figures
from lmexp.compare.paired import (
    SEED,
    Examples,
    bootstrap_p_value,
    example_interval,
    matched,
    paired_comparison,
    randomisation_p_value,
    sacrebleu_p_value,
)
from lmexp.compare.resampling import bootstrap_sums, percentiles, swapped_sums

METRICS = {"bleu": BLEU, "chrf": CHRF, "ter": TER}
NAMES = {"bleu": "BLEU", "chrf": "chrF2", "ter": "TER"}  # as sacrebleu spells them
SENTENCES, RESAMPLES = 150, 1000
RATES = (0.35, 0.34, 0.35, 0.35)  # of errors; p-values come out from 0.003 to 0.7


def examples(table, system="a"):
    return Examples(system, [f"line {row}" for row in range(len(table))], np.asarray(table, float))


def strict_p_value(name, baseline, system, resamples, seed=SEED):
    """Of randomisation as sacrebleu has it: ties with what was observed do not count."""
    sums = swapped_sums(baseline.table, system.table, resamples, seed)
    width = baseline.table.shape[1]
    sizes = np.abs(figures(name, sums[:, :width], 1) - figures(name, sums[:, width:], 1))
    observed = abs(figure(name, baseline.table) - figure(name, system.table))
    return (np.sum(sizes > observed * (1 + 1e-9)) + 1) / (resamples + 1)


@pytest.fixture(scope="module")
def systems():
    right = references(SENTENCES)
    return right, [outputs(right, rate, seed) for seed, rate in enumerate(RATES)]


@pytest.fixture(scope="module")
def sacrebleu_p_values(systems):
    """Of each test and metric, for all systems but the first."""
    right, made = systems
    named = [(str(number), lines) for number, lines in enumerate(made)]
    found = {}
    for kind in ("bs", "ar"):
        scorers = {name: metric() for name, metric in METRICS.items()}
        _, scores = PairedTest(named, scorers, [right], kind, n_samples=RESAMPLES)()
        for name in METRICS:
            found[kind, name] = [result.p_value for result in scores[NAMES[name]][1:]]
    return found


@pytest.mark.parametrize("name", METRICS)
def test_p_values_are_those_of_sacrebleu(name, systems, sacrebleu_p_values):
    right, made = systems
    tables = [examples(statistics(METRICS[name](), lines, right)) for lines in made]

    found = [paired_comparison(tables[0], table, name, resamples=RESAMPLES) for table in tables[1:]]

    # the same resamples: what may differ is a tie in the last bits, since sacrebleu adds in float32
    one = 1 / (RESAMPLES + 1) + 1e-12
    assert [row.p_sacrebleu for row in found] == pytest.approx(
        sacrebleu_p_values["bs", name], abs=one
    )
    strict = [strict_p_value(name, tables[0], table, RESAMPLES) for table in tables[1:]]
    assert strict == pytest.approx(sacrebleu_p_values["ar", name], abs=one)
    ties = 0.05 if name == "ter" else 0  # edits are whole numbers: many swaps give the same TER
    for row, p in zip(found, strict, strict=True):
        assert p <= row.p_randomisation <= p + ties


@pytest.mark.parametrize("name", METRICS)
def test_with_another_seed_they_are_equal_to_monte_carlo_error(name, systems, sacrebleu_p_values):
    right, made = systems
    tables = [examples(statistics(METRICS[name](), lines, right)) for lines in made]

    for place, table in enumerate(tables[1:]):
        bootstrap = paired_comparison(tables[0], table, name, resamples=8000, seed=1).p_sacrebleu
        randomisation = strict_p_value(name, tables[0], table, 8000, seed=1)
        for kind, p in (("bs", bootstrap), ("ar", randomisation)):
            error = np.sqrt(p * (1 - p) * (1 / 8000 + 1 / RESAMPLES))
            assert p == pytest.approx(sacrebleu_p_values[kind, name][place], abs=3 * error + 0.001)


def test_the_two_sided_bootstrap_agrees_with_randomisation(systems):
    right, made = systems
    tables = [examples(statistics(BLEU(), lines, right)) for lines in made]

    for table in tables[1:]:
        found = paired_comparison(tables[0], table, "bleu", resamples=4000)
        assert found.p_bootstrap == pytest.approx(found.p_randomisation, abs=0.04)


def test_the_interval_of_one_system_is_about_that_of_sacrebleu(systems):
    right, made = systems
    table = statistics(BLEU(), made[0], right)
    rng = np.random.default_rng(7)
    drawn = [table[rng.integers(SENTENCES, size=SENTENCES)].tolist() for _ in range(2000)]
    middle, half = estimate_ci(np.array([BLEU()._aggregate_and_compute(x).score for x in drawn]))

    low, high = example_interval(table, "bleu", resamples=8000)

    assert ((low + high) / 2, (high - low) / 2) == pytest.approx((middle, half), rel=0.06)


def test_the_interval_of_a_mean_is_the_textbook_one_when_examples_are_many():
    values = np.random.default_rng(0).normal(3, 2, 2000)

    low, high = example_interval(values[:, None], "mean", resamples=8000)

    error = values.std() / np.sqrt(2000)
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.08 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.08 * error)


def test_the_same_outputs_do_not_differ():
    table = examples(np.random.default_rng(0).random((50, 2)))

    found = paired_comparison(table, table, "ratio")

    assert found.difference == 0
    assert found.interval == (0, 0)
    assert found.p_bootstrap == found.p_randomisation == 1


def test_randomisation_of_five_pairs_is_that_of_all_swaps():
    # all 32 swaps of (1, 1, 1, 1, 0): only those of four equal signs, 2 of 16, give 4 / 5 or more
    gains = np.array([1.0, 1, 1, 1, 0])[:, None]

    found = paired_comparison(examples(np.zeros((5, 1))), examples(gains), "mean", resamples=20_000)

    assert found.difference == pytest.approx(4 / 5)
    assert found.p_randomisation == pytest.approx(2 / 16, abs=0.01)


def test_p_values_by_hand():
    drawn = np.array([3.0, 1, 5, 2, -1])  # mean 2; off by 1, 1, 3, 0, 3
    assert bootstrap_p_value(drawn, -2.0) == pytest.approx((2 + 1) / 6)
    assert randomisation_p_value(drawn, -2.0) == pytest.approx((3 + 1) / 6)
    # sizes 3, 1, 5, 2, 1 less their mean, 2.4: 2.6 is above 2
    assert sacrebleu_p_value(drawn, -2.0) == pytest.approx((1 + 1) / 6)


def test_sums_are_of_examples_drawn_and_of_pairs_swapped():
    marks = np.eye(4)  # the sum of a resample says how often each was drawn

    drawn = bootstrap_sums(marks, 4000, seed=0)
    swapped = swapped_sums(marks, 10 * marks, 4000, seed=0)

    assert (drawn.sum(axis=1) == 4).all()
    assert np.mean(drawn == 0, axis=0) == pytest.approx([(3 / 4) ** 4] * 4, abs=0.03)
    assert set(np.unique(swapped)) == {1, 10}
    assert (swapped[:, :4] + swapped[:, 4:] == 11).all()
    assert np.mean(swapped == 1, axis=0) == pytest.approx([1 / 2] * 8, abs=0.03)


def test_blocks_change_nothing(monkeypatch):
    table = np.random.default_rng(0).integers(9, size=(37, 2)).astype(float)
    whole = bootstrap_sums(table, 300, seed=3), swapped_sums(table, table + 1, 300, seed=3)

    monkeypatch.setattr("lmexp.compare.resampling._CELLS", 37 * 70)

    assert np.array_equal(bootstrap_sums(table, 300, seed=3), whole[0])
    assert np.array_equal(swapped_sums(table, table + 1, 300, seed=3), whole[1])


def test_percentiles_leave_out_as_much_as_they_say_of_199_values():
    # (199 + 1) * 0.025 = the 5th from either end
    assert percentiles(np.arange(1.0, 200), 0.95) == pytest.approx((5, 195))


def test_examples_are_matched_by_key():
    first = Examples("a", ["x", "y", "z"], np.array([[1.0], [2], [3]]))
    second = Examples("b", ["z", "x", "y"], np.array([[3.5], [1.5], [2.5]]))

    assert matched(first, second).table.tolist() == [[1.5], [2.5], [3.5]]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["x", "y"], r"a has 3 examples and b 2, of which 2 are the same \('z' is in a alone\)"),
        (["x", "y", "z", "w"], r"a has 3 examples and b 4, .* 3 are the same \('w' is in b alone"),
        (["x", "y", "w"], r"a has 3 examples and b 3, of which 2 are the same"),
        (["x", "y", "y"], "b: 1 of 3 examples stand twice"),
    ],
)
def test_other_examples_are_refused(keys, message):
    first = Examples("a", ["x", "y", "z"], np.zeros((3, 1)))

    with pytest.raises(ValueError, match=message):
        paired_comparison(first, Examples("b", keys, np.zeros((len(keys), 1))), "mean")


def test_keys_and_scores_of_different_number_are_refused():
    with pytest.raises(ValueError, match="a: 2 keys of examples and 3 scores"):
        matched(Examples("a", ["x", "y"], np.zeros((3, 1))), examples(np.zeros((2, 1))))


def test_what_cannot_be_resampled_is_refused():
    rare = examples(np.array([[1.0, 1], [0, 0], [0, 0], [0, 0]]))

    with pytest.raises(ValueError, match="of 1,000 resamples of 4 examples have no figure"):
        paired_comparison(rare, rare, "ratio")
    with pytest.raises(ValueError, match=r"resamples=0 and confidence=0\.95: give at least 1"):
        paired_comparison(rare, rare, "mean", resamples=0)
    with pytest.raises(ValueError, match="resamples=10 and confidence=95: "):
        example_interval(rare.table, "mean", resamples=10, confidence=95)


def test_a_thousand_resamples_of_three_thousand_sentences_take_less_than_two_seconds():
    rng = np.random.default_rng(0)
    first, second = (examples(rng.integers(30, size=(3000, 10))) for _ in range(2))

    start = time.process_time()
    paired_comparison(first, second, "bleu", resamples=1000)
    seconds = time.process_time() - start  # on one core: OMP_NUM_THREADS is 1 in tests

    assert seconds < 2
