"""Studies of a search: Optuna, by ask and tell, over a file that survives its process.

A trial is a job; the study's database holds what was asked and told, the job's folder the rest.
The sampler is made anew for every trial from (seed, trial), so that a study that was interrupted
asks what it would have asked.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from lmexp.grid import Dimension
from lmexp.record_files import METRICS, read_figure, read_summary
from lmexp.sweep.manifest import Job

DATABASE = "studies.db"


class Objective(NamedTuple):
    """A figure that a search makes small or large."""

    figure: str  # of summary.json
    live: str | None  # of metrics.jsonl: what pruning looks at
    direction: Literal["minimize", "maximize"]


def objective_values(
    objectives: Sequence[Objective], summary: Mapping[str, Any]
) -> list[float] | None:
    """The objectives of a finished trial; None where one is missing or no number."""
    found = [summary.get(objective.figure) for objective in objectives]
    numbers = [float(value) for value in found if isinstance(value, int | float)]
    is_whole = len(numbers) == len(found) and all(map(math.isfinite, numbers))
    return numbers if is_whole else None


class Study:
    """One study of a sweep.

    Args:
        sweep: its folder.
        name: of the study.
        settings: of sweep.search, as the recipe has them.
        objectives: at least one.
        space: what is searched.
    """

    def __init__(
        self,
        sweep: Path,
        name: str,
        settings: Mapping[str, Any],
        objectives: Sequence[Objective],
        space: Sequence[Dimension],
    ) -> None:
        import optuna
        from sqlalchemy.exc import DatabaseError

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._optuna = optuna
        self._settings, self.objectives = settings, objectives
        self._distributions = {dimension.key: _distribution(dimension) for dimension in space}
        self._space = {dimension.key: dimension for dimension in space}
        self._database = (sweep / DATABASE).resolve()
        try:
            self._study = optuna.create_study(
                storage=f"sqlite:///{self._database}",
                study_name=name,
                directions=[objective.direction for objective in objectives],
                pruner=_pruner(settings),
                load_if_exists=True,
            )
        except (optuna.exceptions.StorageInternalError, DatabaseError) as error:
            why = str(error.__cause__ or error).splitlines()[0]
            raise ValueError(
                f"{self._database} cannot be read ({why}): put the file back, or launch another "
                "search"
            ) from None
        self._sizes: dict[int, int] = {}  # trial -> bytes of its record at the last look

    def ask(self) -> tuple[int, list[str]]:
        """A trial's number, and the overrides that it tries."""
        number = len(self._study.get_trials(deepcopy=False))
        self._study.sampler = _sampler(self._settings, number)
        trial = self._study.ask(self._distributions)
        values = [f"{key}={self._space[key].written(value)}" for key, value in trial.params.items()]
        return trial.number, values

    def should_end(self, number: int, folder: Path) -> bool:
        """Report what a running trial has recorded since; whether it is not worth going on."""
        live = self.objectives[0].live
        if live is None or len(self.objectives) > 1 or self._settings["pruner"] == "none":
            return False
        record = folder / METRICS
        size = record.stat().st_size if record.exists() else 0
        if size == self._sizes.get(number, 0):  # asked for many times a second
            return False
        self._sizes[number] = size
        frozen = self._frozen(number)
        trial = self._optuna.trial.Trial(self._study, frozen._trial_id)
        known = max(frozen.intermediate_values, default=-1)
        for step, value in read_figure(folder, live):
            if step > known and math.isfinite(value):
                trial.report(value, step)
                known = step
                if trial.should_prune():
                    return True
        return False

    def tell(self, job: Job, folder: Path) -> None:
        """What came of a trial; nothing changes if it was told before."""
        assert job.trial is not None
        if self._frozen(job.trial).state.is_finished():
            return
        states = self._optuna.trial.TrialState
        values = (
            objective_values(self.objectives, read_summary(folder))
            if job.status == "finished"
            else None
        )
        if values is not None:
            self._study.tell(job.trial, values)
        elif job.status == "pruned":
            self._study.tell(job.trial, state=states.PRUNED)
        else:
            self._study.tell(job.trial, state=states.FAIL)

    def values(self, folder: Path) -> list[float] | None:
        """The objectives, as the folder of a finished trial has them."""
        return objective_values(self.objectives, read_summary(folder))

    def forget_unknown(self, known: Sequence[int]) -> None:
        """Trials that were asked for and never became a job are failed ones."""
        for trial in self._study.get_trials(deepcopy=False):
            if not trial.state.is_finished() and trial.number not in known:
                self._study.tell(trial.number, state=self._optuna.trial.TrialState.FAIL)

    def check(self, known: Sequence[int]) -> None:
        """Refuse a database that is not the one of these trials.

        Args:
            known: numbers of trials that have become jobs.

        Raises:
            ValueError: it has forgotten some.
        """
        count = len(self._study.get_trials(deepcopy=False))
        if max(known, default=-1) >= count:
            raise ValueError(
                f"{self._database} knows {count} trials, and the sweep {max(known) + 1}: put the "
                "file back, or launch another search"
            )

    def _frozen(self, number: int) -> Any:
        return self._study.get_trials(deepcopy=False)[number]


def check_distributions(space: Sequence[Dimension]) -> None:
    """Refuse a dimension that Optuna cannot draw from.

    Raises:
        ValueError: of the first one.
    """
    for dimension in space:
        try:
            _distribution(dimension)
        except ValueError as error:
            raise ValueError(f"{dimension.key} cannot be searched so: Optuna: {error}") from None


def _distribution(dimension: Dimension) -> Any:
    from optuna import distributions

    if dimension.choices:
        return distributions.CategoricalDistribution(dimension.choices)
    assert dimension.low is not None
    assert dimension.high is not None
    if dimension.step is None:
        return distributions.FloatDistribution(dimension.low, dimension.high, log=dimension.is_log)
    return distributions.IntDistribution(
        int(dimension.low), int(dimension.high), log=dimension.is_log, step=dimension.step
    )


def _sampler(settings: Mapping[str, Any], number: int) -> Any:
    import numpy as np
    from optuna import samplers

    seed = int(np.random.SeedSequence((settings["seed"], number)).generate_state(1)[0])
    startup = settings["startup_trials"]
    if settings["sampler"] == "random":
        return samplers.RandomSampler(seed=seed)
    if settings["sampler"] == "gp":
        return samplers.GPSampler(seed=seed, n_startup_trials=startup)
    if settings["sampler"] == "nsgaii":
        # Its first generation is random, of 50 by default: a short search would be nothing else.
        return samplers.NSGAIISampler(seed=seed, population_size=max(2, startup))
    return samplers.TPESampler(seed=seed, n_startup_trials=startup)


def _pruner(settings: Mapping[str, Any]) -> Any:
    from optuna import pruners

    if settings["pruner"] == "median":
        return pruners.MedianPruner(n_startup_trials=settings["startup_trials"])
    if settings["pruner"] == "halving":
        return pruners.SuccessiveHalvingPruner()
    return pruners.NopPruner()
