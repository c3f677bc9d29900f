"""Going on with a run: its own recipe, and of what the user typed only what makes no other one."""

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lmexp.recipe import Composition
from lmexp.record_files import read_metrics
from lmexp.run_folder import RECIPE, read_recipe
from lmexp.run_folders import newest_run

# Where it runs, how long, how often it reports: that changes rounding and, with compile, dropout
# masks, no more. Everything else would make it another experiment.
HARMLESS = (
    *(
        f"trainer.{key}"
        for key in (
            "accelerator", "strategy", "devices", "precision", "activation_checkpointing",
            "compile", "threads", "sharded_checkpoints", "max_steps", "max_epochs", "max_time",
            "validate_every_steps", "checkpoint_every_steps", "log_every_steps", "keep_best",
            "keep_last", "on_nonfinite", "on_spike", "spike_deviations",
        )
    ),
    "data.num_workers",
    "logger",
)  # fmt: skip
IGNORED = ("resume", "sweep", "allow_targets", "hydra")


class Resumed(NamedTuple):
    """A run to go on with."""

    recipe: dict[str, Any]
    folder: Path


def resumed(composition: Composition) -> Resumed:
    """The run that `resume=` names, with the overrides that were typed beside it.

    Raises:
        FileNotFoundError: there is no such run.
        ValueError: overrides would change what is learnt; names both values of each.
    """
    named = str(composition.recipe["resume"])
    if not named:
        raise ValueError("resume= is empty: name a run, for example resume=logs/runs")
    path = Path(named)
    folder = newest_run(path)
    if path.suffix == ".ckpt" and path.name != "last.ckpt":
        raise ValueError(
            f"resume={path}: a run goes on from its newest checkpoint, with all that was written "
            f"after others thrown away: write resume={folder}"
        )
    stored = read_recipe(folder / RECIPE)
    for name, section in composition.recipe.items():
        stored.setdefault(name, section)  # one that an older lmexp did not know
    recipe, refused = copy.deepcopy(stored), []
    for typed, line in composition.typed.items():
        if typed.split(".")[0] in IGNORED:
            continue
        for key in _keys(typed, composition):
            wanted, had = _get(composition.recipe, key), _get(stored, key)
            if any(f"{key}.".startswith(f"{harmless}.") for harmless in HARMLESS):
                _set(recipe, key, wanted)
            elif wanted != had:
                asks = "" if line == f"{key}={wanted}" else f" asks for {key}={wanted}"
                refused.append(f"{line}{asks}, and it began with {key}={had}")
    if refused:
        raise ValueError(
            f"command line: {folder} is another run: {'; '.join(refused)}: leave that out to go on "
            "with it, or leave resume= out to begin another"
        )
    _check_steps(recipe["trainer"], stored["trainer"], folder)
    return Resumed(recipe, folder)


def _check_steps(trainer: Mapping[str, Any], had: Mapping[str, Any], folder: Path) -> None:
    """A run cannot end before where it stands."""
    steps = trainer["max_steps"]
    if steps is None or steps == had["max_steps"]:
        return
    done = max((line["step"] for line in read_metrics(folder)), default=0)
    if steps < done:
        raise ValueError(
            f"command line: trainer.max_steps={steps}, and {folder} has done {done} steps: give "
            "more, or leave it out"
        )


def _keys(typed: str, composition: Composition) -> list[str]:
    """The keys of a recipe that an override decides; a chosen file decides those it holds."""
    if typed == "logger":
        return ["logger"]
    if typed in composition.origins.overrides:
        return [typed]
    choice = f"/{typed}/{composition.origins.choices.get(typed)}.yaml"
    return [
        key
        for layer in composition.origins.layers
        if layer.label.endswith(choice)
        for key in _leaves(layer.content, layer.package)
        if not key.startswith(("defaults", "allow_targets"))
    ]


def _leaves(content: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*path, key))
        else:
            yield ".".join((*path, key))


def _get(recipe: Any, key: str) -> Any:
    for part in key.split("."):
        recipe = recipe.get(part) if isinstance(recipe, Mapping) else None
    return recipe


def _set(recipe: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    for part in path:
        recipe = recipe[part]
    recipe[last] = value
