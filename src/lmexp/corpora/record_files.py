"""What corpora of records in files share: where the files are, how they are cut, what is counted.

A record is whatever stays together in one split: a pair of texts, a sentence with its tags, a
paragraph with its questions.
"""

import hashlib
import json
import unicodedata
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from lmexp.corpora.download import Remote
from lmexp.corpora.locate import Found, cache_folder, locate
from lmexp.corpora.piece import Split
from lmexp.corpora.reading import INVALID, REPLACED, OnInvalid, scan
from lmexp.corpora.rows import Row, kind, rows
from lmexp.corpora.splitting import Fractions

Item = TypeVar("Item")
Names = str | list[str]

SPLIT_KEYS = {"train": "data.train", "val": "data.val", "test": "data.test"}
SEEN = "also in another split"


class Entry(NamedTuple, Generic[Item]):
    """What stays together, such as what one line or record holds."""

    key: str  # equal keys, equal splits
    items: tuple[Item, ...]
    flaw: str | None = None  # why they are dropped; REPLACED of those that were changed and stay
    changes: tuple[str, ...] = ()  # further things to count, which drop nothing


class RecordFiles(ABC, Generic[Item]):
    """Records in files, with an official split or cut by a hash of their content.

    A class of them says how one split's files are read (`_read`) and what beside the files decides
    the records (`_settings`).

    Args:
        names: of the files of each split that has its own: names, globs, folders.
        fractions: of the training files, that become the other splits.
        on_invalid: what to do with text that is not UTF-8.
        folder: of a named set, in $LMEXP_DATA and in the cache.
        download: where a named set comes from: entries with file, url, sha256 and perhaps member.
        root: data.root: where the files are looked for first.
        drops_seen: records of the training files that are in the files of val or test too, with the
            same letters and digits, are dropped and counted.

    Raises:
        ValueError: there is nothing to read, or arguments do not go together.
    """

    _things = "records"  # what the files have to hold, for messages
    _keys: Mapping[str, str] = SPLIT_KEYS  # that the names of files were written under

    def __init__(
        self,
        names: Mapping[Split, Sequence[str]],
        fractions: Fractions,
        on_invalid: OnInvalid,
        folder: str | None,
        download: Sequence[Mapping[str, str]],
        root: str | None,
        drops_seen: bool = False,
    ) -> None:
        self._names = dict(names)
        self._fractions = Fractions(
            0.0 if "val" in names else fractions.val, 0.0 if "test" in names else fractions.test
        )
        self._fractions.check()
        self._on_invalid: OnInvalid = on_invalid
        self._folder, self._root = folder, root
        self._remotes = _remotes(download)
        self._drops_seen = drops_seen
        self._found: Found | None = None
        self.counts: Counter[str] = Counter()

    @property
    def source(self) -> str:
        """Which rule found the files, and where."""
        return self._files().source

    @property
    def splits(self) -> tuple[Split, ...]:
        """Those that there are."""
        has = {"train": False, "val": self._fractions.val > 0, "test": self._fractions.test > 0}
        names: tuple[Split, ...] = ("train", "val", "test")
        return tuple(name for name in names if name in self._names or has[name])

    def fingerprint(self) -> str:
        """Hash of the files' content and of what decides how it is read and cut."""
        hashes = {
            split: [
                [(kind(path), scan(path, cache_folder()).sha256) for path in paths]
                for paths in self._paths(split)
            ]
            for split in self._names
        }
        settings = [type(self).__name__, self._settings(), self._fractions, self._on_invalid]
        if self._drops_seen:
            settings.append(SEEN)
        return hashlib.sha256(json.dumps([*settings, hashes], sort_keys=True).encode()).hexdigest()

    def _items(self, split: Split) -> Iterator[Item]:
        """The items of a split, in the order of its files; none of a split that is missing."""
        self.counts = Counter()
        if split not in self.splits:
            return
        own = self._own(split)
        is_shared = own == "train" and any(self._fractions)
        seen = self._seen() if self._drops_seen and own == "train" else set()
        is_empty = True
        for entry in self._read(own):
            key, items, flaw, changes = entry
            is_empty = False
            if is_shared and self._fractions.of_key(key.encode(errors="replace")) != split:
                continue
            if seen and items and _hash(self._identity(entry)) in seen:
                self.counts[SEEN] += 1
                continue
            if flaw is not None:
                self.counts[flaw] += 1
            self.counts.update(changes)
            if flaw in (None, REPLACED):
                yield from items
        if is_empty:
            names = ", ".join(str(path) for paths in self._paths(own) for path in paths)
            raise ValueError(f"{names} has no {self._things}: name files with text in them")

    def _own(self, split: Split) -> Split:
        """The split whose files have the records of this one."""
        return split if split in self._names else "train"

    def _seen(self) -> set[bytes]:
        """Hashes of the keys in val and test, where they have files of their own."""
        others = [split for split in self._names if split != "train"]
        found = (entry for split in others for entry in self._read(split) if entry.items)
        return {_hash(self._identity(entry)) for entry in found}

    def _identity(self, entry: Entry[Item]) -> str:
        """The text that makes it the same as another, for drops_seen; its key unless more is."""
        return entry.key

    @abstractmethod
    def _read(self, split: Split) -> Iterable[Entry[Item]]:
        """All that the files of a split hold."""

    @abstractmethod
    def _settings(self) -> Any:
        """What beside files, fractions and on_invalid decides the items; JSON can hold it."""

    def _rows(self, split: Split) -> Iterator[Row]:
        """The records of a split's files, each file once."""
        for path in self._each_path(split):
            yield from rows(path, self._on_invalid)

    def _each_path(self, split: Split) -> list[Path]:
        """The files of a split, each once."""
        return list(dict.fromkeys(path for paths in self._paths(split) for path in paths))

    def _paths(self, split: Split) -> list[list[Path]]:
        """The files that each name of a split means."""
        found = self._files().paths
        return [found[f"{split} {number}"] for number in range(len(self._names[split]))]

    def _files(self) -> Found:
        if self._found is None:
            patterns = {
                f"{split} {number}": [name]
                for split, names in self._names.items()
                for number, name in enumerate(names)
            }
            keys = {name: self._keys[name.partition(" ")[0]] for name in patterns}
            self._found = locate(patterns, self._root, self._folder, self._remotes, keys)
        return self._found


def names_of_splits(
    files: Names, val: Names | None, test: Names | None, keys: Mapping[str, str]
) -> dict[Split, list[str]]:
    """The names of files by split; a split without is left out.

    Args:
        files: of the training split, or of everything.
        val: of the validation split, if it has its own.
        test: likewise.
        keys: that they were written under, for messages.

    Raises:
        ValueError: a list is empty.
    """
    given: dict[Split, Names | None] = {"train": files, "val": val, "test": test}
    names: dict[Split, list[str]] = {}
    for split, own in given.items():
        if own is None:
            continue
        if not own:
            raise ValueError(
                f"{keys[split]}={own or '[]'} names no file: write names, globs or folders"
            )
        names[split] = [own] if isinstance(own, str) else list(own)
    return names


def worst(flaws: Iterable[str | None]) -> str | None:
    """The flaw of the whole: dropped if a part has to be, else changed if one was."""
    found = set(flaws)
    return INVALID if INVALID in found else REPLACED if REPLACED in found else None


def _hash(key: str) -> bytes:
    """Equal for texts of the same letters and digits, whatever their width and what is between."""
    plain = unicodedata.normalize("NFKC", key)
    bare = "".join(char for char in plain if char.isalnum() or char == "\t") or key
    return hashlib.blake2b(bare.encode(errors="replace"), digest_size=8).digest()


def _remotes(download: Sequence[Mapping[str, str]]) -> list[Remote]:
    try:
        return [Remote(**entry) for entry in download]
    except TypeError as error:
        raise ValueError(
            f"data.corpus.download: each entry has file, url, sha256 and perhaps member ({error})"
        ) from error
