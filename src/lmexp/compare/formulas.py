"""Figures of a whole set of examples, computed from sums of each example's sufficient statistics.

The figure of a resample needs no more than the sums over the examples drawn. So a thousand
resamples are one product of matrices and one call of a formula.

Shapes: N examples, C columns of a metric's statistics, R sums (one for every resample).
"""

import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict, assert_never

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Formula = Literal["mean", "ratio", "perplexity", "bits_per_byte", "f1", "bleu", "chrf", "ter"]

COLUMNS: Mapping[Formula, tuple[str, ...]] = {  # what each formula takes, in this order
    "mean": ("value",),
    "ratio": ("numerator", "denominator"),
    "perplexity": ("nats", "tokens"),
    "bits_per_byte": ("nats", "bytes"),
    "f1": ("right", "predicted", "gold"),
    "bleu": (
        *("output length", "reference length"),
        *("correct 1", "correct 2", "correct 3", "correct 4"),
        *("total 1", "total 2", "total 3", "total 4"),
    ),
    "chrf": tuple(f"{part} {n}" for n in range(1, 7) for part in ("output", "reference", "match")),
    "ter": ("edits", "reference length"),
}
_LOG_OF_ZERO = -9999999999.0  # sacrebleu's: exp() of a quarter of it is 0
_BETA_SQUARED = 2**2  # chrF2 (Popović 2016): recall counts twice as much as precision


class Metric(TypedDict):
    """How a metric is computed from an example-score table."""

    formula: str  # one of COLUMNS
    of: Sequence[str]  # names of statistics, whose columns are taken side by side


def formula_named(name: str) -> Formula:
    """The formula of a name read from a file.

    Raises:
        ValueError: there is none of this name.
    """
    for formula in COLUMNS:
        if formula == name:
            return formula
    near = difflib.get_close_matches(name, COLUMNS, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(f"there is no formula {name!r}; {hint}There are: {', '.join(COLUMNS)}")


def columns(statistics: Mapping[str, NDArray[Any]], metric: Metric, name: str) -> Floats:
    """(N, C) what a metric is computed of, out of the statistics of a table.

    Args:
        statistics: by name, each (N,) or (N, K).
        metric: names those it is computed of.
        name: of the metric, for messages.

    Raises:
        ValueError: a statistic is missing, not finite, of another length or width, or N is 0.
    """
    formula = formula_named(metric["formula"])
    missing = [part for part in metric["of"] if part not in statistics]
    if missing:
        raise ValueError(
            f"{name} is computed of {', '.join(map(repr, missing))}, and the table has no such "
            f"statistic; it has: {', '.join(statistics)}"
        )
    parts = [np.asarray(statistics[part], np.float64) for part in metric["of"]]
    if len({len(part) for part in parts}) > 1:
        lengths = ", ".join(f"{n}: {len(p)}" for n, p in zip(metric["of"], parts, strict=True))
        raise ValueError(f"{name}: statistics are not of the same examples ({lengths})")
    table = np.column_stack(parts) if parts else np.empty((0, 0))
    expected = COLUMNS[formula]
    if table.shape[1] != len(expected):
        raise ValueError(
            f"{name}: formula {formula} takes {len(expected)} columns ({', '.join(expected)}), and "
            f"{', '.join(metric['of'])} have {table.shape[1]}"
        )
    if not len(table):
        raise ValueError(f"{name}: the table has no examples")
    if not np.isfinite(table).all():
        row = int(np.flatnonzero(~np.isfinite(table).all(axis=1))[0])
        raise ValueError(
            f"{name}: example {row} (counted from 0) has statistics {table[row].tolist()}: leave "
            "out what has no finite score, in all systems alike"
        )
    return table


def figures(formula: Formula, sums: Floats, count: int) -> Floats:
    """The metric of each of R sets of examples.

    ratio is a / b, perplexity exp(a / b), bits_per_byte a / ln 2 / b; f1, in [0, 1], is
    2 right / (predicted + gold), 0 where that is 0 / 0. bleu (Papineni et al. 2002; smoothing "exp"
    of Chen & Cherry 2014), chrf (chrF2 without words, Popović 2015) and ter (Snover et al. 2006)
    are sacrebleu's corpus scores with its defaults, in percent.

    Args:
        formula: which.
        sums: (R, C), each a sum of the columns over `count` examples.
        count: examples in a sum.

    Returns:
        (R,); nan where a denominator is 0, which only few and odd examples can cause.
    """
    match formula:
        case "mean":
            return sums[:, 0] / count
        case "ratio":
            return _ratio(sums)
        case "perplexity":
            with np.errstate(over="ignore"):  # inf says it
                return np.asarray(np.exp(_ratio(sums)))
        case "bits_per_byte":
            return _ratio(sums) / math.log(2)
        case "f1":
            of_both = sums[:, 1] + sums[:, 2]
            return _divided(2 * sums[:, 0], of_both, otherwise=0)
        case "bleu":
            return _bleu(sums)
        case "chrf":
            return _chrf(sums)
        case "ter":
            # an empty reference: all is wrong if anything was written, else nothing
            wrong = np.where(sums[:, 0] > 0, 1.0, 0.0)
            return 100 * _divided(sums[:, 0], sums[:, 1], otherwise=wrong)
    assert_never(formula)


def figure(formula: Formula, table: Floats) -> float:
    """The metric of all examples of an (N, C) table; nan where a denominator is 0."""
    return float(figures(formula, table.sum(axis=0, keepdims=True), len(table))[0])


def _ratio(sums: Floats) -> Floats:
    return _divided(sums[:, 0], sums[:, 1], otherwise=math.nan)


def _divided(numerator: Floats, denominator: Floats, otherwise: float | Floats) -> Floats:
    """Elementwise, with another value where the denominator is 0."""
    result = np.broadcast_to(np.float64(otherwise), numerator.shape).copy()
    return np.divide(numerator, denominator, out=result, where=denominator > 0)


def _bleu(sums: Floats) -> Floats:
    output, reference, correct, total = sums[:, 0], sums[:, 1], sums[:, 2:6], sums[:, 6:]
    brevity = np.exp(np.minimum(1 - _divided(reference, output, otherwise=math.inf), 0))
    is_zero = correct == 0
    # The n-th order without a match counts as half a match, the next as a quarter and so on.
    halvings = np.exp2(np.cumsum(is_zero, axis=1))
    precisions = _divided(
        np.where(is_zero, 100.0, 100 * correct), np.where(is_zero, halvings, 1) * total, 0
    )
    logs = np.full(precisions.shape, _LOG_OF_ZERO)
    np.log(precisions, out=logs, where=precisions > 0)
    scores = brevity * np.exp(logs.sum(axis=1) / 4)
    return np.where(is_zero.all(axis=1), 0.0, scores)


def _chrf(sums: Floats) -> Floats:
    output, reference, match = sums[:, 0::3], sums[:, 1::3], sums[:, 2::3]
    # An order that one of the sides is too short for is left out of both means.
    counts = (output > 0) & (reference > 0)
    orders = counts.sum(axis=1)
    both = []
    for side in (output, reference):
        shares = np.where(counts, _divided(match, side, otherwise=0), 0)
        both.append(_divided(shares.sum(axis=1), orders.astype(np.float64), otherwise=0))
    precision, recall = both
    weighted = (1 + _BETA_SQUARED) * precision * recall
    return 100 * _divided(weighted, _BETA_SQUARED * precision + recall, otherwise=0)
