"""Groups of trained models on the same examples: how far apart their mean figures are.

What is resampled are examples, the same ones for all models at once; the models stay as they are.
So a test here is of the population of examples and these models alone. It says nothing of how
another training would do: of that seeds say something, and of one seed there is nothing to say.

Of one model against one, all figures are those of paired.paired_comparison.

Shapes: N examples, C columns of a metric's statistics, R resamples.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmexp.compare.formulas import Floats, Formula, figure, figures
from lmexp.compare.paired import (
    RESAMPLES,
    SEED,
    bootstrap_p_value,
    randomisation_p_value,
    sacrebleu_p_value,
)
from lmexp.compare.resampling import bootstrap_sums, kept_sums, percentiles
from lmexp.compare.seeds import Interval, holm

ExampleVerdict = Literal["better", "worse", "no difference shown"]


class ExampleRow(NamedTuple):
    """A group's mean figure against the baseline's, on N examples."""

    difference: float
    interval: Interval  # percentiles of the bootstrap over examples
    p_bootstrap: float  # two-sided
    p_bootstrap_corrected: float  # Holm's, over all comparisons
    p_randomisation: float | None  # two-sided; None where groups are not of equally many models
    p_randomisation_corrected: float | None
    p_sacrebleu: float | None  # of one model against one; see paired.sacrebleu_p_value
    verdict: ExampleVerdict  # by the larger of the corrected p-values


class ExampleTest(NamedTuple):
    """The same before it is corrected, and so without a verdict."""

    difference: float
    interval: Interval
    bootstrap: float
    randomisation: float | None
    sacrebleu: float | None


def example_differences(
    groups: Mapping[str, Sequence[Floats]],
    baseline: str,
    formula: Formula,
    *,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
    seed: int = SEED,
) -> dict[str, ExampleTest | str]:
    """Every group against the baseline, uncorrected.

    Bootstrap (Koehn 2004): each resample draws N examples, computes the figure of every model on
    them, and takes the mean of each group. Randomisation (Riezler & Maxwell 2005): for each example
    all models of a group change sides with those of the baseline, or none does; it takes groups of
    equally many models.

    Args:
        groups: (N, C) of each model, all in one order of examples.
        baseline: one of them.
        formula: that the columns are meant for.
        resamples: R. No p-value is below 1 / (R + 1).
        confidence: of intervals, in (0, 1).
        seed: of numpy's generator.

    Returns:
        By group, without the baseline; a sentence instead where resamples have no figure.
    """
    tables = np.hstack([table for own in groups.values() for table in own])
    drawn = _figures(groups, formula, bootstrap_sums(tables, resamples, seed))
    kept = _parts(groups, kept_sums(tables, resamples, seed))
    tests: dict[str, ExampleTest | str] = {}
    for name in groups:
        if name == baseline:
            continue
        apart = drawn[name].mean(axis=0) - drawn[baseline].mean(axis=0)
        swapped = _swapped(groups, kept, baseline, name, formula)
        if not (np.isfinite(apart).all() and (swapped is None or np.isfinite(swapped).all())):
            tests[name] = f"too few of {len(tables):,} examples have anything to count"
            continue
        observed = _mean(groups[name], formula) - _mean(groups[baseline], formula)
        is_of_two = len(groups[name]) == len(groups[baseline]) == 1
        tests[name] = ExampleTest(
            difference=observed,
            interval=percentiles(apart, confidence),
            bootstrap=bootstrap_p_value(apart, observed),
            randomisation=None if swapped is None else randomisation_p_value(swapped, observed),
            sacrebleu=sacrebleu_p_value(apart, observed) if is_of_two else None,
        )
    return tests


def orders(
    baseline: NDArray[np.uint64], others: Sequence[NDArray[np.uint64]]
) -> list[NDArray[np.int64] | None]:
    """Rows of each table that bring it into the order of the baseline's; None: other examples.

    Of examples that are equal the first goes with the first, and so on.

    Args:
        baseline: (N,) keys.
        others: likewise.
    """
    first = np.argsort(baseline, kind="stable")
    back = np.empty_like(first)
    back[first] = np.arange(len(first))
    found: list[NDArray[np.int64] | None] = []
    for keys in others:
        own = np.argsort(keys, kind="stable")
        same = np.array_equal(baseline[first], keys[own])
        found.append(own[back] if same else None)
    return found


def _parts(groups: Mapping[str, Sequence[Floats]], sums: Floats) -> dict[str, list[Floats]]:
    """(R, C) sums of each model, of sums of all of them side by side."""
    parts: dict[str, list[Floats]] = {}
    start = 0
    for name, tables in groups.items():
        parts[name] = []
        for table in tables:
            parts[name].append(sums[:, start : start + table.shape[1]])
            start += table.shape[1]
    return parts


def _figures(
    groups: Mapping[str, Sequence[Floats]], formula: Formula, sums: Floats
) -> dict[str, Floats]:
    """(models, R) figures of each group."""
    count = len(next(iter(groups.values()))[0])
    return {
        name: np.array([figures(formula, part, count) for part in parts])
        for name, parts in _parts(groups, sums).items()
    }


def _swapped(
    groups: Mapping[str, Sequence[Floats]],
    kept: Mapping[str, Sequence[Floats]],
    baseline: str,
    name: str,
    formula: Formula,
) -> Floats | None:
    """(R,) differences after random swaps; None where there is nothing to swap with."""
    if len(groups[name]) != len(groups[baseline]):
        return None
    differences = []
    for place, (first, second) in enumerate(zip(groups[baseline], groups[name], strict=True)):
        before, after = first.sum(axis=0), second.sum(axis=0)
        ours = kept[baseline][place] + after - kept[name][place]
        theirs = before + after - ours
        pair = (figures(formula, sums, len(first)) for sums in (ours, theirs))
        own, other = pair
        differences.append(other - own)
    return np.asarray(np.mean(differences, axis=0))


def _mean(tables: Sequence[Floats], formula: Formula) -> float:
    return float(np.mean([figure(formula, table) for table in tables]))


def corrected(
    tests: Mapping[str, ExampleTest], confidence: float, *, greater_is_better: bool
) -> dict[str, ExampleRow]:
    """Tests with verdicts, corrected for their number.

    Args:
        tests: by group, perhaps of several baselines.
        confidence: 1 less the level of the tests.
        greater_is_better: False of losses, perplexities, error rates.
    """
    bootstrap = holm([test.bootstrap for test in tests.values()])
    randomisation = holm([test.randomisation for test in tests.values()])
    rows = {}
    for (name, test), own, other in zip(tests.items(), bootstrap, randomisation, strict=True):
        assert own is not None
        verdict: ExampleVerdict = "no difference shown"
        # A bootstrap of few examples is too sure of itself; swaps of three cannot be below 0.25.
        if max(own, other or 0.0) <= 1 - confidence:
            verdict = "better" if (test.difference > 0) == greater_is_better else "worse"
        rows[name] = ExampleRow(
            difference=test.difference,
            interval=test.interval,
            p_bootstrap=test.bootstrap,
            p_bootstrap_corrected=own,
            p_randomisation=test.randomisation,
            p_randomisation_corrected=other,
            p_sacrebleu=test.sacrebleu,
            verdict=verdict,
        )
    return rows
