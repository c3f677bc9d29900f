"""The folder of a run: taken by an exclusive mkdir, before anything slow begins."""

import contextlib
import fcntl
import itertools
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from lmexp.atomic import write_atomically
from lmexp.errors import not_utf8, one_line
from lmexp.record_files import SUMMARY

RECIPE = "recipe.yaml"
LOCK = ".lock"
WATCH = ".watch"  # of whoever looks after a job of a sweep on a cluster
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # 10 times as fast where libyaml is there


def time_stamp() -> str:
    """Now, as a folder is named; sorts as it happened."""
    return time.strftime("%Y-%m-%d_%H-%M-%S")


def safe(text: str) -> str:
    """Text as part of a path, and of an override without quotes."""
    return re.sub(r"[^\w.]+", "-", text).strip("-.")


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
        NotADirectoryError: it cannot be made.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
    except OSError as error:
        if not folder.is_dir():
            raise NotADirectoryError(
                f"{folder}: no folder can be made there ({one_line(error)}): name one that you may "
                "write to"
            ) from None
        if any(folder.iterdir()):
            raise FileExistsError(
                f"{folder} is there and not empty: name another folder, or go on with the run in "
                f"it by resume={folder}"
            ) from None
    return folder


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Nobody else may train in the folder meanwhile. The lock dies with its process.

    Raises:
        ValueError: another process holds it.
    """
    with (folder / LOCK).open("w") as file:
        try:
            fcntl.lockf(
                file, fcntl.LOCK_EX | fcntl.LOCK_NB
            )  # unlike flock not inherited by workers
        except (BlockingIOError, PermissionError):
            raise ValueError(
                f"{folder}: another process is training in it: wait for its end, or begin a run "
                "of your own without resume= and hydra.run.dir="
            ) from None
        yield


def is_held(folder: Path) -> bool:
    """Whether a process trains in the folder, or runs the sweep in it."""
    return _is_locked(folder / LOCK)


@contextlib.contextmanager
def watched(folder: Path) -> Iterator[None]:
    """Nobody else looks after the sweep's job in the folder meanwhile; waits for whoever does."""
    with (folder / WATCH).open("w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        yield


def is_watched(folder: Path) -> bool:
    """Whether a process of a cluster looks after the job in the folder."""
    return _is_locked(folder / WATCH)


def _is_locked(file: Path) -> bool:
    if not file.exists():
        return False
    with file.open() as opened:  # to read: it may be somebody else's
        try:
            fcntl.lockf(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return True
    return False


def give_back(folder: Path) -> None:
    """Remove the folder of a run that never began, and the one above if nothing else is in it."""
    if (folder / SUMMARY).exists():
        return
    shutil.rmtree(folder)
    with contextlib.suppress(OSError):  # other runs are in it
        folder.parent.rmdir()


def write_recipe(recipe: Mapping[str, Any], folder: Path) -> None:
    """recipe.yaml, in one piece or not at all."""
    text = yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True)
    write_atomically(folder / RECIPE, text)


def read_recipe(path: Path) -> dict[str, Any]:
    """A frozen recipe.

    Raises:
        FileNotFoundError: a folder without a recipe.yaml.
        ValueError: the file is no YAML mapping.
    """
    if path.is_dir():
        path = path / RECIPE
        if not path.exists():
            raise FileNotFoundError(f"{path.parent} has no {RECIPE}: name a run's folder or recipe")
    try:
        content = _LOADER(path.read_text(encoding="utf-8")).get_single_data()
    except UnicodeDecodeError as error:
        raise not_utf8(path, error) from None
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: no valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: no recipe: it should be a mapping with model, task, data, …")
    return content
