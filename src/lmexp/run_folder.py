"""The folder of a run: taken by an exclusive mkdir, before anything slow begins."""

import contextlib
import itertools
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lmexp.record_files import write_atomically

RECIPE = "recipe.yaml"


def time_stamp() -> str:
    """Now, as a folder is named; sorts as it happened."""
    return time.strftime("%Y-%m-%d_%H-%M-%S")


def claim(parent: Path) -> Path:
    """A new folder named after the time, below parent; nobody else has it."""
    parent.mkdir(parents=True, exist_ok=True)
    stamp = time_stamp()
    for suffix in itertools.count(1):
        folder = parent / (stamp if suffix == 1 else f"{stamp}_{suffix}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise AssertionError("itertools.count ended")


def claim_named(folder: Path) -> Path:
    """The folder that the user named; it may be there already, if it is empty.

    Raises:
        FileExistsError: something is in it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir()
    except FileExistsError:
        if not folder.is_dir() or any(folder.iterdir()):
            raise FileExistsError(
                f"{folder} is there and not empty: name another folder, or go on with the run in "
                f"it by resume={folder}"
            ) from None
    return folder


def give_back(folder: Path) -> None:
    """Remove an empty folder, and the one above if nothing else is in it."""
    folder.rmdir()
    with contextlib.suppress(OSError):  # other runs are in it
        folder.parent.rmdir()


def write_recipe(recipe: Mapping[str, Any], folder: Path) -> None:
    """recipe.yaml, in one piece or not at all."""
    text = yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True)
    write_atomically(folder / RECIPE, text)


def read_recipe(path: Path) -> dict[str, Any]:
    """A frozen recipe.

    Raises:
        ValueError: the file is no YAML mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: no valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: no recipe: it should be a mapping with model, task, data, …")
    return content
