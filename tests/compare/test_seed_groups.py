import math

import numpy as np
import pytest
from scipy import stats

from lmexp.compare.seeds import aggregate, difference, holm, small_sample_factor

FIGURES = [31.2, 30.4, 32.9, 31.7]
OTHERS = [33.0, 34.1, 31.9]


def test_three_seeds_by_hand():
    # mean 2, deviation 1; t(2) at 97.5% is 4.303 in every table
    found = aggregate([1.0, 2.0, 3.0])

    assert found.n == 3
    assert (found.mean, found.deviation) == pytest.approx((2, 1))
    assert found.interval == pytest.approx((2 - 4.303 / 3**0.5, 2 + 4.303 / 3**0.5), abs=1e-3)


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_the_interval_of_a_mean_is_that_of_scipy(confidence):
    theirs = stats.ttest_1samp(FIGURES, 0).confidence_interval(confidence)

    assert aggregate(FIGURES, confidence).interval == pytest.approx(tuple(theirs), rel=1e-9)


def test_one_seed_has_neither_spread_nor_interval():
    assert aggregate([5.0]) == (1, 5.0, None, None)
    assert difference([5.0], [6.0, 7.0, 8.0]) == (2.0, None, None, None)


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_the_difference_is_that_of_scipy(confidence):
    theirs = stats.ttest_ind(OTHERS, FIGURES)

    ours = difference(FIGURES, OTHERS, confidence)

    assert ours.difference == pytest.approx(np.mean(OTHERS) - np.mean(FIGURES))
    assert ours.p == pytest.approx(theirs.pvalue, rel=1e-9)
    interval = tuple(theirs.confidence_interval(confidence))
    assert ours.interval == pytest.approx(interval, rel=1e-9)


def test_turned_round_only_signs_change():
    one, other = difference(FIGURES, OTHERS), difference(OTHERS, FIGURES)

    assert one.p == pytest.approx(other.p)
    assert one.hedges_g == pytest.approx(-other.hedges_g)
    assert one.interval == pytest.approx((-other.interval.high, -other.interval.low))


def test_below_three_seeds_in_either_group_there_is_no_p_value():
    assert difference(FIGURES, OTHERS[:2]).p is None
    assert difference(FIGURES[:2], OTHERS).p is None
    assert difference(FIGURES[:2], OTHERS[:2]).interval is not None
    assert difference(FIGURES[:3], OTHERS).p is not None


def test_where_no_seed_changes_a_thing_there_is_no_spread_to_judge_by():
    # three times 0.1 has a mean that is not 0.1, and so a spread of 1e-17
    assert aggregate([0.1] * 3) == (3, pytest.approx(0.1), 0.0, pytest.approx((0.1, 0.1)))
    assert difference([0.1] * 3, [0.2] * 3) == (pytest.approx(0.1), None, None, None)
    assert difference([0.1] * 3, [0.1, 0.1, 0.3]).p is not None


@pytest.mark.parametrize(
    ("freedom", "published"),  # Hedges 1981, its table of c(m)
    [(2, 0.5642), (3, 0.7236), (4, 0.7979), (5, 0.8408), (10, 0.9228), (30, 0.9748), (50, 0.9849)],
)
def test_the_small_sample_factor_is_the_published_one(freedom, published):
    assert small_sample_factor(freedom) == pytest.approx(published, abs=2e-4)


def test_hedges_g_by_hand():
    # both deviations 1, so the means are 2 deviations apart; m = 4
    assert difference([1, 2, 3], [3, 4, 5]).hedges_g == pytest.approx(2 * 0.7979, abs=1e-4)


def test_hedges_g_is_right_on_average():
    rng = np.random.default_rng(0)

    found = [difference(rng.normal(0, 2, 3), rng.normal(3, 2, 4)).hedges_g for _ in range(10_000)]

    assert np.mean(found) == pytest.approx(3 / 2, abs=3.5 * np.std(found) / 100)
    without = np.mean(found) / small_sample_factor(5)
    assert without > 1.7  # what the correction is for


def test_holm_by_hand():
    # in order .005 .01 .03 .04: times 4, 3, 2, 1, none below the one before
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_leaves_out_what_was_no_test():
    assert holm([0.02, None, 0.6, 0.7]) == [pytest.approx(0.06), None, 1.0, 1.0]
    assert holm([]) == []
    assert holm([None]) == [None]


@pytest.mark.parametrize("figures", [[], [1.0, math.nan], [math.inf, 2.0]])
def test_figures_that_are_none_are_refused(figures):
    with pytest.raises(ValueError, match="at least one, and all finite"):
        aggregate(figures)
    with pytest.raises(ValueError, match="at least one, and all finite"):
        difference(FIGURES, figures)


@pytest.mark.parametrize("confidence", [0, 1, 95])
def test_a_confidence_out_of_range_is_refused(confidence):
    with pytest.raises(ValueError, match=f"confidence={confidence}: give a share between 0 and 1"):
        aggregate(FIGURES, confidence)
