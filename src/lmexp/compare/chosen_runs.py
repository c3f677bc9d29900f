"""The runs of a comparison, and the figure that they are compared by."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lmexp.compare import guard
from lmexp.compare.metric import Chosen, choose, task_constants
from lmexp.compare.remarks import LISTED
from lmexp.compare.runs import FINISHED, Run
from lmexp.compare.signature import Scored, scored

PER_BYTE = "bits_per_byte"


class ChosenRuns(NamedTuple):
    """The runs that are compared, and by what."""

    figure: Chosen
    kind: str  # text_kind of the task
    runs: list[Run]
    scored: Mapping[int, Scored]  # by id of the run
    left_out: dict[int, str]  # why, by id of the run
    remarks: list[str]


def choose_runs(runs: Sequence[Run], metric: str | None, better: str | None) -> ChosenRuns:
    """Those that have finished and have the figure; what is left out is said in the remarks.

    Args:
        runs: of one task, finished or not.
        metric: the figure; None for the task's own.
        better: "greater" or "less", of figures of which it is not known.

    Raises:
        ValueError: no run has finished, tasks are mixed, or there is no such figure.
    """
    finished = [run for run in runs if run.status == FINISHED]
    if not finished:
        stands = ", ".join(f"{run.folder.name}: {run.status}" for run in runs[:LISTED])
        raise ValueError(f"none of {len(runs)} runs has finished ({stands}): there is no figure")
    tasks = {run.task: run for run in finished}
    if len(tasks) > 1:
        named = ", ".join(f"{task} ({run.folder})" for task, run in tasks.items())
        raise ValueError(f"runs of several tasks do not compare: {named}: name those of one")
    figure = choose(finished, metric, better)
    first = finished[0]
    kind = str(first.summary.get("text_kind", task_constants(first.task).get("text_kind")))
    known = {id(run): scored(run, figure.part) for run in finished}
    remarks = _unfinished(runs)
    if metric is None:
        figure = _per_byte(figure, kind, finished, known, remarks)
    left_out: dict[int, str] = {}
    for run in finished:
        value = run.figures.get(figure.name)
        if value is None or not math.isfinite(value):
            left_out[id(run)] = why = (
                f"its {figure.name} is {'missing' if value is None else value}"
            )
            remarks.append(f"{run.folder} is left out: {why}")
    kept = [run for run in finished if id(run) not in left_out]
    if not kept:
        raise ValueError(f"no run has a finite {figure.name}")
    return ChosenRuns(figure, kind, kept, known, left_out, remarks)


def _unfinished(runs: Sequence[Run]) -> list[str]:
    """Each with its cause; many that end alike together."""
    by_status: dict[str, list[Run]] = {}
    for run in runs:
        if run.status != FINISHED:
            by_status.setdefault(run.status, []).append(run)
    remarks = []
    for status, own in by_status.items():
        if len(own) > LISTED and not any(run.cause for run in own):
            remarks.append(f"{len(own)} runs are left out: they are {status}")
            continue
        for run in own:
            why = f" ({run.cause}: {run.error})" if run.cause else ""
            remarks.append(f"{run.folder} is left out: it is {status}{why}")
    return remarks


def _per_byte(
    figure: Chosen,
    kind: str,
    runs: Sequence[Run],
    known: Mapping[int, Scored],
    remarks: list[str],
) -> Chosen:
    """Bits per byte instead, where tokenizers differ and the figure is of tokens."""
    hashes = {known[id(run)].signature.get("tokenizer_hash") for run in runs}
    if len(hashes) == 1 or not guard.depends_on_tokenizer(kind, figure.bare):
        return figure
    instead = f"{figure.part}/{PER_BYTE}"
    without = [run for run in runs if instead not in run.figures]
    if not without:
        remarks.append(
            f"the runs have {len(hashes)} tokenizers, so {figure.name} is of other tokens in each: "
            f"they are compared by {instead}"
        )
        return Chosen(instead, greater_is_better=False)
    if len(without) < len(runs):
        remarks.append(
            f"the runs have {len(hashes)} tokenizers, and {instead} would compare them, but "
            f"{without[0].folder} has none: its tokenizer does not know all of the text"
        )
    return figure
