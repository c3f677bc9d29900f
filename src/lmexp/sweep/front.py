"""The best trials of a search; of several objectives, its Pareto front."""

from collections.abc import Sequence
from typing import NamedTuple

from lmexp.record_files import read_summary
from lmexp.sweep.manifest import Job, Manifest, Outline
from lmexp.sweep.study import Objective, objective_values


class Trial(NamedTuple):
    """One that has finished."""

    job: Job
    values: list[float]  # of the objectives


def finished_trials(manifest: Manifest, outline: Outline) -> list[Trial]:
    """Those of a study that have all objectives, in their order."""
    objectives = launched_objectives(outline)
    found = []
    for job in manifest.jobs:
        if job.study == outline.name and job.status == "finished":
            values = objective_values(objectives, read_summary(manifest.folder_of(job)))
            if values is not None:
                found.append(Trial(job, values))
    return found


def front(trials: Sequence[Trial], outline: Outline) -> list[Trial]:
    """Trials that none dominates, those that are best in the first objective first.

    One dominates another if it is as good in all objectives and better in one (Deb et al. 2002,
    section II); of one objective that is the best trial, and those that equal it.
    """
    signs = [1 if own.direction == "minimize" else -1 for own in launched_objectives(outline)]
    least = [
        tuple(sign * value for sign, value in zip(signs, trial.values, strict=True))
        for trial in trials
    ]
    kept = [
        place for place, own in enumerate(least) if not any(_dominates(one, own) for one in least)
    ]
    return [trials[place] for place in sorted(kept, key=lambda place: least[place])]


def launched_objectives(outline: Outline) -> list[Objective]:
    """As a study was launched with them."""
    return [Objective(*objective) for objective in outline.objectives]


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))
