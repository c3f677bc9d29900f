"""Figures computed once more, out of the scores of examples that a run has left."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from sacrebleu.metrics import BLEU, CHRF, TER

from lmexp.example_scores import ExampleScores, RunScores, read_scores

FORMULAS = {
    "mean": lambda sums, count: sums[0] / count,
    "ratio": lambda sums, count: sums[0] / sums[1],
    "perplexity": lambda sums, count: math.exp(sums[0] / sums[1]),
    "bits_per_byte": lambda sums, count: sums[0] / math.log(2) / sums[1],
    "f1": lambda sums, count: 2 * sums[0] / max(sums[1] + sums[2], 1),
    "bleu": lambda sums, count: of_sacrebleu(BLEU(), sums),
    "chrf": lambda sums, count: of_sacrebleu(CHRF(), sums),
    "ter": lambda sums, count: of_sacrebleu(TER(), sums),
}


def of_sacrebleu(metric, sums) -> float:
    return metric._compute_score_from_stats([int(value) for value in sums]).score


def figures_of(scores: ExampleScores) -> dict[str, float]:
    """All figures that can be computed of a table, each from sums over its examples."""
    found = {}
    for name, metric in scores.metrics.items():
        columns = np.column_stack([scores.statistics[part] for part in metric["of"]])
        found[name] = FORMULAS[metric["formula"]](columns.sum(axis=0).tolist(), len(scores.keys))
    return found


def assert_scores_sum_to_the_test(run: Path, *names: str) -> RunScores:
    """The figures of these names are there, and all that are are those of the run's summary."""
    found = read_scores(run)
    summary = json.loads((run / "summary.json").read_text())
    own = figures_of(found.scores)
    assert set(names) <= set(own)
    assert own == {name: pytest.approx(summary[f"test/{name}"], rel=2e-6) for name in own}
    return found
