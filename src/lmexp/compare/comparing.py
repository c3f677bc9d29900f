"""From runs to what is to be said of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from lmexp.compare import guard
from lmexp.compare.baselines import Part, parts
from lmexp.compare.chosen_runs import ChosenRuns, choose_runs
from lmexp.compare.example_tests import example_tests
from lmexp.compare.group_results import group_result, run_results
from lmexp.compare.groups import Group, chosen_baseline, grouped
from lmexp.compare.guard import Mismatch
from lmexp.compare.metric import Chosen
from lmexp.compare.paired import RESAMPLES
from lmexp.compare.remarks import cautions, left_out, refusals, several_data
from lmexp.compare.result import Result
from lmexp.compare.runs import Run
from lmexp.compare.verdicts import Row, rows

CONFIDENCE = 0.95


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
    chosen = choose_runs(runs, metric, better)
    groups, repeated = grouped(chosen.runs)
    again = "a later run has the same recipe and seed, and is no second draw"
    chosen.remarks.extend(left_out([(run, again) for run in repeated]))
    chosen.left_out.update((id(run), again) for run in repeated)
    of_data = _parts(groups, baseline, chosen)
    groups = [group for part in of_data for group in part.groups]
    by_seeds = _over_seeds(of_data, chosen.figure)
    by_examples = example_tests(of_data, chosen.figure, chosen.scored, CONFIDENCE)
    chosen.remarks.extend([*several_data(of_data), *refusals(of_data)])
    chosen.remarks.extend([*by_examples.remarks, *cautions(groups, chosen.scored)])
    live = _live(chosen)
    results = [
        group_result(group, part, chosen.figure, by_seeds, by_examples, CONFIDENCE, live)
        for part in of_data
        for group in part.groups
    ]
    return Result(
        figure=chosen.figure.name,
        greater_is_better=chosen.figure.greater_is_better,
        live=live,
        confidence=CONFIDENCE,
        baseline=chosen_baseline(groups, baseline).name,
        resamples=RESAMPLES,
        groups=results,
        runs=run_results(runs, groups, chosen),
        remarks=list(dict.fromkeys(chosen.remarks)),
    )


def _parts(groups: Sequence[Group], baseline: str | None, chosen: ChosenRuns) -> list[Part]:
    """Data sets, each with its baseline and what must not be compared with it."""

    def signature(run: Run) -> Mapping[str, Any]:
        return chosen.scored[id(run)].signature

    def mismatches(group: Group, reference: Run) -> list[Mismatch]:
        """Of the first run that does not compare."""
        for run in group.runs:
            sides = signature(reference), signature(run)
            if found := guard.mismatches(chosen.kind, chosen.figure.bare, *sides):
                return found
        return []

    hashes = {group.name: signature(group.runs[0]).get("data_hash") for group in groups}
    return [
        part._replace(
            mismatches={own.name: mismatches(own, part.baseline.runs[0]) for own in part.groups}
        )
        for part in parts(groups, baseline, hashes)
    ]


def _over_seeds(of_data: Sequence[Part], figure: Chosen) -> dict[str, Row]:
    """Of all data sets together, for they are corrected together."""
    may = [(group, part.baseline.name) for part in of_data for group in part.comparable]
    found = rows(
        {group.name: [run.figures[figure.name] for run in group.runs] for group, _ in may},
        {group.name: baseline for group, baseline in may},
        greater_is_better=figure.greater_is_better,
        confidence=CONFIDENCE,
    )
    return {row.group: row for row in found}


def _live(chosen: ChosenRuns) -> str:
    """The curve of the figure, or of what chose the checkpoints where it has none."""
    first = chosen.runs[0].summary
    monitor = first.get("monitor", "loss")
    names = [f"val/{chosen.figure.bare}", f"val/{monitor}"]
    return next((name for name in names if name in first), names[0])
