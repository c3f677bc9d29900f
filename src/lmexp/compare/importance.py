"""How much of what a figure varies goes with each swept key.

Of a search Optuna's evaluator says it, of all its trials; of other sweeps the share of variance.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lmexp.compare.result import GroupResult, Result
from lmexp.sweep.manifest import MANIFEST, Manifest
from lmexp.sweep.study import DATABASE

MOST_CHANCE = 0.5  # of a key's share; above that it says next to nothing
FEWEST_TRIALS = 10  # of a study: the evaluator compares the best tenth with all


class Share(NamedTuple):
    """Of one key."""

    key: str
    share: float  # in [0, 1]
    by_chance: float | None  # what values dealt at random would have; None of a study


class Importance(NamedTuple):
    """Of all keys of a sweep or a study."""

    of: str  # sentence: what was measured, of what
    shares: list[Share]


def swept_keys(groups: Sequence[GroupResult]) -> list[str]:
    """Keys of which groups have several values."""
    keys = dict.fromkeys(key for group in groups for key in group.choices)
    return [key for key in keys if len({_value(group, key) for group in groups}) > 1]


def importance(result: Result) -> list[Importance]:
    """Of each study of a search that runs are trials of; without one, of the runs of each data set.

    Raises:
        ValueError: a manifest beside a study is damaged.
    """
    return _of_studies(result) or _of_runs(result)


def shares_of_variance(groups: Sequence[GroupResult]) -> list[Share]:
    """Correlation ratio η² of each swept key (Fisher 1925), over all runs of the groups.

    The sum of squares between the means of a key's k values, over the total of N runs. Values that
    were dealt at random would have (k - 1) / (N - 1) on average. Where keys change together, what
    they do is counted for each. Keys of so many values that chance has more than half are left out.

    Args:
        groups: whose figures compare.

    Returns:
        Greatest first; empty where all runs have one figure, or no key is swept.
    """
    runs = [(group, figure) for group in groups for figure in group.figures]
    if len(runs) < 2:
        return []
    mean = sum(figure for _, figure in runs) / len(runs)
    total = sum((figure - mean) ** 2 for _, figure in runs)
    shares = []
    for key in swept_keys(groups) if total else ():
        levels: dict[str, list[float]] = {}
        for group, figure in runs:
            levels.setdefault(_value(group, key), []).append(figure)
        chance = (len(levels) - 1) / (len(runs) - 1)
        if chance <= MOST_CHANCE:
            between = sum(len(own) * (sum(own) / len(own) - mean) ** 2 for own in levels.values())
            shares.append(Share(key, between / total, chance))
    return sorted(shares, key=lambda own: -own.share)


def _value(group: GroupResult, key: str) -> str:
    return json.dumps(group.choices.get(key), sort_keys=True)


def _of_runs(result: Result) -> list[Importance]:
    found = []
    for baseline, own in result.by_baseline.items():
        groups = [group for group in own if not group.mismatches]
        shares = shares_of_variance(groups)
        if not shares:
            continue
        count = sum(len(group.figures) for group in groups)
        beside = f" with the data of {baseline}" if len(result.by_baseline) > 1 else ""
        told = (
            f"Share of the variance of {result.figure} over {count} runs{beside} that goes with "
            "each swept key (η²). It is no share of a cause: keys that change together count for "
            "each, and few runs have much by chance."
        )
        found.append(Importance(told, shares))
    return found


def _of_studies(result: Result) -> list[Importance]:
    folders = dict.fromkeys(Path(run.folder).parent for run in result.runs)
    found = []
    for folder in folders:
        if (folder / DATABASE).is_file() and (folder / MANIFEST).is_file():
            for outline in Manifest.read(folder).studies:
                figures = [objective[0] for objective in outline.objectives]
                found.extend(_of_study(folder, outline.name, figures))
    return found


def _of_study(folder: Path, name: str, figures: Sequence[str]) -> list[Importance]:
    import optuna

    storage = f"sqlite:///{(folder / DATABASE).resolve()}"
    if name not in optuna.get_all_study_names(storage):
        return []
    study = optuna.load_study(study_name=name, storage=storage)
    done = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    if len(done) < FEWEST_TRIALS:
        return []
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    told = (
        f"Study {name!r} of {len(done)} finished trials: which keys decide whether a trial is "
        f"among the best tenth by {' and '.join(figures)} (PED-ANOVA, Watanabe et al. 2023, as "
        f"Optuna {optuna.__version__} has it; shares of 1)."
    )
    return [Importance(told, [Share(key, float(own), None) for key, own in shares.items()])]
