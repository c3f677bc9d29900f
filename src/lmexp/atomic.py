"""Files that are written whole or not at all, whatever is killed and however full the disk is."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the disk, a quota, a limit on files


def sync(path: Path) -> None:
    """Put what was written to a file, or the names in a folder, on the disk."""
    if path.is_dir() and os.name != "posix":  # elsewhere a folder cannot be opened
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fill_atomically(path: Path, fill: Callable[[Path], object]) -> None:
    """Let `fill` write a file beside path, then put it in place.

    Raises:
        OSError: it could not be written, the disk is full; what stood at path is untouched.
    """
    unfinished = path.with_name(f".{path.name}.tmp")
    try:
        unfinished.unlink(missing_ok=True)  # of a process that was killed
        fill(unfinished)
        sync(unfinished)
        unfinished.replace(path)
    except BaseException as error:
        unfinished.unlink(missing_ok=True)
        if isinstance(error, FileNotFoundError) and not path.parent.exists():
            raise FileNotFoundError(
                error.errno, f"{path.parent} is gone: somebody has removed it meanwhile"
            ) from error
        if isinstance(error, OSError) and error.errno in FULL:
            raise OSError(
                error.errno,
                f"{path} could not be written ({error.strerror}): what stood there is untouched; "
                "free some space and try again, of a training by resume=",
            ) from error
        raise
    sync(path.parent)


def write_atomically(path: Path, text: str) -> None:
    """Write a text file in UTF-8.

    Raises:
        OSError: as fill_atomically.
    """
    fill_atomically(path, lambda file: file.write_text(text, encoding="utf-8", newline="\n"))
