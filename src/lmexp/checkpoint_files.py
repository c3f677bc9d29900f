"""Checkpoints as entries of a folder: files, or folders of a file a rank (checkpoint_parts)."""

import shutil
from pathlib import Path

from lmexp.atomic import fill_atomically, sync

MANIFEST = "manifest.json"  # of a folder: SHA-256 of each of its files; written last


def exists(path: Path) -> bool:
    """Whether there is a checkpoint, perhaps damaged: a file, or a folder with a manifest."""
    return path.is_file() or (path / MANIFEST).is_file()


def content(path: Path) -> Path:
    """The file that stands for it: names of one checkpoint share it."""
    return path / MANIFEST if (path / MANIFEST).is_file() else path


def remove(path: Path) -> None:
    """Delete it if it is there; never is half of it found under its name."""
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return
    going = path.with_name(f".{path.name}.old")
    shutil.rmtree(going, ignore_errors=True)  # of a process that was killed
    path.rename(going)
    shutil.rmtree(going)


def replace(path: Path, target: Path) -> None:
    """Rename it. Where a folder is replaced there is nothing under the new name for a moment."""
    if path.is_dir() or target.is_dir():
        remove(target)
    path.replace(target)


def link(path: Path, target: Path) -> None:
    """A second name for a checkpoint, where the filesystem has such; else a copy."""
    if exists(target) and content(target).samefile(content(path)):
        return  # renaming one of its names to another would leave both
    if not path.is_dir():
        if target.is_dir():
            remove(target)
        fill_atomically(target, lambda unfinished: _link_file(path, unfinished))
        return
    unfinished = empty_beside(target)
    for file in path.iterdir():
        _link_file(file, unfinished / file.name)
    sync(unfinished)
    replace(unfinished, target)
    sync(target.parent)


def empty_beside(path: Path) -> Path:
    """A new folder in which what is to be at path can be written."""
    unfinished = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed
    unfinished.mkdir()
    return unfinished


def clear(folder: Path) -> None:
    """Delete what processes that were killed have left unfinished."""
    for left in (*folder.glob(".*.ckpt.tmp"), *folder.glob(".*.ckpt.old")):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink()


def _link_file(file: Path, name: Path) -> None:
    try:
        name.hardlink_to(file)
    except OSError:
        shutil.copyfile(file, name)
        sync(name)
