"""What a recipe takes from where its weights come from, when it is frozen.

From the run that `init_from` names, its `model` and `tokenizer`: the weights mean nothing without
them. From a pretrained model, its configuration and its tokenizer. One rule: they win over whatever
files prefer (a data set its tokenizer, train.yaml its model), and the command line may name them
only as they are.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lmexp.checkpoint_files import exists
from lmexp.models import article, targets
from lmexp.origins import COMMAND_LINE, Layer, Origins, shown
from lmexp.run_folder import RECIPE, read_recipe
from lmexp.run_folders import newest_run
from lmexp.signatures import Target, UnknownNameError, find
from lmexp.values import written

INHERITED = ("model", "tokenizer")
WEIGHTLESS = "model.dropout"  # of no weight's shape: the command line may choose it anew


def inherit(
    recipe: dict[str, Any],
    origins: Origins,
    typed: Mapping[str, str],
    follows: Sequence[str],
    packages: Sequence[str],
) -> Origins:
    """Put a run's model and tokenizer into a recipe with init_from; origins that know of it.

    Args:
        recipe: resolved; changed in place, init_from too: it names the run that was found.
        origins: of its keys.
        typed: key or group -> the override that the user typed.
        follows: keys of the recipe that files derive from `data`, which are no choice of their own.
        packages: that may be used.

    Raises:
        FileNotFoundError: there is no such run.
        ValueError: the command line names another model or tokenizer, or the task needs another
            kind of network.
    """
    if recipe.get("init_from") is None or recipe.get("resume") is not None:
        return origins
    path, theirs = _run(str(recipe["init_from"]))
    recipe["init_from"] = str(path)
    _check_kind(recipe, theirs, origins, packages)
    for section in INHERITED:
        own = theirs.get(section)
        if not isinstance(own, Mapping):
            raise ValueError(f"init_from={path}: its recipe has no {section}: it is no run of ours")
        _check_named(section, recipe, own, typed, follows)
        chosen = recipe[section].get("dropout") if WEIGHTLESS in typed else None
        recipe[section] = copy.deepcopy(dict(own))
        if section == "model" and chosen is not None:
            recipe[section]["dropout"] = chosen
    file = shown(path / RECIPE if (path / RECIPE).is_file() else path)
    added = [Layer(file, (section,), recipe[section]) for section in INHERITED]
    before = origins.read_layers
    kept = {g: c for g, c in origins.choices.items() if g not in INHERITED or g in typed}
    return origins._replace(read_layers=lambda: [*before(), *added], choices=kept)


def bring_vocabulary(
    recipe: dict[str, Any], typed: Mapping[str, str], packages: Sequence[str]
) -> None:
    """Put into a recipe what its architecture brings along: its configuration and its tokenizer.

    Args:
        recipe: resolved; changed in place.
        typed: key or group -> the override that the user typed.
        packages: that may be used.

    Raises:
        FileNotFoundError: the model is not there.
        ValueError: it cannot be built, or the command line names a tokenizer.
    """
    section = recipe.get("model")
    model = _target(section, packages)
    if model is None or not model.constants.get("brings_vocabulary") or recipe.get("resume"):
        return
    assert isinstance(section, dict)
    path = section.get("path")
    if not isinstance(path, str) or path == "???":
        return  # the check has something to say
    for key, line in typed.items():
        if key.split(".")[0] == "tokenizer":
            raise ValueError(
                f"{COMMAND_LINE}: {line}: model.path={path} brings its own vocabulary, which its "
                "embedding is of: leave it out"
            )
    if section.get("config") is None:
        from lmexp.networks.pretrained_config import read_config

        section["config"] = read_config(path)
    recipe["tokenizer"] = {"_target_": "lmexp.tokenizers.Pretrained", "path": path}


def _run(named: str) -> tuple[Path, dict[str, Any]]:
    """The run folder or checkpoint that init_from names, and its recipe."""
    if not named:
        raise ValueError("init_from= is empty: name a run, for example init_from=logs/runs/<name>")
    path = Path(named)
    is_file = path.suffix == ".ckpt" and exists(path)
    try:
        folder = newest_run(path)
    except FileNotFoundError as error:
        if not is_file:
            raise FileNotFoundError(f"init_from={error}") from None
        from lmexp import checkpoint as checkpoints

        return path, checkpoints.read(path)["recipe"]
    return path if is_file else folder, read_recipe(folder / RECIPE)


def _check_kind(
    recipe: Mapping[str, Any],
    theirs: Mapping[str, Any],
    origins: Origins,
    packages: Sequence[str],
) -> None:
    """Layers that have learned to look at what came before alone are of no use to an encoder."""
    old, new = (_target(content.get("task"), packages) for content in (theirs, recipe))
    if old is None or new is None:
        return
    had, needed = (task.constants.get("network_kind") for task in (old, new))
    if had == needed or had is None or needed is None:
        return
    names = [
        name
        for name, task in targets("task", origins.folders, packages).items()
        if task.constants.get("network_kind") == had
    ]
    raise ValueError(
        f"init_from={recipe['init_from']}: it trained {article(str(had))} ({old.name}), and "
        f"{origins.named('task', new.name)} needs {article(str(needed))}: name another run, or "
        f"write task={' or '.join(sorted(names))}"
    )


def _target(section: Any, packages: Sequence[str]) -> Target | None:
    try:
        return find(str(section["_target_"]), packages) if isinstance(section, Mapping) else None
    except (KeyError, PermissionError, UnknownNameError):
        return None  # the check has something to say, or the run is of another's package


def _check_named(
    section: str,
    recipe: Mapping[str, Any],
    theirs: Mapping[str, Any],
    typed: Mapping[str, str],
    follows: Sequence[str],
) -> None:
    """What the command line names of a section is what the run has."""
    had = dict(_leaves(theirs, section))
    asked = dict(_leaves(recipe[section], section))
    for key in {**asked, **had}:
        if key.startswith("model.config.") or asked.get(key) == "???":
            continue  # nobody has given it: it is read from files, or was to be given
        if key == WEIGHTLESS:
            continue
        line = next((line for name, line in typed.items() if f"{key}.".startswith(f"{name}.")), "")
        is_named = key in typed or (bool(line) and key not in follows)
        if is_named and asked.get(key) != had.get(key):
            asks = (
                ""
                if line == f"{key}={written(asked.get(key))}"
                else (f" asks for {key}={written(asked.get(key))}")
            )
            raise ValueError(
                f"{COMMAND_LINE}: {line}{asks}, and the weights of "
                f"init_from={recipe['init_from']} are of {key}={written(had.get(key))}: leave it "
                "out, or leave init_from= out to begin from nothing"
            )


def _leaves(content: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    for name, value in content.items():
        key = f"{path}.{name}"
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, key)
        else:
            yield key, value
