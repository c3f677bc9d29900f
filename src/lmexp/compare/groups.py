"""Groups of runs that differ in nothing but the seed, and what they are called."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lmexp.compare.conf_names import conf_names
from lmexp.compare.runs import Run
from lmexp.nested import flat

# What changes nothing that is learnt: what a run is called, who sees it, and which part of a
# machine it gets.
NOT_LEARNT = (
    *("name", "seed", "resume", "sweep", "logger", "data.root", "data.num_workers"),
    *("trainer.accelerator", "trainer.devices", "trainer.strategy", "trainer.threads"),
    *("trainer.log_every_steps", "trainer.sharded_checkpoints"),
)
FIRST = ("model", "data", "task", "tokenizer", "optimizer", "schedule")  # of what names a group
DATA = "data"  # the key that chooses the data set
_SEED = "seed="


@dataclass(frozen=True)
class Group:
    """Runs of one recipe.

    Args:
        name: what tells it from the others.
        choices: the same by key, such as {"model": "lstm"}.
        runs: one of every seed, in the order of seeds.
    """

    name: str
    choices: Mapping[str, Any]
    runs: tuple[Run, ...]


def grouped(runs: Sequence[Run]) -> tuple[list[Group], list[Run]]:
    """Groups in the order of their first runs; and runs that repeat another, which are in none.

    Two runs of one recipe and one seed are one draw, not two: the one that comes later counts.
    Groups are named by the overrides of their sweep, seed aside; where those are not of one sweep,
    by the keys in which their recipes differ, as many as it takes.

    Args:
        runs: finished.
    """
    alike: dict[str, dict[Any, Run]] = {}
    repeated = []
    for run in runs:
        seeds = alike.setdefault(_identity(run.recipe), {})
        if run.seed in seeds:
            repeated.append(seeds[run.seed])
        seeds[run.seed] = run
    members = [tuple(own[seed] for seed in sorted(own, key=_order)) for own in alike.values()]
    choices = _swept(members) or _differing([_learnt(own[0].recipe) for own in members])
    return [
        Group(_name(own) or str(of_it[0].recipe.get("name")), own, of_it)
        for own, of_it in zip(choices, members, strict=True)
    ], repeated


def chosen_baseline(groups: Sequence[Group], asked: str | None) -> Group:
    """The group of a name, or the one that all words of it are in; without a name the first.

    Of groups that differ in their data alone it is the first one.

    Raises:
        ValueError: there is none, or several.
    """
    if asked is None:
        return groups[0]
    for group in groups:
        if group.name == asked:
            return group
    having = [group for group in groups if set(asked.split()) <= set(group.name.split())]
    if having and all(without_data(group) == without_data(having[0]) for group in having):
        return having[0]
    listed = ", ".join(repr(group.name) for group in having or groups)
    problem = "may mean several groups" if having else "is no group"
    raise ValueError(f"--baseline {asked!r} {problem}: there are {listed}")


def without_data(group: Group) -> dict[str, Any]:
    """A group's choices but for its data."""
    return {key: value for key, value in group.choices.items() if key != DATA}


def other_differences(groups: Sequence[Group]) -> dict[str, list[Any]]:
    """Keys in which recipes differ beside what names the groups, with all their values.

    Keys of a section that names the groups (model=…) are left out: they come with it.
    """
    recipes = [_learnt(group.runs[0].recipe) for group in groups]
    named = {key for group in groups for key in group.choices}
    return {
        key: _distinct([own.get(key) for own in recipes])
        for key in _keys_that_differ(recipes)
        if key not in named and key.partition(".")[0] not in named
    }


def _identity(recipe: Mapping[str, Any]) -> str:
    return _key(_learnt(recipe))


def _key(value: Any) -> str:
    """Equal of equal values. 1.0 is 1: a server may tell the one as the other."""
    return json.dumps(_with_whole_numbers(value), sort_keys=True)


def _with_whole_numbers(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _with_whole_numbers(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_with_whole_numbers(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _order(seed: Any) -> tuple[bool, Any]:
    return (True, seed) if isinstance(seed, int) else (False, str(seed))


def _learnt(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys with their values, without those of NOT_LEARNT and what is within them."""
    within = tuple(f"{key}." for key in NOT_LEARNT)
    return {key: own for key, own in flat(recipe).items() if not f"{key}.".startswith(within)}


def _name(choices: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={_written(value)}" for key, value in choices.items())


def _written(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _swept(members: Sequence[Sequence[Run]]) -> list[dict[str, Any]]:
    """Choices by overrides; empty where they do not tell the groups apart."""
    found = []
    for runs in members:
        if any(run.overrides is None for run in runs):
            return []
        lines = {tuple(line for line in run.overrides or () if _is_chosen(line)) for run in runs}
        if len(lines) > 1:
            return []
        pairs = (line.partition("=") for line in lines.pop())
        found.append({key.lstrip("+"): value for key, _, value in pairs})
    is_clear = len({_name(own) for own in found}) == len(found)
    return found if is_clear else []


def _is_chosen(override: str) -> bool:
    return not override.lstrip("+").startswith(_SEED)


def _differing(recipes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of each recipe the values of as few keys as tell all of them apart."""
    columns: dict[str, list[Any]] = {}
    keys = _keys_that_differ(recipes)
    for section in FIRST:
        if any(key.startswith(f"{section}.") for key in keys):
            names = conf_names(section, recipes)
            if None not in names and len(set(names)) > 1:
                columns[section] = names
    columns |= {key: [own.get(key) for own in recipes] for key in keys}
    chosen: list[str] = []
    apart = 1
    for key in columns:
        now = len(_distinct(list(zip(*(columns[own] for own in [*chosen, key]), strict=True))))
        if now > apart:
            chosen, apart = [*chosen, key], now
    return [{key: columns[key][place] for key in chosen} for place in range(len(recipes))]


def _keys_that_differ(recipes: Sequence[Mapping[str, Any]]) -> list[str]:
    keys = dict.fromkeys(key for own in recipes for key in own)
    return [key for key in keys if len(_distinct([own.get(key) for own in recipes])) > 1]


def _distinct(values: Sequence[Any]) -> list[Any]:
    """Each once, in their order; lists too."""
    return list({_key(value): value for value in values}.values())
