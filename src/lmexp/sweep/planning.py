"""What a sweep will do: every combination composed, checked and hashed before the first starts."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lmexp import signatures
from lmexp.check import check
from lmexp.compare.metric import is_greater_better
from lmexp.environment import usable_cores
from lmexp.errors import say
from lmexp.grid import Dimension, Grid, check_space, grid
from lmexp.nested import flat
from lmexp.recipe import Composition, composition
from lmexp.run_folder import claim, claim_named, safe
from lmexp.secret_values import SecretError
from lmexp.sweep.launchers import Asked, check_launcher, devices_of, jobs_on_these_cores
from lmexp.sweep.manifest import Job, Outline, recipe_hash
from lmexp.sweep.names import SWEEPS, cut, folder_name
from lmexp.sweep.search import COSTS, Direction
from lmexp.sweep.study import Objective, check_distributions
from lmexp.targets import allowed_packages, build
from lmexp.values import written

# Keys that say where a run runs.
WHERE = ("trainer", "trainer.devices", "trainer.accelerator", "trainer.strategy")


class Planned(NamedTuple):
    """A combination that has passed the check."""

    overrides: list[str]  # as swept
    composed: Composition
    typed: list[str]  # all that was typed, but for what is searched

    @property
    def settings(self) -> Mapping[str, Any]:
        """How the sweep is run."""
        settings: Mapping[str, Any] = self.composed.recipe["sweep"]
        return settings


class Plan(NamedTuple):
    """What a sweep will do."""

    combinations: list[Planned]  # jobs, or studies where something is searched
    space: list[Dimension]


def plan(overrides: Sequence[str], config_dir: str | None, allow_targets: Sequence[str]) -> Plan:
    """Compose and check every combination; equal ones stand once.

    Of a space its ends and choices are checked, each in turn beside the first ones of the others.

    Raises:
        ValueError: of the first that is refused, with its overrides and the number of the others.
    """
    found = _grid(overrides, config_dir, allow_targets)
    swept = [
        line for line in found.combinations[0] if any(line not in c for c in found.combinations)
    ]
    keys = {line.partition("=")[0] for line in swept}
    passed: list[Planned] = []
    refused, tried = [], 0
    for combination in found.combinations:
        mine = [line for line in combination if line.partition("=")[0] in keys]
        for ends in _corners(found.space):
            tried += 1
            try:
                composed = composition([*combination, *ends], config_dir, allow_targets)
                _check(composed)
            except SecretError:  # what was typed shall not be shown
                raise
            except (ValueError, PermissionError) as error:
                refused.append(f"{' '.join([*mine, *ends]) or 'every run'}: {error}")
                continue
            passed.append(Planned(mine, composed, combination))
    if refused:
        share = f" ({len(refused)} of {tried} combinations are refused)"
        raise ValueError(refused[0] + (share if tried > 1 else ""))
    _check_settings(passed)
    _share_cores(passed, found.space)
    planned: dict[str, Planned] = {}
    for own in passed:
        study = str(own.overrides) if found.space else ""
        planned.setdefault(f"{study}{recipe_hash(own.composed.recipe)}", own)
    _build_sizes(list(planned.values()))
    if not found.space and len(planned) < tried:
        say(
            f"{tried - len(planned)} of {tried} combinations have the recipe of another one (what "
            "a run is called is no part of it): each recipe is one job"
        )
    jobs = planned if not found.space else {" ".join(p.overrides): p for p in planned.values()}
    return Plan(list(jobs.values()), found.space)


def _grid(overrides: Sequence[str], config_dir: str | None, allow_targets: Sequence[str]) -> Grid:
    """The combinations, and the space where something is searched."""
    found = grid(overrides, config_dir, searches=True)
    first = [*found.combinations[0], *next(_corners(found.space))]
    composed = composition(first, config_dir, allow_targets)
    search = composed.recipe["sweep"].get("search")
    if search is None:
        return grid(overrides, config_dir)
    if "_target_" not in search:
        raise ValueError(
            f"sweep.search.{next(iter(search))}: nothing is searched here: add sweep=search"
        )
    check_space(search["space"])
    _check(composed)
    build(search, allow_targets)
    objectives_of(composed)
    found = grid(overrides, config_dir, searches=True, space=search["space"])
    check_distributions(found.space)
    if not found.space:
        raise ValueError(
            "sweep.search.space={}: nothing is searched: write for example "
            "'optimizer.lr=tag(log,interval(1e-4,1e-2))' or 'model=choice(lstm,gru)'; a list with "
            "commas is a grid of studies"
        )
    return found


def _corners(space: Sequence[Dimension]) -> Iterator[list[str]]:
    """Overrides that try every end of every dimension; one without any if there is no space."""
    first = [dimension.ends[0] for dimension in space]
    yield first
    for place, dimension in enumerate(space):
        for end in dimension.ends[1:]:
            yield [*first[:place], end, *first[place + 1 :]]


def _check(composed: Composition) -> None:
    if composed.recipe.get("resume") is not None:
        raise ValueError(
            "resume= goes on with one run: leave -m out, or go on with a whole sweep by "
            "python -m lmexp sweep resume <name>"
        )
    check(composed.recipe, composed.allow_targets, composed.origins)


def _check_settings(planned: Sequence[Planned]) -> None:
    """How the sweep is run is one thing for all."""
    check_launcher(planned[0].settings)
    first = flat(planned[0].settings)
    for job in planned[1:]:
        for key, value in flat(job.settings).items():
            if value != first.get(key):
                raise ValueError(
                    f"sweep.{key}={written(value)} beside sweep.{key}={written(first.get(key))}: "
                    "a sweep is run in one way: write one of them"
                )


def _share_cores(planned: Sequence[Planned], space: Sequence[Dimension]) -> None:
    """Jobs side by side share the cores, which a recipe says: a job run alone takes as many.

    As many jobs as may be, even where fewer are swept: else one more job would be another recipe
    of the others, and none of them could be taken over.
    """
    asked = [_asked(own.composed, space) for own in planned]
    at_once = jobs_on_these_cores(planned[0].settings, asked)
    for own in planned:
        trainer = own.composed.recipe["trainer"]
        if at_once > 1 and trainer["threads"] is None:
            trainer["threads"] = max(1, usable_cores() // at_once)


def _asked(composed: Composition, space: Sequence[Dimension]) -> Asked:
    """What a job takes; where that is searched it is not known."""
    trainer = composed.recipe["trainer"]
    is_searched = any(dimension.key in WHERE for dimension in space)
    return Asked(None if is_searched else devices_of(trainer), trainer["accelerator"])


def _build_sizes(planned: Sequence[Planned]) -> None:
    from lmexp.trial import build_sizes

    for swept, composed, _ in planned:
        try:
            build_sizes(composed.recipe, composed.allow_targets, composed.origins)
        except ValueError as error:
            raise ValueError(f"{' '.join(swept) or 'every run'}: {error}") from None


def claim_folder(planned: Plan) -> Path:
    """A new folder for the sweep, named after what it compares.

    Raises:
        FileExistsError: the folder that hydra.sweep.dir= names is not empty.
    """
    first = planned.combinations[0]
    composed = first.composed
    chosen = composed.folders.get("hydra.sweep.dir")
    if chosen:
        return claim_named(Path(chosen))
    name = composed.recipe["sweep"]["name"]
    if name is None and "name" in composed.typed:
        name = composed.recipe["name"]
    if name is None:
        keys = [line.partition("=")[0] for line in first.overrides]
        keys += [dimension.key for dimension in planned.space]
        name = cut("-".join(keys)) or composed.recipe["name"]
    return claim(SWEEPS / (safe(name) or "sweep"))


def jobs_of(planned: Sequence[Planned]) -> list[Job]:
    """The jobs, none begun."""
    return [
        Job(
            folder=folder_name(str(index).zfill(len(str(len(planned) - 1))), swept),
            overrides=swept,
            recipe_hash=recipe_hash(composed.recipe),
            allow_targets=list(composed.allow_targets),
        )
        for index, (swept, composed, _) in enumerate(planned)
    ]


def studies_of(planned: Plan) -> list[Outline]:
    """The studies of a search, none begun."""
    return [
        Outline(
            name=" ".join(swept) or "study",
            overrides=[*typed, *_threads(composed)],
            allow_targets=list(composed.allow_targets),
            objectives=[list(objective) for objective in objectives_of(composed)],
            space=[list(dimension) for dimension in planned.space],
            swept=swept,
            **_asked(composed, planned.space)._asdict(),
        )
        for swept, composed, typed in planned.combinations
    ]


def _threads(composed: Composition) -> list[str]:
    threads = composed.recipe["trainer"]["threads"]
    return [] if threads is None else [f"trainer.threads={threads}"]


def objectives_of(composed: Composition) -> list[Objective]:
    """What is made small or large; the task's own figure is the one that can be watched.

    Raises:
        ValueError: of a figure it is not known whether more of it is better.
    """
    search = composed.recipe["sweep"]["search"] or {"objectives": None, "directions": None}
    packages = allowed_packages(composed.allow_targets)
    constants = signatures.find(composed.recipe["task"]["_target_"], packages).constants
    monitor = str(constants["monitor"])
    bare = monitor.removeprefix("val/")
    figure = f"best/{bare}"
    names = search["objectives"] or [figure]
    usual = {f"{part}/{bare}": bool(constants["greater_is_better"]) for part in ("best", "test")}
    directions = search["directions"] or [_direction(name, usual) for name in names]
    return [
        Objective(name, monitor if name == figure else None, direction)
        for name, direction in zip(names, directions, strict=True)
    ]


def _direction(name: str, usual: Mapping[str, bool]) -> Direction:
    known = usual.get(name, COSTS.get(name, is_greater_better(name.partition("/")[2])))
    if known is None:
        raise ValueError(
            f"sweep.search.objectives: lmexp does not know whether more of {name} is better: give "
            "each its direction, such as sweep.search.directions=[minimize,maximize]"
        )
    return "maximize" if known else "minimize"
