"""Text tokenised once into a memory-mapped file.

A store is a folder, named by the hash of everything that decides its content:

    tokens.bin     uint16 or uint32: the framed documents, one after the other
    documents.bin  _DOCUMENT: where each document begins, its size, a hash of its text
    lines.bin      uint64: a hash of each line that is not blank, for the overlap between splits
    begins.bin     _LINE: where each of them begins, in tokens and in bytes; of val and test alone
    store.json     counts

A document becomes `bos t1 … tn eos`; a continuous text `bos t1 … tn`. Everything is streamed:
memory does not grow with the text.
"""

import contextlib
import errno
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

FORMAT = 1  # of a store's files; part of its key
_BLOCK_CHARS = 1_000_000  # text tokenised at once
_DOCUMENT = np.dtype([("start", "<i8"), ("bytes", "<i8"), ("chars", "<i8"), ("hash", "<u8")])
_LINE = np.dtype([("start", "<i8"), ("byte", "<i8")])
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


class Piece(Protocol):
    """Some text of one document; what a corpus yields."""

    @property
    def text(self) -> str: ...
    @property
    def document(self) -> int: ...


class Tokenizer(Protocol):
    """What packing asks of a tokenizer."""

    @property
    def vocab_size(self) -> int: ...
    def encode_many(self, texts: Sequence[str]) -> list[NDArray[Any]]: ...


class EmptyTextError(ValueError):
    """Nothing is left of a text, or nothing was there."""

    @classmethod
    def of(cls, dropped: Counter[str]) -> "EmptyTextError":
        """The error that says what became of the text."""
        reasons = ", ".join(f"{number:,} {reason}" for reason, number in dropped.items())
        return cls(f"dropped: {reasons}" if reasons else "nothing was read")


class Frame(NamedTuple):
    """The reserved ids around a document."""

    bos_id: int
    eos_id: int | None  # None: a continuous text has no end
    unk_id: int  # counted
    keeps_lines: bool = False  # where lines begin is kept, so that they can be scored one by one


class TokenStore:
    """A store on disk, read by memory map; pickled as its path.

    Bytes and characters are of the cleaned text, in UTF-8.

    Args:
        folder: written by write_store.

    Raises:
        ValueError: the folder's files are not as long as its counts say.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.counts: dict[str, Any] = json.loads((folder / "store.json").read_text("utf-8"))
        self.num_tokens: int = self.counts["tokens"]
        self.num_documents: int = self.counts["documents"]
        self.num_bytes: int = self.counts["bytes"]
        self.num_chars: int = self.counts["chars"]
        self.num_unk: int = self.counts["unk"]
        self.tokens: NDArray[Any] = mapped(
            folder / "tokens.bin", self.counts["dtype"], self.num_tokens
        )
        documents = mapped(folder / "documents.bin", _DOCUMENT, self.num_documents)
        self.document_starts: NDArray[np.int64] = documents["start"]
        self.document_bytes: NDArray[np.int64] = documents["bytes"]
        self.document_chars: NDArray[np.int64] = documents["chars"]
        self.document_hashes: NDArray[np.uint64] = documents["hash"]
        self.line_hashes: NDArray[np.uint64] = mapped(
            folder / "lines.bin", "<u8", self.counts["hashes"]
        )
        lines = mapped(folder / "begins.bin", _LINE, self.counts["begins"])
        self.line_starts: NDArray[np.int64] = lines["start"]
        self.line_bytes: NDArray[np.int64] = lines["byte"]  # of the text before each

    def __reduce__(self) -> tuple[type["TokenStore"], tuple[Path]]:
        return TokenStore, (self.folder,)

    @property
    def num_predicted(self) -> int:
        """Tokens that a language model predicts: all but the first of each document."""
        return self.num_tokens - self.num_documents


def mapped(path: Path, dtype: Any, length: int) -> NDArray[Any]:
    """An array of a store, read by memory map.

    Raises:
        ValueError: the file is shorter or longer.
    """
    wanted = length * np.dtype(dtype).itemsize
    if path.stat().st_size != wanted:
        raise ValueError(
            f"{path} has {path.stat().st_size:,} bytes instead of {wanted:,}: "
            f"remove the folder {path.parent}, it will be built again"
        )
    if not length:
        return np.empty(0, dtype=dtype)
    return np.asarray(np.memmap(path, dtype=dtype, mode="r"))


@contextlib.contextmanager
def tells_a_full_disk(folder: Path) -> Iterator[None]:
    """Where tokens are written.

    Raises:
        OSError: the disk is full or read-only, with what to do.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise OSError(
            f"{error.strerror} while writing tokens to {folder}: make room there, "
            "or set LMEXP_CACHE to a folder on a disk that has some"
        ) from error


def write_store(
    folder: Path,
    pieces: Callable[[Counter[str]], Iterable[Piece]],
    tokenizer: Tokenizer,
    frame: Frame,
) -> TokenStore:
    """Tokenise into a new folder, streamed.

    Args:
        folder: to be made.
        pieces: reads the text and counts by reason what it drops.
        tokenizer: fitted.
        frame: reserved ids.

    Raises:
        EmptyTextError: there is no text.
        OSError: the disk is full or read-only.
    """
    dropped: Counter[str] = Counter()
    with tells_a_full_disk(folder):
        folder.mkdir(parents=True)
        with _Writer(folder, frame, tokenizer.vocab_size) as writer:
            for block in _blocks(pieces(dropped)):
                writer.add(block, tokenizer.encode_many([piece.text for piece in block]))
        counts = writer.counts()
        if counts["tokens"] == counts["documents"]:
            raise EmptyTextError.of(dropped)
        counts["dropped"] = dict(sorted(dropped.items()))
        (folder / "store.json").write_text(json.dumps(counts, indent=1) + "\n", encoding="utf-8")
    return TokenStore(folder)


class _Writer:
    """Appends framed documents to the files of a store."""

    def __init__(self, folder: Path, frame: Frame, vocab_size: int) -> None:
        self._frame = frame
        self._dtype = np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")
        self._files = contextlib.ExitStack()
        self._tokens, self._documents, self._lines, self._begins = (
            self._files.enter_context((folder / name).open("wb"))
            for name in ("tokens.bin", "documents.bin", "lines.bin", "begins.bin")
        )
        self._totals: Counter[str] = Counter()
        self._document: int | None = None  # the open one
        self._start = self._bytes = self._chars = 0  # of the open document
        self._hash = hashlib.blake2b(digest_size=8)
        self._parts: list[NDArray[Any]] = []  # ids not yet written
        self._position = 0  # in the token stream, these included

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._files:
            if kind is None:
                self._end()
                self._flush()

    def add(self, pieces: Sequence[Piece], encoded: Sequence[NDArray[Any]]) -> None:
        """Append pieces and their ids."""
        hashes: list[bytes] = []
        begins: list[tuple[int, int]] = []
        for piece, ids in zip(pieces, encoded, strict=True):
            if piece.document != self._document:
                self._end()
                self._begin(piece.document)
            place = self._position, self._totals["bytes"] + self._bytes
            self._append(ids)
            text = piece.text.encode()
            self._bytes += len(text)
            self._chars += len(piece.text)
            self._hash.update(text)
            if not text.isspace():
                line = text.rstrip(b"\n")  # the last one of a file may lack it
                hashes.append(hashlib.blake2b(line, digest_size=8).digest())
                begins.append(place)
        self._lines.write(b"".join(hashes))
        self._totals.update(lines=len(pieces), hashes=len(hashes))
        if self._frame.keeps_lines:
            self._begins.write(np.array(begins, dtype=_LINE).tobytes())
            self._totals["begins"] += len(begins)
        self._flush()

    def counts(self) -> dict[str, Any]:
        """Totals of what was written."""
        names = ("lines", "hashes", "begins", "documents", "bytes", "chars", "unk")
        totals = {name: self._totals[name] for name in names}
        return {"format": FORMAT, "dtype": self._dtype.str, "tokens": self._position, **totals}

    def _append(self, ids: NDArray[Any]) -> None:
        self._parts.append(ids)
        self._position += len(ids)

    def _begin(self, document: int) -> None:
        self._document, self._start, self._bytes, self._chars = document, self._position, 0, 0
        self._hash = hashlib.blake2b(digest_size=8)
        self._append(np.array([self._frame.bos_id]))
        self._totals["documents"] += 1

    def _end(self) -> None:
        if self._document is None:
            return
        if self._frame.eos_id is not None:
            self._append(np.array([self._frame.eos_id]))
        key = int.from_bytes(self._hash.digest(), "little")
        row = (self._start, self._bytes, self._chars, key)
        self._documents.write(np.array(row, dtype=_DOCUMENT).tobytes())
        self._totals.update(bytes=self._bytes, chars=self._chars)

    def _flush(self) -> None:
        if self._parts:
            ids = np.concatenate(self._parts)
            self._tokens.write(ids.astype(self._dtype, copy=False).tobytes())
            self._totals["unk"] += int(np.count_nonzero(ids == self._frame.unk_id))
            self._parts.clear()


def _blocks(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    block: list[Piece] = []
    chars = 0
    for piece in pieces:
        if not piece.text:
            continue
        block.append(piece)
        chars += len(piece.text)
        if chars >= _BLOCK_CHARS:
            yield block
            block, chars = [], 0
    if block:
        yield block
