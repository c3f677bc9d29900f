"""From runs to what is to be said of them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

from lmexp.compare import guard
from lmexp.compare.curves import curve
from lmexp.compare.example_tests import ExampleTests, example_tests
from lmexp.compare.groups import Group, chosen_baseline, grouped, other_differences
from lmexp.compare.guard import Mismatch
from lmexp.compare.metric import Chosen, choose, task_constants
from lmexp.compare.paired import RESAMPLES
from lmexp.compare.result import GroupResult, Result, RunResult
from lmexp.compare.runs import FINISHED, Cost, Run
from lmexp.compare.seeds import aggregate
from lmexp.compare.signature import Scored, scored
from lmexp.compare.verdicts import Row, rows

PER_BYTE = "bits_per_byte"
CONFIDENCE = 0.95
FEW_SEEDS = {
    1: "one seed has no spread and no test over seeds; seed=1,2,3 would have both",
    2: "two seeds are too few for a test over seeds",
}
_LISTED = 6  # keys or runs that a remark names


class _Chosen(NamedTuple):
    """The runs that are compared, and by what."""

    figure: Chosen
    kind: str  # text_kind of the task
    runs: list[Run]
    scored: Mapping[int, Scored]  # by id of the run
    left_out: dict[int, str]  # why, by id of the run
    remarks: list[str]


def compared(
    runs: Sequence[Run],
    *,
    metric: str | None = None,
    baseline: str | None = None,
    better: str | None = None,
) -> Result:
    """Groups of seeds against a baseline, as far as their figures compare.

    Args:
        runs: of one task, finished or not.
        metric: the figure; None for the task's own.
        baseline: name of a group; None for the first.
        better: "greater" or "less", of figures of which it is not known.

    Raises:
        ValueError: no run has finished, tasks are mixed, or there is no such figure or group.
    """
    chosen = _chosen(runs, metric, better)
    groups, repeated = grouped(chosen.runs)
    for run in repeated:
        chosen.left_out[id(run)] = "a later run has the same recipe and seed"
        chosen.remarks.append(
            f"{run.folder} is left out: a later run has the same recipe and seed, and is no second "
            "draw"
        )
    first = chosen_baseline(groups, baseline)
    wrong = {group.name: _mismatches(chosen, first, group) for group in groups}
    chosen.remarks.extend(_refusals(groups, first, wrong))
    may = [group for group in groups if not wrong[group.name]]
    by_seeds = _over_seeds(may, first, chosen.figure)
    by_examples = example_tests(may, first, chosen.figure, chosen.scored, CONFIDENCE)
    chosen.remarks.extend([*by_examples.remarks, *_cautions(groups, chosen)])
    live = _live(chosen)
    results = [
        _group(group, chosen.figure, by_seeds, by_examples, wrong[group.name], live)
        for group in groups
    ]
    return Result(
        figure=chosen.figure.name,
        greater_is_better=chosen.figure.greater_is_better,
        live=live,
        confidence=CONFIDENCE,
        baseline=first.name,
        resamples=RESAMPLES,
        unit=by_examples.unit,
        groups=results,
        runs=_runs(runs, groups, chosen),
        remarks=list(dict.fromkeys(chosen.remarks)),
    )


def _chosen(runs: Sequence[Run], metric: str | None, better: str | None) -> _Chosen:
    finished = [run for run in runs if run.status == FINISHED]
    if not finished:
        stands = ", ".join(f"{run.folder.name}: {run.status}" for run in runs[:_LISTED])
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
    return _Chosen(figure, kind, kept, known, left_out, remarks)


def _unfinished(runs: Sequence[Run]) -> list[str]:
    """Each with its cause; many that end alike together."""
    by_status: dict[str, list[Run]] = {}
    for run in runs:
        if run.status != FINISHED:
            by_status.setdefault(run.status, []).append(run)
    remarks = []
    for status, own in by_status.items():
        if len(own) > _LISTED and not any(run.cause for run in own):
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


def _mismatches(chosen: _Chosen, baseline: Group, group: Group) -> list[Mismatch]:
    """Of the first run of a group that does not compare with the baseline's first run."""
    reference = chosen.scored[id(baseline.runs[0])].signature
    for run in group.runs:
        own = chosen.scored[id(run)].signature
        if found := guard.mismatches(chosen.kind, chosen.figure.bare, reference, own):
            return found
    return []


def _refusals(
    groups: Sequence[Group], baseline: Group, wrong: Mapping[str, Sequence[Mismatch]]
) -> list[str]:
    remarks = []
    for group in groups:
        for field, theirs, own, reason in wrong[group.name]:
            other = "its own first run" if group is baseline else baseline.name
            remarks.append(
                f"{group.name} must not be compared with {other}: its {field} is {_told(own)}, and "
                f"that of {other} {_told(theirs)}: {reason}"
            )
    return remarks


def _told(value: Any) -> str:
    """A value in a sentence; of a hash its beginning."""
    if value is None:
        return "not recorded"
    text = str(value)
    return f"{text[:12]}…" if len(text) >= 32 and text.isalnum() else text


def _over_seeds(groups: Sequence[Group], baseline: Group, figure: Chosen) -> dict[str, Row]:
    if baseline not in groups:  # its own runs do not compare
        return {}
    figures = {group.name: [run.figures[figure.name] for run in group.runs] for group in groups}
    found = rows(
        figures,
        baseline.name,
        greater_is_better=figure.greater_is_better,
        confidence=CONFIDENCE,
    )
    return {row.group: row for row in found}


def _cautions(groups: Sequence[Group], chosen: _Chosen) -> list[str]:
    """What does not forbid a comparison, but has to be known."""
    remarks = []
    for count, what in FEW_SEEDS.items():
        if few := [group.name for group in groups if len(group.runs) == count]:
            remarks.append(f"{', '.join(few)}: {what}")
    for field in guard.OF_ALL_FIGURES:
        known = [chosen.scored[id(run)].signature.get(field) for run in chosen.runs]
        values = dict.fromkeys(str(value) for value in known if value is not None)
        if len(values) > 1:
            remarks.append(f"runs were tested in {field} {' and '.join(values)}: rounding differs")
    others = other_differences(groups)
    if others:
        named = [f"{key} ({', '.join(map(str, values))})" for key, values in others.items()]
        more = f" and {len(named) - _LISTED} more keys" if len(named) > _LISTED else ""
        remarks.append(f"recipes also differ in {', '.join(named[:_LISTED])}{more}")
    return remarks


def _live(chosen: _Chosen) -> str:
    """The curve of the figure, or of what chose the checkpoints where it has none."""
    first = chosen.runs[0].summary
    monitor = first.get("monitor", "loss")
    names = [f"val/{chosen.figure.bare}", f"val/{monitor}"]
    return next((name for name in names if name in first), names[0])


def _group(
    group: Group,
    figure: Chosen,
    by_seeds: Mapping[str, Row],
    by_examples: ExampleTests,
    wrong: Sequence[Mismatch],
    live: str,
) -> GroupResult:
    figures = [run.figures[figure.name] for run in group.runs]
    row = by_examples.rows.get(group.name)
    return GroupResult(
        name=group.name,
        choices=dict(group.choices),
        seeds=[run.seed for run in group.runs],
        figures=figures,
        aggregate=aggregate(figures, CONFIDENCE),
        row=by_seeds.get(group.name),
        over_examples=row,
        examples=by_examples.examples if row is not None else None,
        mismatches=list(wrong),
        cost=_mean_cost([run.cost for run in group.runs]),
        curve=curve(group.runs, live),
    )


def _mean_cost(costs: Sequence[Cost]) -> Cost:
    """Of what every run has recorded."""
    means: dict[str, float | None] = {}
    for field in fields(Cost):
        values = [getattr(cost, field.name) for cost in costs]
        means[field.name] = None if None in values else sum(values) / len(values)
    return Cost(**means)


def _runs(runs: Sequence[Run], groups: Sequence[Group], chosen: _Chosen) -> list[RunResult]:
    group_of = {id(run): group.name for group in groups for run in group.runs}
    results = []
    for run in runs:
        known = chosen.scored.get(id(run))
        is_unfinished = run.status != FINISHED
        results.append(
            RunResult(
                folder=str(run.folder),
                group=group_of.get(id(run)),
                seed=run.seed,
                status=run.status,
                cause=run.cause,
                error=run.error,
                left_out="not finished" if is_unfinished else chosen.left_out.get(id(run)),
                overrides=list(run.overrides or ()),
                figure=run.figures.get(chosen.figure.name),
                figures=run.figures,
                cost=run.cost,
                budgets=run.budgets,
                signature=dict(known.signature) if known else {},
            )
        )
    return results
