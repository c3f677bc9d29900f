"""Figures of several trainings that differ in their seed alone: their mean, how sure it is, and
whether two groups of them differ.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

SEEDS_FOR_A_TEST = 3  # fewer have no p-value: two pairs of figures say too little of their spread


class Interval(NamedTuple):
    """From low to high."""

    low: float
    high: float


class Aggregate(NamedTuple):
    """Figures of one group of seeds."""

    n: int
    mean: float
    deviation: float | None  # standard, with n - 1; None of one seed
    interval: Interval | None  # Student's t, of the mean; None of one seed


class Difference(NamedTuple):
    """The mean of a group less that of a baseline."""

    difference: float
    interval: (
        Interval | None
    )  # Student's t; None if either has one seed, or no seed changes a thing
    p: float | None  # two-sided; None below 3 seeds in either, or where no seed changes a thing
    hedges_g: float | None  # difference in standard deviations, corrected; None as the interval


def aggregate(figures: Sequence[float], confidence: float = 0.95) -> Aggregate:
    """Mean, standard deviation and Student's t interval of n seeds.

    The interval is mean ± t(n - 1) s / √n (Student 1908). A percentile bootstrap is no substitute:
    over 3 seeds it covers the true mean 3 times in 4 instead of 19 in 20.

    Args:
        figures: one of every seed.
        confidence: in (0, 1).

    Raises:
        ValueError: there is no figure, one is not finite, or confidence is out of range.
    """
    _check(figures, confidence)
    n, mean, spread = len(figures), float(np.mean(figures)), _deviation(figures)
    if n == 1:
        return Aggregate(n, mean, None, None)
    return Aggregate(n, mean, spread, _around(mean, spread / math.sqrt(n), n - 1, confidence))


def difference(
    baseline: Sequence[float], group: Sequence[float], confidence: float = 0.95
) -> Difference:
    """Two-sample Student t test with pooled variance, its interval, and Hedges' g.

    Not Welch's: of two groups of 3 seeds with equal spread it finds a difference at p <= 0.05 in
    3.5% of identical pairs (5 seeds: 4.4%, 10: 4.9%) where this one has 5.0%, so it overlooks more
    than it says. The price: if one group's standard deviation is 2 times the other's, this one has
    6.1% at 3 seeds (Welch's 4.3%), at 4 times 8.4% (5.6%). All from 2 million simulated pairs.

    g is the difference in pooled standard deviations times J = Γ(m / 2) / (√(m / 2) Γ((m - 1) / 2))
    with m = n₁ + n₂ - 2, without which few seeds overstate it (Hedges 1981).

    Args:
        baseline: one figure of every seed.
        group: likewise; the seeds need not be the same, nor as many.
        confidence: of the interval, in (0, 1).

    Raises:
        ValueError: there is no figure, one is not finite, or confidence is out of range.
    """
    from scipy.special import stdtr

    _check(baseline, confidence)
    _check(group, confidence)
    sizes = len(baseline), len(group)
    apart = float(np.mean(group) - np.mean(baseline))
    spreads = _deviation(baseline), _deviation(group)
    if min(sizes) == 1 or max(spreads) == 0:
        return Difference(apart, None, None, None)
    freedom = sum(sizes) - 2
    pooled = math.sqrt(
        sum((n - 1) * spread**2 for n, spread in zip(sizes, spreads, strict=True)) / freedom
    )
    error = pooled * math.sqrt(1 / sizes[0] + 1 / sizes[1])
    p = 2 * float(stdtr(freedom, -abs(apart) / error))
    return Difference(
        difference=apart,
        interval=_around(apart, error, freedom, confidence),
        p=p if min(sizes) >= SEEDS_FOR_A_TEST else None,
        hedges_g=apart / pooled * small_sample_factor(freedom),
    )


def small_sample_factor(freedom: int) -> float:
    """J of Hedges 1981, by which a standardised difference is too large on average.

    Args:
        freedom: degrees of it, at least 2.
    """
    half = freedom / 2
    return math.exp(math.lgamma(half) - math.lgamma(half - 0.5)) / math.sqrt(half)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p-values of several comparisons, corrected so that the chance of any false one stays small.

    Step-down (Holm 1979): the least of m is multiplied by m, the next by m - 1 and so on, none
    below the one before it, none above 1.

    Args:
        p_values: in any order; None where there was no test, which counts as no comparison.

    Returns:
        In the same order.
    """
    tests = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    least = 0.0
    for rank, (p, place) in enumerate(tests):
        least = max(least, min(p * (len(tests) - rank), 1.0))
        corrected[place] = least
    return corrected


def _deviation(figures: Sequence[float]) -> float:
    """Standard, with n - 1; 0 of one figure, and exactly 0 of equal ones."""
    if min(figures) == max(figures):  # their mean may be off by a bit, and so leave a spread
        return 0.0
    return float(np.std(figures, ddof=1))


def _around(middle: float, error: float, freedom: int, confidence: float) -> Interval:
    from scipy.special import stdtrit

    reach = float(stdtrit(freedom, (1 + confidence) / 2)) * error
    return Interval(middle - reach, middle + reach)


def _check(figures: Sequence[float], confidence: float) -> None:
    if not len(figures) or not np.isfinite(figures).all():
        raise ValueError(
            f"figures of seeds are {list(figures)}: there should be at least one, and all finite; "
            "leave out runs that failed, and say so"
        )
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence}: give a share between 0 and 1, such as 0.95")
