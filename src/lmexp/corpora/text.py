"""Text in files: plain, .gz or .zst; one record a line (.jsonl), or a list of records (.json)."""

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Lt

from lmexp.corpora.download import Remote
from lmexp.corpora.locate import Found, cache_folder, locate
from lmexp.corpora.piece import Piece, Split
from lmexp.corpora.reading import REPLACED, OnInvalid, Scan, scan
from lmexp.corpora.records import Document, Part, has_records, parts
from lmexp.corpora.splitting import Fractions

Names = str | list[str]
KEYS = {
    "train": "data.files",
    "val": "data.corpus.val_files",
    "test": "data.corpus.test_files",
}

_TAIL_OF_RECORDS = 2  # how their files are cut; rises with each change, so that caches are not used


class TextFiles:
    """Text in files, with an official split or cut in the same way each time.

    A record of .jsonl or .json is a document, or with document=split a line; of other files
    `document` says what one is. Files are read by streaming, but for .json, which is read whole.

    Args:
        files: of the training split, or of everything: names, globs, folders.
        val_files: of the validation split; None cuts val_fraction off `files`.
        test_files: of the test split; None cuts test_fraction off `files`.
        val_fraction: of the characters (cut=tail) or documents (cut=documents).
        test_fraction: likewise.
        cut: tail: of each file the end, val before test; a document of a line or paragraph or
            record stays whole. documents: whole documents, by a hash of their content, so that
            equal ones fall into the same split.
        document: file; line; blank_line: blank lines end it; article: a title as of WikiText begins
            it; split: the split is one continuous text.
        text_field: of a record; its value is a string, or a list of lines.
        on_invalid: what to do with a line that is not UTF-8: error, replace or drop; both
            are counted.
        documents: what document= is to a task that needs some, where the text is continuous.
        folder: of a named set, in $LMEXP_DATA and in the cache.
        download: where a named set comes from: entries with file, url, sha256 and perhaps member.
        root: data.root: where the files are looked for first.

    Raises:
        ValueError: arguments that do not go together.
    """

    def __init__(
        self,
        files: Names,
        val_files: Names | None,
        test_files: Names | None,
        val_fraction: Annotated[float, Ge(0), Lt(1)],
        test_fraction: Annotated[float, Ge(0), Lt(1)],
        cut: Literal["tail", "documents"],
        document: Document,
        text_field: str,
        on_invalid: OnInvalid,
        documents: Document | None = None,
        folder: str | None = None,
        download: Sequence[Mapping[str, str]] = (),
        root: str | None = None,
    ) -> None:
        own = {"train": files, "val": val_files, "test": test_files}
        self._patterns = {
            split: [names] if isinstance(names, str) else list(names)
            for split, names in own.items()
            if names is not None
        }
        for split, names in self._patterns.items():
            if not names:
                raise ValueError(f"{KEYS[split]}=[] names no file: write names, globs or folders")
        self._fractions = Fractions(
            0.0 if "val" in self._patterns else val_fraction,
            0.0 if "test" in self._patterns else test_fraction,
        )
        self._fractions.check()
        if cut == "documents" and document == "split":
            raise ValueError(
                "data.corpus.cut=documents, but document=split makes one document of everything: "
                "write data.corpus.cut=tail, or document=line, blank_line or file"
            )
        self._cut, self._document, self._documents = cut, document, documents
        self._text_field = text_field
        self._on_invalid: OnInvalid = on_invalid
        self._folder, self._root = folder, root
        self._remotes = _remotes(download)
        self._found: Found | None = None
        self._scans: dict[Path, Scan] = {}
        self.counts: Counter[str] = Counter()

    @property
    def is_stream(self) -> bool:
        """With document=split."""
        return self._document == "split"

    def take_documents(self) -> None:
        """See the package; a continuous text has those of documents=.

        Raises:
            ValueError: there is no such.
        """
        if self._documents is None:
            raise ValueError(
                "data.corpus.document=split makes one continuous text of everything, and this task "
                "reads documents: write data.corpus.document=line, blank_line, article or file"
            )
        self._document = self._documents

    @property
    def source(self) -> str:
        """Which rule found the files, and where."""
        return self._files().source

    @property
    def splits(self) -> tuple[Split, ...]:
        """Those that have text."""
        has = {"val": self._fractions.val > 0, "test": self._fractions.test > 0}
        names: tuple[Split, ...] = ("train", "val", "test")
        return tuple(name for name in names if name in self._patterns or has[name])

    def fingerprint(self) -> str:
        """Hash of the files' content and of what decides how it is cut."""
        settings: list[Any] = [self._fractions, self._cut, self._document, self._text_field]
        hashes = {
            split: [self._scan(path).sha256 for path in paths]
            for split, paths in self._files().paths.items()
        }
        if self._cut == "tail" and any(self._fractions) and any(map(has_records, self._all())):
            settings.append(_TAIL_OF_RECORDS)
        text = json.dumps([*settings, self._on_invalid, hashes], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def pieces(self, split: Split) -> Iterator[Piece]:
        """The text of a split, line by line; none of a split that is missing.

        Raises:
            ValueError: all files are empty, or one is damaged or not UTF-8.
        """
        self.counts = Counter()
        if split not in self.splits:
            return
        own = self._files().paths
        is_shared = any(self._fractions) and (split == "train" or split not in own)
        number = -1
        for path in self._with_text(own.get(split, own["train"])):
            found = parts(path, self._document, self._text_field, self._on_invalid)
            if is_shared:
                found = self._share(found, path, split)
            for part in found:
                if part.begins and (number < 0 or not self.is_stream):
                    number += 1
                if part.flaw is not None:
                    self.counts[part.flaw] += 1
                if part.flaw in (None, REPLACED):
                    yield Piece(part.text, number)

    def _files(self) -> Found:
        if self._found is None:
            self._found = locate(self._patterns, self._root, self._folder, self._remotes, KEYS)
        return self._found

    def _all(self) -> list[Path]:
        return [path for paths in self._files().paths.values() for path in paths]

    def _scan(self, path: Path) -> Scan:
        if path not in self._scans:
            self._scans[path] = scan(path, cache_folder())
        return self._scans[path]

    def _with_text(self, paths: Sequence[Path]) -> list[Path]:
        found = [path for path in paths if self._scan(path).num_chars]
        if not found:
            raise ValueError(f"{', '.join(map(str, paths))} is empty: name files with text in them")
        if len(found) < len(paths):
            self.counts["empty file"] = len(paths) - len(found)
        return found

    def _share(self, found: Iterator[Part], path: Path, split: Split) -> Iterator[Part]:
        """What of a file belongs to a split."""
        content = self._scan(path)
        if self._cut == "documents":
            return _documents_of(found, self._fractions, split, content.sha256)
        if self._document in ("file", "split") and not has_records(path):
            return _characters_of(found, self._fractions.bounds(content.num_chars), split)
        return _tail_of(found, self._fractions, split, content.num_chars)


def _remotes(download: Sequence[Mapping[str, str]]) -> list[Remote]:
    try:
        return [Remote(**entry) for entry in download]
    except TypeError as error:
        raise ValueError(
            f"data.corpus.download: each entry has file, url, sha256 and perhaps member ({error})"
        ) from error


def _documents_of(
    found: Iterator[Part], fractions: Fractions, split: Split, sha256: str
) -> Iterator[Part]:
    """Whole documents, by a hash of their content, or of the file's and their number in it."""
    home: Split = "train"
    number = 0
    for part in found:
        if part.begins:
            home = fractions.of_key(f"{sha256} {number}".encode() if part.key is None else part.key)
            number += 1
        if home == split:
            yield part


def _tail_of(
    found: Iterator[Part], fractions: Fractions, split: Split, size: int
) -> Iterator[Part]:
    """Whole documents, by the place where they begin."""
    home: Split = "train"
    position = 0
    for part in found:
        if part.begins:
            home = fractions.of_position(position, size)
        position += part.size
        if home == split:
            yield part
        elif split == "train":
            return


def _characters_of(found: Iterator[Part], bounds: tuple[int, int], split: Split) -> Iterator[Part]:
    """Exactly the characters of a split; the first and the last line may be parts of one."""
    val, test = bounds
    begin, end = {"train": (0, val), "val": (val, test), "test": (test, sys.maxsize)}[split]
    position, begins = 0, True
    for part in found:
        start, position = position, position + part.size
        if start >= end:
            return
        if position > begin:
            text = part.text[max(0, begin - start) : end - start]
            yield part._replace(text=text, begins=begins)
            begins = False
