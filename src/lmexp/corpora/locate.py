"""Where the files of a corpus are."""

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lmexp.corpora.download import Remote, fetch
from lmexp.errors import say

_PACKED = ("", ".gz", ".zst")  # a file may be compressed, wherever it is looked for


class Found(NamedTuple):
    """Files, and which rule found them."""

    paths: dict[str, list[Path]]  # by split, in order
    source: str


def cache_folder() -> Path:
    """$LMEXP_CACHE, or ~/.cache/lmexp."""
    named = os.environ.get("LMEXP_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "lmexp"


def locate(
    patterns: dict[str, list[str]],
    root: str | None,
    folder: str | None,
    remotes: Sequence[Remote],
    keys: Mapping[str, str],
) -> Found:
    """Find the files of a corpus, and download those of a named set if need be.

    Files without a named set are looked for in root, or where the program was started. Those of a
    named set in root, in $LMEXP_DATA/folder, in the cache, and then they are downloaded there.

    Args:
        patterns: by split: names of files, globs, folders (all files in them).
        root: data.root.
        folder: of the named set; None if there is none.
        remotes: where the files of a named set can be downloaded.
        keys: that the patterns of each split were written under, for messages.

    Raises:
        FileNotFoundError: naming what was tried and which files to put where.
    """
    if folder is None:
        base = Path(root or ".").expanduser()
        return Found(
            {split: resolve(names, base, f"{keys[split]}=") for split, names in patterns.items()},
            ", ".join(str(base / name) for names in patterns.values() for name in names),
        )
    places = places_of(root, folder)
    if root is not None and not places["data.root"].is_dir():
        say(f"data.root={root} is no folder: {folder} is looked for elsewhere")
    for name, place in places.items():
        try:
            paths = {split: resolve(names, place) for split, names in patterns.items()}
        except FileNotFoundError:
            continue
        return Found(paths, f"{name} {place}")
    return _downloaded(patterns, folder, remotes, places)


def places_of(root: str | None, folder: str) -> dict[str, Path]:
    """Where a named set is looked for, in this order: by name, for messages.

    Args:
        root: data.root.
        folder: of the set, in $LMEXP_DATA and in the cache.
    """
    places = {}
    if root is not None:
        places["data.root"] = Path(root).expanduser()
    if named := os.environ.get("LMEXP_DATA"):
        places["LMEXP_DATA"] = Path(named).expanduser() / folder
    places["cache"] = cache_folder() / "data" / folder
    return places


def _downloaded(
    patterns: dict[str, list[str]], folder: str, remotes: Sequence[Remote], places: dict[str, Path]
) -> Found:
    tried = ", ".join(f"{name} {place}" for name, place in places.items())
    wanted = ", ".join(name for names in patterns.values() for name in names)
    remedy = (
        f"put {wanted} (or .gz, .zst) into one of these folders, or set LMEXP_DATA to a folder "
        f"that has them in {folder}/"
    )
    if not remotes:
        raise FileNotFoundError(f"data set {folder} is not in {tried}: {remedy}")
    try:
        fetch(remotes, places["cache"])
    except OSError as error:
        urls = ", ".join(dict.fromkeys(remote.url for remote in remotes))
        raise FileNotFoundError(
            f"data set {folder} is not in {tried}, and downloading {urls} failed ({error}): "
            f"{remedy}"
        ) from error
    paths = {split: resolve(names, places["cache"]) for split, names in patterns.items()}
    return Found(paths, f"downloaded to {places['cache']}")


def resolve(patterns: Sequence[str], base: Path, written: str = "") -> list[Path]:
    """The files that names, globs and folders mean, each once; sorted within a glob or folder.

    Args:
        patterns: names, globs, folders.
        base: what they are relative to.
        written: what stands before a pattern in a message, `data.files=`.

    Raises:
        FileNotFoundError: a pattern means no file.
        ValueError: it cannot be a pattern.
    """
    paths: dict[Path, None] = {}
    for pattern in patterns:
        try:
            paths.update(dict.fromkeys(_files(pattern, base)))
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{written}{error}") from None
        except ValueError as error:
            raise ValueError(f"{written}{error}") from None
    return list(paths)


def _files(pattern: str, base: Path) -> list[Path]:
    path = base / Path(pattern).expanduser()
    for suffix in _PACKED:
        packed = path.with_name(path.name + suffix) if suffix else path
        if packed.is_file():
            return [packed]
    if path.is_dir():
        found = [file for file in path.rglob("*") if file.is_file() and not _is_hidden(file, path)]
    else:
        found = [file for file in _matching(pattern, base) if file.is_file()]
    if not found:
        raise FileNotFoundError(_nothing(pattern, path, base))
    return sorted(found)


def _matching(pattern: str, base: Path) -> list[Path]:
    expanded = Path(pattern).expanduser()
    try:
        if expanded.is_absolute():
            anchor = Path(expanded.anchor)
            return list(anchor.glob(str(expanded.relative_to(anchor))))
        return list(base.glob(str(expanded)))
    except ValueError as error:
        raise ValueError(f"{pattern}: {error}") from error


def _is_hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


def _nothing(pattern: str, path: Path, base: Path) -> str:
    if path.is_dir():
        return f"{pattern}: the folder {path.resolve()} has no files: put text into it"
    is_glob = any(mark in pattern for mark in "*?[")
    names = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() and not is_glob else []
    near = difflib.get_close_matches(path.name, names, n=1)
    hint = f"did you mean {path.with_name(near[0])}?" if near else "write names, globs or folders"
    if is_glob:
        return f"{pattern}: nothing under {base.resolve()} has such a name; {hint}"
    where = path.parent.resolve()
    return f"{pattern}: there is no such file in {where}; {hint}"
