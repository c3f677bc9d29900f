"""What corpora of pairs in files share: where the files are, how they are cut, what is counted."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lmexp.corpora.download import Remote
from lmexp.corpora.locate import Found, cache_folder, locate
from lmexp.corpora.piece import Pair, PairWithTests, Split
from lmexp.corpora.reading import INVALID, REPLACED, OnInvalid, scan
from lmexp.corpora.rows import Row, kind, rows
from lmexp.corpora.splitting import Fractions

Names = str | list[str]
Languages = tuple[str | None, str | None]


class Entry(NamedTuple):
    """Pairs that stay together, those of one line or record."""

    key: str  # equal keys, equal splits
    pairs: tuple[Pair | PairWithTests, ...]
    flaw: str | None = None  # why they are dropped; REPLACED of those that were changed and stay


class PairFiles(ABC):
    """Pairs in files, with an official split or cut by a hash of their content.

    A class of them says how one split's files are read (`_read`) and what beside the files decides
    the text (`_settings`).

    Args:
        names: of the files of each split that has its own: names, globs, folders.
        fractions: of the training files, that become the other splits.
        on_invalid: what to do with text that is not UTF-8.
        languages: codes of source and target.
        folder: of a named set, in $LMEXP_DATA and in the cache.
        download: where a named set comes from: entries with file, url, sha256 and perhaps member.
        root: data.root: where the files are looked for first.

    Raises:
        ValueError: there is nothing to read, or arguments do not go together.
    """

    def __init__(
        self,
        names: Mapping[Split, Sequence[str]],
        fractions: Fractions,
        on_invalid: OnInvalid,
        languages: Languages | None,
        folder: str | None,
        download: Sequence[Mapping[str, str]],
        root: str | None,
    ) -> None:
        self._names = dict(names)
        self._fractions = Fractions(
            0.0 if "val" in names else fractions.val, 0.0 if "test" in names else fractions.test
        )
        self._fractions.check()
        self._on_invalid: OnInvalid = on_invalid
        self.languages: Languages = languages or (None, None)
        self._folder, self._root = folder, root
        self._remotes = _remotes(download)
        self._found: Found | None = None
        self.counts: Counter[str] = Counter()

    @property
    def source(self) -> str:
        """Which rule found the files, and where."""
        return self._files().source

    @property
    def is_tokenised(self) -> bool:
        """Whether whoever made the files cut their text into tokens: no BLEU compares with it."""
        return False

    @property
    def splits(self) -> tuple[Split, ...]:
        """Those that have pairs."""
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
        return hashlib.sha256(json.dumps([*settings, hashes], sort_keys=True).encode()).hexdigest()

    def pairs(self, split: Split) -> Iterator[Pair | PairWithTests]:
        """The pairs of a split, in the order of its files; none of a split that is missing.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: a file is empty, damaged, not UTF-8, or not what the arguments say.
        """
        self.counts = Counter()
        if split not in self.splits:
            return
        own: Split = split if split in self._names else "train"
        is_shared = own == "train" and any(self._fractions)
        is_empty = True
        for key, pairs, flaw in self._read(own):
            is_empty = False
            if is_shared and self._fractions.of_key(key.encode(errors="replace")) != split:
                continue
            if flaw is not None:
                self.counts[flaw] += 1
            if flaw in (None, REPLACED):
                yield from pairs
        if is_empty:
            names = ", ".join(str(path) for paths in self._paths(own) for path in paths)
            raise ValueError(f"{names} has no pairs: name files with text in them")

    @abstractmethod
    def _read(self, split: Split) -> Iterable[Entry]:
        """All that the files of a split hold."""

    @abstractmethod
    def _settings(self) -> Any:
        """What beside files, fractions and on_invalid decides the pairs; JSON can hold it."""

    def _rows(self, split: Split) -> Iterator[Row]:
        """The records of a split's files, each file once."""
        for path in dict.fromkeys(path for paths in self._paths(split) for path in paths):
            yield from rows(path, self._on_invalid)

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
            self._found = locate(patterns, self._root, self._folder, self._remotes)
        return self._found


def names_of_splits(files: Names, val: Names | None, test: Names | None) -> dict[Split, list[str]]:
    """The names of files by split; a split without is left out.

    Raises:
        ValueError: a list is empty.
    """
    given: dict[Split, Names | None] = {"train": files, "val": val, "test": test}
    names: dict[Split, list[str]] = {}
    for split, own in given.items():
        if own is None:
            continue
        if not own:
            key = "data.files" if split == "train" else f"data.{split}_files"
            raise ValueError(f"{key}={own or '[]'} names no file: write names, globs or folders")
        names[split] = [own] if isinstance(own, str) else list(own)
    return names


def worst(flaws: Iterable[str | None]) -> str | None:
    """The flaw of the whole: dropped if a part has to be, else changed if one was."""
    found = set(flaws)
    return INVALID if INVALID in found else REPLACED if REPLACED in found else None


def language_codes(pair: str) -> tuple[str, str]:
    """Source and target of data.pair, such as "en-de".

    Raises:
        ValueError: it is not two codes with a hyphen between.
    """
    codes = pair.split("-")
    if len(codes) != 2 or not all(codes):
        raise ValueError(
            f"data.pair={pair} is not two language codes with a hyphen between: write en-de, or "
            "pt_BR-en where a code has parts"
        )
    return codes[0], codes[1]


def _remotes(download: Sequence[Mapping[str, str]]) -> list[Remote]:
    try:
        return [Remote(**entry) for entry in download]
    except TypeError as error:
        raise ValueError(
            f"data.corpus.download: each entry has file, url, sha256 and perhaps member ({error})"
        ) from error
