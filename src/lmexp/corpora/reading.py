r"""Bytes of files, plain or compressed, to lines of text. Lines end at "\n" and nowhere else."""

import contextlib
import gzip
import hashlib
import io
import json
import os
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Literal, NamedTuple, cast

import numpy as np
import zstandard

OnInvalid = Literal["error", "replace", "drop"]
Encoding = Literal["utf-8", "latin-1"]

_LINE_BYTES = 1 << 24  # longer lines come in parts of this size, so that memory is bounded
_CHUNK = 1 << 20
_PACKED_CHUNK = 1 << 14  # a thousand times that when unpacked, at worst
_BIG = 1 << 24  # bytes; the scan of a larger file is kept in the cache
BOM = b"\xef\xbb\xbf"
_DAMAGES = (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError, zipfile.BadZipFile)
PACKINGS = (".gz", ".zst", ".zip")  # endings of names that `opened` decompresses
INVALID = "invalid UTF-8"
REPLACED = "replaced invalid UTF-8"


class Scan(NamedTuple):
    """What one pass over a file's content, decompressed, finds."""

    sha256: str
    num_chars: int


class RawLine(NamedTuple):
    """A line as it was read."""

    text: str
    flaw: str | None  # why it has to be dropped; REPLACED of a line that was changed and stays


@contextlib.contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The content of a file, decompressed where its name ends in .gz, .zst or .zip.

    Raises:
        ValueError: inside the block, where the compressed data end early or are damaged; or a .zip
            holds another number of files than one.
    """
    try:
        with contextlib.ExitStack() as stack:
            file: IO[bytes] = stack.enter_context(path.open("rb"))
            if path.suffix == ".gz":
                file = cast(IO[bytes], stack.enter_context(gzip.GzipFile(fileobj=file)))
            elif path.suffix == ".zst":
                file = stack.enter_context(io.BufferedReader(_ZstdReader(file), _CHUNK))
            elif path.suffix == ".zip":
                archive = stack.enter_context(zipfile.ZipFile(file))
                file = stack.enter_context(archive.open(_only_member(archive, path)))
            yield file
    except _DAMAGES as error:
        raise ValueError(
            f"{path} is no whole {path.suffix} file ({error}): copy or download it again"
        ) from error


def _only_member(archive: zipfile.ZipFile, path: Path) -> zipfile.ZipInfo:
    members = [member for member in archive.infolist() if not member.is_dir()]
    if len(members) != 1:
        names = ", ".join(member.filename for member in members[:3]) or "none"
        raise ValueError(
            f"{path} holds {len(members)} files ({names}): a .zip has to hold one; unpack it, and "
            "name the file that is meant"
        )
    return members[0]


class _ZstdReader(io.RawIOBase):
    """zstandard's own reader takes a truncated file for a whole one."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._is_inside = False  # a frame
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview[int]") -> int:  # type: ignore[override] # io's own type
        while not self._ready:
            left = b""
            if self._frame.eof:  # a file may hold several
                left = self._frame.unused_data
                self._frame = zstandard.ZstdDecompressor().decompressobj()
                self._is_inside = False
            data = left or self._file.read(_PACKED_CHUNK)
            if not data and self._is_inside:
                raise EOFError("the data end inside a frame")
            if not data:
                return 0
            self._is_inside = True
            self._ready = self._frame.decompress(data)
        taken = self._ready[: len(buffer)]
        self._ready = self._ready[len(taken) :]
        buffer[: len(taken)] = taken
        return len(taken)


def lines(path: Path, on_invalid: OnInvalid, encoding: Encoding = "utf-8") -> Iterator[RawLine]:
    r"""The lines of a file, each with its "\n"; a byte order mark at the start is left out.

    Args:
        path: plain, .gz, .zst or .zip.
        on_invalid: what to do with a line that is not UTF-8: raise, replace bytes by U+FFFD, drop.
        encoding: of latin-1 every byte is a character.

    Raises:
        ValueError: not UTF-8, with the place of the first wrong byte.
    """
    offset, number = 0, 1
    with opened(path) as file:
        for data in _line_bytes(file):
            line = data if offset else data.removeprefix(BOM)
            offset += len(data)
            try:
                yield RawLine(line.decode(encoding), None)
            except UnicodeDecodeError as error:
                if on_invalid == "error":
                    start = offset - len(line)
                    raise ValueError(_not_utf8(path, number, start, error)) from error
                flaw = INVALID if on_invalid == "drop" else REPLACED
                yield RawLine(line.decode(errors="replace"), flaw)
            number += data.endswith(b"\n")


def _not_utf8(path: Path, number: int, start: int, error: UnicodeDecodeError) -> str:
    byte = error.object[error.start]
    encoding = "UTF-16" if start + error.start == 0 and byte in (0xFE, 0xFF) else "LATIN1"
    packed = " of the decompressed text" if path.suffix in PACKINGS else ""
    return (
        f"{path} is not UTF-8: byte 0x{byte:02X} at offset {start + error.start}{packed}, in line "
        f"{number}; convert it (iconv -f {encoding} -t UTF-8 …), or train with "
        "data.corpus.on_invalid=drop or replace"
    )


def _line_bytes(file: IO[bytes]) -> Iterator[bytes]:
    rest = b""
    while data := rest + file.readline(_LINE_BYTES):
        rest = b""
        if len(data) >= _LINE_BYTES and not data.endswith(b"\n"):
            cut = _last_start(data)
            data, rest = data[:cut], data[cut:]
        yield data


def _last_start(data: bytes) -> int:
    """Where the last character of UTF-8 data begins."""
    for place in range(len(data) - 1, len(data) - 5, -1):
        if data[place] & 0xC0 != 0x80:
            return place
    return len(data)


def scan(path: Path, cache: Path) -> Scan:
    """Hash and length of a file's content.

    Of a big file kept in `cache`, under a name that its path, size and time of change decide.
    """
    status = path.stat()
    if status.st_size < _BIG:
        return _scan(path)
    key = json.dumps([str(path.resolve()), status.st_size, status.st_mtime_ns])
    kept = cache / "scans" / (hashlib.sha256(key.encode()).hexdigest() + ".json")
    if kept.exists():
        return Scan(*json.loads(kept.read_text("utf-8")))
    found = _scan(path)
    kept.parent.mkdir(parents=True, exist_ok=True)
    temporary = kept.with_name(f"{kept.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(found), encoding="utf-8")
    temporary.replace(kept)
    return found


def _scan(path: Path) -> Scan:
    digest = hashlib.sha256()
    num_chars = 0
    with opened(path) as file:
        while data := file.read(_CHUNK):
            digest.update(data)
            num_chars += count_chars(data)
    return Scan(digest.hexdigest(), num_chars)


def count_chars(data: bytes) -> int:
    """Characters of UTF-8: bytes that go on with none."""
    values = np.frombuffer(data, dtype=np.uint8)
    return int(np.count_nonzero((values & 0xC0) != 0x80))
