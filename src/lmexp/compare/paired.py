"""Two systems on the same examples: how far apart they are, and whether that may be chance.

What is resampled are examples; seeds have their own tests (seeds.py). A test here says how the
difference of these two systems would do on other examples of the kind, and nothing of how another
training would do.

Shapes: N examples, C columns of a metric's statistics, R resamples.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmexp.compare.formulas import Floats, Formula, figure, figures
from lmexp.compare.resampling import bootstrap_sums, percentiles, swapped_sums
from lmexp.compare.seeds import Interval

SEED = 12345  # sacrebleu's: with it and its number of resamples, p-values are the same as its own
RESAMPLES = 1000


class Examples(NamedTuple):
    """What one system scored, example by example."""

    system: str
    keys: Sequence[str]  # of each example, N of them, none twice
    table: Floats  # (N, C), of formulas.columns


class Comparison(NamedTuple):
    """A system against a baseline on N examples, by one metric."""

    examples: int
    baseline: float  # figure of all examples
    system: float
    difference: float  # system - baseline
    interval: Interval  # of the difference: percentiles of the bootstrap over examples
    p_bootstrap: float  # two-sided
    p_randomisation: float  # two-sided
    p_sacrebleu: float  # as sacrebleu's --paired-bs reckons it: see sacrebleu_p_value


def matched(baseline: Examples, other: Examples) -> Examples:
    """The other system's examples in the order of the baseline's.

    Raises:
        ValueError: they are not the same examples, or one stands twice.
    """
    for side in (baseline, other):
        if len(set(side.keys)) < len(side.keys):
            twice = len(side.keys) - len(set(side.keys))
            raise ValueError(f"{side.system}: {twice} of {len(side.keys)} examples stand twice")
        if len(side.keys) != len(side.table):
            raise ValueError(
                f"{side.system}: {len(side.keys)} keys of examples and {len(side.table)} scores"
            )
    own, others = set(baseline.keys), {key: row for row, key in enumerate(other.keys)}
    if own != others.keys():
        alone, missing = sorted(own - others.keys()), sorted(others.keys() - own)
        instance = (alone or missing)[0]
        raise ValueError(
            f"{baseline.system} has {len(own):,} examples and {other.system} {len(others):,}, of "
            f"which {len(own) - len(alone):,} are the same ({instance!r} is in "
            f"{baseline.system if alone else other.system} alone): pairs need the same examples"
        )
    order = [others[key] for key in baseline.keys]
    return Examples(other.system, baseline.keys, other.table[order])


def paired_comparison(
    baseline: Examples,
    system: Examples,
    formula: Formula,
    *,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
    seed: int = SEED,
) -> Comparison:
    """Paired bootstrap (Koehn 2004) and approximate randomisation (Riezler & Maxwell 2005).

    Args:
        baseline: what the system is compared with.
        system: of the same examples, in any order.
        formula: that the columns of both are meant for.
        resamples: R. No p-value is below 1 / (R + 1).
        confidence: of the interval, in (0, 1).
        seed: of numpy's generator; of both tests.

    Raises:
        ValueError: the examples differ, or are too few for the formula.
    """
    _check(resamples, confidence)
    first, second = baseline.table, matched(baseline, system).table
    before, after = figure(formula, first), figure(formula, second)
    difference = after - before
    both = np.hstack((first, second))
    drawn = _differences(formula, bootstrap_sums(both, resamples, seed), len(first))
    swapped = _differences(formula, swapped_sums(first, second, resamples, seed), len(first))
    return Comparison(
        examples=len(first),
        baseline=before,
        system=after,
        difference=difference,
        interval=percentiles(drawn, confidence),
        p_bootstrap=bootstrap_p_value(drawn, difference),
        p_randomisation=randomisation_p_value(swapped, difference),
        p_sacrebleu=sacrebleu_p_value(drawn, difference),
    )


def example_interval(
    table: Floats,
    formula: Formula,
    *,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
    seed: int = SEED,
) -> Interval:
    """Percentile bootstrap over the examples of one system (Efron & Tibshirani 1993, section 13.3).

    Not for seeds: of 3 figures it reaches from about the least to the greatest, and the true mean
    lies outside whenever all three are on one side of it, one time in four.

    Args:
        table: (N, C).
        formula: that its columns are meant for.
        resamples: R.
        confidence: in (0, 1).
        seed: of numpy's generator.

    Raises:
        ValueError: the examples are too few for the formula.
    """
    _check(resamples, confidence)
    sums = bootstrap_sums(table, resamples, seed)
    return percentiles(_defined(figures(formula, sums, len(table)), len(table)), confidence)


def bootstrap_p_value(differences: Floats, observed: float) -> float:
    """Two-sided: how often a resample strays from the mean by as much as was observed.

    If there were no difference, resamples would lie around 0 as they now lie around their mean
    (Noreen 1989, "shift method"; Efron & Tibshirani 1993, section 16.4).

    Args:
        differences: (R,), of the resamples.
        observed: of all examples.
    """
    return _share(_at_least(np.abs(differences - differences.mean()), observed))


def sacrebleu_p_value(differences: Floats, observed: float) -> float:
    """What sacrebleu 2 prints of its paired bootstrap: to be set beside figures in papers.

    It takes absolute values first and the mean off afterwards, and counts only resamples that
    stray farther than that to the outer side: where systems differ this is one tail of two. So it
    says p <= 0.05 of 10% of identical pairs instead of 5%, and is no base of a verdict here. Of
    systems without any difference it is the least there is, for none strays farther.

    Args:
        differences: (R,), of the resamples.
        observed: of all examples.
    """
    sizes = np.abs(differences)
    return _share(sizes - sizes.mean() > abs(observed))


def randomisation_p_value(differences: Floats, observed: float) -> float:
    """Two-sided: how often random swaps give a difference of at least the size observed.

    Equal sizes count (Riezler & Maxwell 2005, figure 1), where sacrebleu has strictly greater ones:
    of figures that take few values, such as accuracy over few examples, many are equal.

    Args:
        differences: (R,), after random swaps.
        observed: without.
    """
    return _share(_at_least(np.abs(differences), observed))


def _check(resamples: int, confidence: float) -> None:
    if resamples < 1 or not 0 < confidence < 1:
        raise ValueError(
            f"resamples={resamples} and confidence={confidence}: give at least 1 resample, and a "
            "confidence between 0 and 1, such as 0.95"
        )


def _differences(formula: Formula, sums: Floats, count: int) -> Floats:
    """(R,) second system minus first, of (R, 2 C) sums."""
    width = sums.shape[1] // 2
    before, after = (figures(formula, part, count) for part in (sums[:, :width], sums[:, width:]))
    return _defined(after - before, count)


def _defined(values: Floats, count: int) -> Floats:
    undefined = int((~np.isfinite(values)).sum())
    if undefined:
        raise ValueError(
            f"{undefined:,} of {len(values):,} resamples of {count:,} examples have no figure "
            "(they divide by zero, or it is infinite): too few examples have anything to count"
        )
    return values


def _at_least(sizes: Floats, observed: float) -> NDArray[np.bool_]:
    # the same sum in another order may differ in the last bits, and is still as great
    return sizes >= abs(observed) * (1 - 1e-9)


def _share(is_greater: NDArray[np.bool_]) -> float:
    """The observed one counts as one of the resamples: so p is never 0 (Davison & Hinkley 1997,
    section 4.2).
    """
    return float((is_greater.sum() + 1) / (len(is_greater) + 1))
