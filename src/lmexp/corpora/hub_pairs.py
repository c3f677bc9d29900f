"""Translations of the Hugging Face hub: parquet files by pair and split, read row by row."""

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from lmexp.corpora.download import Remote, fetch
from lmexp.corpora.locate import Found, places_of
from lmexp.corpora.pair_files import PairEntry
from lmexp.corpora.piece import Pair
from lmexp.corpora.record_files import Entry

SPLITS = {"train": "train", "val": "validation"}  # their names there
_FIELD = "translation"  # of a row: a record of texts by language
_ROWS = 1000  # in memory
_TIMEOUT_SECONDS = 30


def parquet_entries(paths: Sequence[Path], source: str, target: str) -> Iterator[PairEntry]:
    """The pairs of files, one file after the other, a few rows in memory.

    Args:
        paths: parquet files with a column `translation` of records by language.
        source: code of the language of the sources.
        target: likewise.

    Raises:
        ValueError: a file is damaged, or lacks one of the languages.
    """
    for path in paths:
        for number, pair in enumerate(_rows(path, source, target), start=1):
            if None in pair:
                raise ValueError(f"{path}: row {number:,} lacks {source} or {target}")
            yield Entry(pair[0], (Pair(*pair),))


def _rows(path: Path, source: str, target: str) -> Iterator[tuple[Any, Any]]:
    try:
        for texts in _columns(path, source, target):
            yield from zip(*texts, strict=True)
    except (OSError, ValueError) as error:  # pyarrow's errors are of these
        raise ValueError(
            f"{path} is no whole parquet file of translations from {source} to {target} "
            f"({error}): delete it, and it is downloaded again"
        ) from error


def _columns(path: Path, source: str, target: str) -> Iterator[tuple[list[Any], list[Any]]]:
    """The texts of both languages, some rows at a time."""
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        schema = file.schema_arrow
        kind = schema.field(_FIELD).type if _FIELD in schema.names else None
        there = [kind.field(n).name for n in range(kind.num_fields)] if kind is not None else []
        if not {source, target} <= set(there):
            has = f"{_FIELD} of {', '.join(there)}" if there else ", ".join(schema.names)
            raise ValueError(f"it has {has}")
        for batch in file.iter_batches(batch_size=_ROWS, columns=[_FIELD]):
            records = batch.column(0)
            yield records.field(source).to_pylist(), records.field(target).to_pylist()


def find(repository: str, config: str, revision: str, root: Path | None) -> Found:
    """The parquet files of train and val, downloaded if need be.

    With root only there; else in $LMEXP_DATA/NAME and in the cache, and then they are downloaded
    into it. NAME is that of the set, with its revision unless that is main.

    Args:
        repository: of the set: owner/name.
        config: its configuration, a folder there.
        revision: a commit, branch or tag.
        root: a copy of the set.

    Raises:
        FileNotFoundError: they are not there, and the download failed; says what to put where.
        ValueError: a checksum is wrong.
    """
    name = repository.split("/")[1] + ("" if revision == "main" else f"-{revision}")
    places = places_of(None, name) if root is None else {"data.root": root}
    for place, folder in places.items():
        paths = {split: shards(folder / config, there) for split, there in SPLITS.items()}
        if all(paths.values()):
            return Found(paths, f"{place} {folder / config}")
    tried = ", ".join(f"{place} {folder / config}" for place, folder in places.items())
    remedy = f"the folder {config} of the hub's set {repository} has"
    if root is not None:
        raise FileNotFoundError(
            f"{tried} lacks files such as train-00000-of-00003.parquet: put all there that "
            f"{remedy}, or leave data.root out, and they are downloaded"
        )
    from huggingface_hub.constants import ENDPOINT

    listing = f"{ENDPOINT}/api/datasets/{repository}/tree/{revision}/{config}"
    folder = places["cache"] / config
    try:
        fetch(_remotes(listing), folder)
    except OSError as error:
        raise FileNotFoundError(
            f"data set {repository} is not in {tried}, and downloading {listing} failed ({error}): "
            f"try again with a network, or put what {remedy} into one of these folders, or name a "
            "folder with files of yours in data.root"
        ) from error
    paths = {split: shards(folder, there) for split, there in SPLITS.items()}
    if not all(paths.values()):
        raise ValueError(
            f"{folder} has not all files of train and validation, or those of two versions, after "
            f"the download from {listing}: delete the folder, and try again"
        )
    return Found(paths, f"downloaded to {folder}")


def shards(folder: Path, split: str) -> list[Path]:
    """The files of a split, such as train-00000-of-00003.parquet; none if not all are there."""
    paths = sorted(folder.glob(f"{split}-*.parquet"))
    names = [re.match(rf"{split}-(\d+)-of-(\d+)", path.name) for path in paths]
    found = [(int(name[1]), int(name[2])) for name in names if name is not None]
    return paths if found == [(number, len(paths)) for number in range(len(paths))] else []


def _remotes(listing: str) -> list[Remote]:
    """The files of train and val that the hub lists, with the checksums that it tells."""
    opener = urllib.request.build_opener()
    opener.addheaders = [("User-Agent", "lmexp")]
    wanted = tuple(f"{name}-" for name in SPLITS.values())
    try:
        with opener.open(listing, timeout=_TIMEOUT_SECONDS) as response:
            names = {PurePosixPath(entry["path"]).name: entry for entry in json.load(response)}
        folder = listing.replace("/api/", "/", 1).replace("/tree/", "/resolve/", 1)
        return [
            Remote(name, f"{folder}/{name}", entry["lfs"]["oid"])
            for name, entry in names.items()
            if name.startswith(wanted) and name.endswith(".parquet")
        ]
    except urllib.error.HTTPError as error:
        error.close()  # it holds the connection
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise OSError(f"it gave no list of files with checksums: {error!r}") from error
