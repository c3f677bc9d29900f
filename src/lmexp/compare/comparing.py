"""From runs to what is to be said of them."""

from collections.abc import Sequence

from lmexp.compare import guard
from lmexp.compare.chosen_runs import ChosenRuns, choose_runs
from lmexp.compare.example_tests import example_tests
from lmexp.compare.group_results import group_result, run_results
from lmexp.compare.groups import Group, chosen_baseline, grouped
from lmexp.compare.guard import Mismatch
from lmexp.compare.metric import Chosen
from lmexp.compare.paired import RESAMPLES
from lmexp.compare.remarks import cautions, refusals
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
    for run in repeated:
        chosen.left_out[id(run)] = "a later run has the same recipe and seed"
        chosen.remarks.append(
            f"{run.folder} is left out: a later run has the same recipe and seed, and is no second "
            "draw"
        )
    first = chosen_baseline(groups, baseline)
    wrong = {group.name: _mismatches(chosen, first, group) for group in groups}
    chosen.remarks.extend(refusals(groups, first, wrong))
    may = [group for group in groups if not wrong[group.name]]
    by_seeds = _over_seeds(may, first, chosen.figure)
    by_examples = example_tests(may, first, chosen.figure, chosen.scored, CONFIDENCE)
    chosen.remarks.extend([*by_examples.remarks, *cautions(groups, chosen.scored)])
    live = _live(chosen)
    results = [
        group_result(
            group, chosen.figure, by_seeds, by_examples, wrong[group.name], CONFIDENCE, live
        )
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
        runs=run_results(runs, groups, chosen),
        remarks=list(dict.fromkeys(chosen.remarks)),
    )


def _mismatches(chosen: ChosenRuns, baseline: Group, group: Group) -> list[Mismatch]:
    """Of the first run of a group that does not compare with the baseline's first run."""
    reference = chosen.scored[id(baseline.runs[0])].signature
    for run in group.runs:
        own = chosen.scored[id(run)].signature
        if found := guard.mismatches(chosen.kind, chosen.figure.bare, reference, own):
            return found
    return []


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


def _live(chosen: ChosenRuns) -> str:
    """The curve of the figure, or of what chose the checkpoints where it has none."""
    first = chosen.runs[0].summary
    monitor = first.get("monitor", "loss")
    names = [f"val/{chosen.figure.bare}", f"val/{monitor}"]
    return next((name for name in names if name in first), names[0])
