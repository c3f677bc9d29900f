"""Sums of sufficient statistics over examples drawn or swapped at random, and their percentiles.

Shapes: N examples, C columns of a metric's statistics, R resamples.
"""

from collections.abc import Callable, Iterator

import numpy as np

from lmexp.compare.formulas import Floats
from lmexp.compare.seeds import Interval

_CELLS = 1 << 22  # of one block of resamples × examples: 32 MiB of float64
_ROWS = 32  # of a block a multiple, if so many fit: numpy draws 32 booleans out of a word


def bootstrap_sums(table: Floats, resamples: int, seed: int) -> Floats:
    """(R, C) sums over N examples drawn with replacement, for each resample.

    Drawn as sacrebleu draws them, so that the same seed gives the same resamples. How often each
    example was drawn, times the statistics, are the sums: no copy of the statistics is made.
    """
    rng = np.random.default_rng(seed)
    n = len(table)

    def counts(rows: int) -> Floats:
        drawn = rng.integers(n, size=(rows, n))
        drawn += np.arange(rows)[:, None] * n  # each resample counts in cells of its own
        return np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)

    return _products(table, resamples, counts)


def swapped_sums(first: Floats, second: Floats, resamples: int, seed: int) -> Floats:
    """(R, 2 C) sums of both systems when each pair is swapped with probability 1/2.

    Drawn as sacrebleu draws them, so that the same seed gives the same swaps.
    """
    kept = kept_sums(np.hstack((first, second)), resamples, seed)
    total = first.sum(axis=0) + second.sum(axis=0)
    width = first.shape[1]
    ours = kept[:, :width] + second.sum(axis=0) - kept[:, width:]
    return np.hstack((ours, total - ours))


def kept_sums(table: Floats, resamples: int, seed: int) -> Floats:
    """(R, C) sums over the examples that are not swapped, each with probability 1/2."""
    rng = np.random.default_rng(seed)

    def stays(rows: int) -> Floats:
        return rng.integers(2, size=(rows, len(table)), dtype=np.bool_).astype(np.float64)

    return _products(table, resamples, stays)


def percentiles(values: Floats, confidence: float) -> Interval:
    """The interval between two percentiles of R resamples.

    They are those of the definition whose share of a distribution beyond the k-th of R values is
    k / (R + 1) on average (Hyndman & Fan 1996, definition 6). numpy's default would leave 6%
    outside of 95% at R = 200.

    Args:
        values: (R,).
        confidence: in (0, 1).
    """
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, (tail, 1 - tail), method="weibull")
    return Interval(float(low), float(high))


def _products(table: Floats, resamples: int, weights: Callable[[int], Floats]) -> Floats:
    """(R, C) weights times table, in blocks that fit into the memory."""
    blocks = [weights(rows) @ table for rows in _blocks(resamples, len(table))]
    return np.vstack(blocks)


def _blocks(resamples: int, examples: int) -> Iterator[int]:
    most = max(_CELLS // examples, 1)
    most -= most % _ROWS if most > _ROWS else 0
    for start in range(0, resamples, most):
        yield min(most, resamples - start)
