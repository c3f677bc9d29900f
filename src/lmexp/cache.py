"""Folders that are built once, by one process, whole or not at all."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from lmexp.atomic import sync


def cache_folder() -> Path:
    """$LMEXP_CACHE, or ~/.cache/lmexp."""
    named = os.environ.get("LMEXP_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "lmexp"


def built(folder: Path, write: Callable[[Path], object]) -> Path:
    """The folder, built first if it is not there.

    One process builds and the others wait for it. The folder is written under another name, synced,
    and renamed when it is whole; a builder that is killed leaves nothing that anybody reads.

    Args:
        folder: named by the hash of all that decides its content.
        write: makes the folder that it is given and flat files in it.
    """
    if folder.exists():
        return folder
    with locked(folder):
        if folder.exists():
            return folder
        temporary = folder.with_name(folder.name + ".tmp")
        shutil.rmtree(temporary, ignore_errors=True)  # of a killed builder: we hold the lock
        try:
            write(temporary)
            for path in (*temporary.iterdir(), temporary):
                sync(path)
            temporary.rename(folder)
            sync(folder.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return folder


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file beside path.

    The lock dies with its process, so a killed builder blocks nobody.

    Raises:
        NotADirectoryError: nothing can be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(path.name + ".lock").open("w")
    except OSError as error:
        raise NotADirectoryError(
            f"{path.parent}: the cache cannot be written ({error.strerror}): set LMEXP_CACHE to a "
            "folder that you may write to"
        ) from None
    with lock as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
