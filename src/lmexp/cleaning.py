"""Rules that change or drop lines, in any language; what is dropped is counted by reason."""

import dataclasses
import hashlib
import html
import re
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Annotated, Protocol, Self, TypeVar

import numpy as np
from annotated_types import Gt
from numpy.typing import NDArray

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # Unicode's Cc but for \t and \n
_SPACES = frozenset("\x0b\x0c\r\x1c\x1d\x1e\x1f\x85")  # those of them that keep words apart
_BLOCK_LINES = 4096  # compared with all earlier ones at once
_RECENT_HASHES = 1 << 18  # in memory; older ones are on disk
_MERGED_HASHES = 1 << 16  # of the longer run, at a time


class Piece(Protocol):
    """A line of some document."""

    @property
    def text(self) -> str: ...
    def _replace(self, *, text: str) -> Self: ...


P = TypeVar("P", bound=Piece)


@dataclasses.dataclass(frozen=True)
class Cleaning:
    r"""Each rule is optional; they apply in this order.

    Args:
        unescape_html: "&lt;" becomes "<", "&#8212;" a dash, as HTML 5 says.
        strip_control: control characters but "\t" and "\n" go, so CRLF becomes LF; those that keep
            words apart, such as a form feed inside a line, become a space. The count is of
            characters.
        nfc: Unicode's canonical composition: "e" and a combining accent become one character.
        drop_blank: drop lines of nothing but white space.
        max_bytes: drop lines that are longer in UTF-8; None keeps them.
        drop_duplicates: drop a line that was there before in the same split, blank ones excepted.
            Lines are compared by 64-bit hashes, of which all but the latest are on disk.
    """

    unescape_html: bool
    strip_control: bool
    nfc: bool
    drop_blank: bool
    max_bytes: Annotated[int, Gt(0)] | None
    drop_duplicates: bool

    def clean(self, pieces: Iterator[P], counts: Counter[str]) -> Iterator[P]:
        """The lines that stay, changed where a rule says so.

        Args:
            pieces: of one split.
            counts: of what is dropped, by reason; added to.
        """
        changed = self._changed(pieces, counts)
        return _first_of_each(changed, counts) if self.drop_duplicates else changed

    def _changed(self, pieces: Iterator[P], counts: Counter[str]) -> Iterator[P]:
        for piece in pieces:
            text = self._text(piece.text, counts)
            reason = self._reason(text)
            if reason is not None:
                counts[reason] += 1
            else:
                yield piece if text is piece.text else piece._replace(text=text)

    def _text(self, text: str, counts: Counter[str]) -> str:
        if self.unescape_html and "&" in text:
            text = html.unescape(text)
        if self.strip_control and _CONTROL.search(text):
            text, number = re.subn(r"\r(?=\n)", "", text)
            text, more = _CONTROL.subn(lambda m: " " if m[0] in _SPACES else "", text)
            counts["control character"] += number + more
        if self.nfc and not unicodedata.is_normalized("NFC", text):
            text = unicodedata.normalize("NFC", text)
        return text

    def _reason(self, text: str) -> str | None:
        """Why a line has to go, or None."""
        if not text:
            return "empty"
        if self.drop_blank and text.isspace():
            return "blank"
        if self.max_bytes is not None and len(text.encode()) > self.max_bytes:
            return f"longer than {self.max_bytes} bytes"
        return None


def _first_of_each(pieces: Iterator[P], counts: Counter[str]) -> Iterator[P]:
    with tempfile.TemporaryDirectory(prefix="lmexp-") as folder:
        seen = _Seen(Path(folder))
        while block := list(islice(pieces, _BLOCK_LINES)):
            old = seen.before([_hash(piece.text) for piece in block])
            for piece, is_old in zip(block, old, strict=True):
                if is_old and not piece.text.isspace():
                    counts["duplicate"] += 1
                else:
                    yield piece


def _hash(text: str) -> int:
    line = text.removesuffix("\n").encode()  # the last one of a file may lack it
    return int.from_bytes(hashlib.blake2b(line, digest_size=8).digest(), "little")


class _Seen:
    """A set of 64-bit hashes in bounded memory: sorted runs on disk, as long as powers of two."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._recent: set[int] = set()
        self._runs: list[NDArray[np.uint64]] = []  # the longest first
        self._written = 0

    def before(self, hashes: list[int]) -> list[bool]:
        """Whether each was there before; then they all are."""
        wanted = np.array(hashes, dtype=np.uint64)
        on_disk = np.zeros(len(wanted), dtype=bool)
        for run in self._runs:
            places = np.minimum(np.searchsorted(run, wanted), len(run) - 1)
            on_disk |= run[places] == wanted
        old = []
        for number, is_on_disk in zip(hashes, on_disk.tolist(), strict=True):
            old.append(is_on_disk or number in self._recent)
            if not is_on_disk:
                self._recent.add(number)
        if len(self._recent) >= _RECENT_HASHES:
            self._store(np.sort(np.fromiter(self._recent, dtype=np.uint64)))
            self._recent.clear()
        return old

    def _store(self, run: NDArray[np.uint64]) -> None:
        while self._runs and len(self._runs[-1]) < 2 * len(run):
            run = self._write(self._runs.pop(), run)
        self._runs.append(run if isinstance(run, np.memmap) else self._write(run[:0], run))

    def _write(self, older: NDArray[np.uint64], newer: NDArray[np.uint64]) -> NDArray[np.uint64]:
        self._written += 1
        path = self._folder / f"{self._written}.bin"
        with path.open("wb") as file:
            _merge_into(file, older, newer)
        for merged in (older, newer):
            if isinstance(merged, np.memmap):
                Path(str(merged.filename)).unlink()
        return np.memmap(path, dtype=np.uint64, mode="r")


def _merge_into(file: IO[bytes], first: NDArray[np.uint64], second: NDArray[np.uint64]) -> None:
    """Write two sorted arrays as one, a part at a time."""
    begin = 0
    for start in range(0, len(first), _MERGED_HASHES):
        part = first[start : start + _MERGED_HASHES]
        end = int(np.searchsorted(second, part[-1], side="right"))
        file.write(np.sort(np.concatenate([part, second[begin:end]])).tobytes())
        begin = end
    file.write(second[begin:].tobytes())
