"""The runs of a comparison, and the figure that they are compared by."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lmexp.compare import guard
from lmexp.compare.metric import Chosen, choose, task_constants
from lmexp.compare.remarks import LISTED, left_out, listed
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
        stands = listed([f"{run.folder.name}: {run.status}" for run in runs])
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
    why: list[tuple[Run, str]] = []
    for run in finished:
        value = run.figures.get(figure.name)
        if value is None or not math.isfinite(value):
            why.append((run, f"{figure.name} is {'missing' if value is None else value}"))
    remarks.extend(left_out(why))
    without = {id(run): reason for run, reason in why}
    kept = [run for run in finished if id(run) not in without]
    if not kept:
        raise ValueError(f"no run has a finite {figure.name}")
    return ChosenRuns(figure, kind, kept, known, without, remarks)


def _unfinished(runs: Sequence[Run]) -> list[str]:
    """With their causes; of a status whose runs have many of these the first."""
    by_status: dict[str, list[tuple[Run, str]]] = {}
    for run in runs:
        if run.status != FINISHED:
            why = f" ({run.cause}: {run.error})" if run.cause else ""
            by_status.setdefault(run.status, []).append((run, f"{run.status}{why}"))
    remarks = []
    for status, own in by_status.items():
        said = left_out(own)
        if len(said) > LISTED:
            said[LISTED:] = [f"others are left out: {status}, of {len(said) - LISTED} more causes"]
        remarks.extend(said)
    return remarks


def _per_byte(
    figure: Chosen,
    kind: str,
    runs: Sequence[Run],
    known: Mapping[int, Scored],
    remarks: list[str],
) -> Chosen:
    """Bits per byte instead, where one data set has several tokenizers and tokens are counted."""
    of_data: dict[Any, set[Any]] = {}
    for run in runs:
        signature = known[id(run)].signature
        of_data.setdefault(signature.get("data_hash"), set()).add(signature.get("tokenizer_hash"))
    hashes = max(of_data.values(), key=len)
    if len(hashes) == 1 or not guard.depends_on_tokenizer(kind, figure.bare):
        return figure
    instead = f"{figure.part}/{PER_BYTE}"
    without = [run for run in runs if instead not in run.figures]
    have = f"runs of the same data have {len(hashes)} tokenizers"
    if not without:
        remarks.append(
            f"{have}, so {figure.name} is of other tokens in each: they are compared by {instead}"
        )
        return Chosen(instead, greater_is_better=False)
    if len(without) < len(runs):
        remarks.append(
            f"{have}, and {instead} would compare them, but "
            f"{without[0].folder} has none: its tokenizer does not know all of the text"
        )
    return figure
