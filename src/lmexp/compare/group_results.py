"""Groups and runs of a comparison, as its result has them."""

from collections.abc import Mapping, Sequence
from dataclasses import fields

from lmexp.compare.baselines import Part
from lmexp.compare.chosen_runs import ChosenRuns
from lmexp.compare.curves import curve
from lmexp.compare.example_tests import ExampleTests
from lmexp.compare.groups import Group
from lmexp.compare.metric import Chosen
from lmexp.compare.result import GroupResult, RunResult
from lmexp.compare.runs import FINISHED, Cost, Run
from lmexp.compare.seeds import aggregate
from lmexp.compare.verdicts import Row


def group_result(
    group: Group,
    part: Part,
    figure: Chosen,
    by_seeds: Mapping[str, Row],
    by_examples: ExampleTests,
    confidence: float,
    live: str,
) -> GroupResult:
    """A group with its tests.

    Args:
        group: of runs.
        part: that it is in.
        figure: that it is compared by.
        by_seeds: by group, those that may be compared.
        by_examples: likewise.
        confidence: of the interval of its mean.
        live: figure of its curve.
    """
    figures = [run.figures[figure.name] for run in group.runs]
    return GroupResult(
        name=group.name,
        baseline=part.baseline.name,
        choices=dict(group.choices),
        seeds=[run.seed for run in group.runs],
        figures=figures,
        aggregate=aggregate(figures, confidence),
        row=by_seeds.get(group.name),
        over_examples=by_examples.rows.get(group.name),
        examples=by_examples.examples.get(group.name),
        unit=by_examples.units.get(group.name),
        mismatches=list(part.mismatches[group.name]),
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


def run_results(
    runs: Sequence[Run], groups: Sequence[Group], chosen: ChosenRuns
) -> list[RunResult]:
    """Of all runs that were found, with why some are part of no group."""
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
