"""Files from the network, once, with a pinned checksum.

What came of a file before the network failed, or the process was killed, is kept beside it under a
hidden name, and the next try goes on from there.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import http
import http.client
import os
import shutil
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

_TIMEOUT_SECONDS = 30
_CHUNK = 1 << 16


@dataclasses.dataclass(frozen=True)
class Remote:
    """A file that can be downloaded.

    Args:
        file: its name in the data set's folder.
        url: where it is, http or https.
        sha256: of what the url gives; None where only its md5 is known.
        member: the url gives a zip archive, of which this member is the file.
        md5: of what the url gives, where that is all that its publisher tells.
    """

    file: str
    url: str
    sha256: str | None
    member: str | None = None
    md5: str | None = None

    @property
    def checksum(self) -> tuple[str, str]:
        """The name of an algorithm of hashlib, and what it has to find."""
        return ("md5", self.md5 or "") if self.sha256 is None else ("sha256", self.sha256)


def fetch(remotes: Sequence[Remote], folder: Path) -> None:
    """Download into a folder; files are there whole and right, or not at all.

    One process downloads a file, and others wait for it.

    Raises:
        OSError: the network, or the disk, failed.
        ValueError: a checksum is wrong.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for url in dict.fromkeys(remote.url for remote in remotes):
        own = [remote for remote in remotes if remote.url == url]
        if any(not (folder / remote.file).exists() for remote in own):
            _fetch(url, own, folder)


def _fetch(url: str, remotes: Sequence[Remote], folder: Path) -> None:
    """The files that one url gives."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise ValueError(f"{url}: only http and https are downloaded")
    algorithm, expected = remotes[0].checksum
    part = folder / f".{Path(urlsplit(url).path).name}.{expected[:12]}.part"
    with _held(part) as file:
        wanted = [remote for remote in remotes if not (folder / remote.file).exists()]
        try:
            if wanted:
                _receive_all(url, file)
                _check(url, file, algorithm, expected)
            for remote in wanted:
                _place(part, remote, folder)
        except OSError:
            if part.exists() and not part.stat().st_size:
                part.unlink()
            raise
        except ValueError:
            part.unlink()
            raise
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def _held(path: Path) -> Iterator[IO[bytes]]:
    """A file, made if need be, that no other process holds."""
    while True:
        with path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if _is_at(file, path):
                yield file
                return
        # whoever held it has moved or deleted it


def _is_at(file: IO[bytes], path: Path) -> bool:
    """Whether an open file still has its name, which others may take away at any time."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _place(downloaded: Path, remote: Remote, folder: Path) -> None:
    if remote.member is None:
        downloaded.replace(folder / remote.file)
        return
    temporary = folder / f".{remote.file}.{os.getpid()}.part"
    try:
        with (
            zipfile.ZipFile(downloaded) as archive,
            archive.open(remote.member) as source,
            temporary.open("wb") as target,
        ):
            shutil.copyfileobj(source, target, _CHUNK)
            os.fsync(target.fileno())
        temporary.replace(folder / remote.file)
    finally:
        temporary.unlink(missing_ok=True)


def _receive_all(url: str, file: IO[bytes]) -> None:
    """Append what is missing of what the url gives, by as many connections as bring something."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    columns = ("{task.description}", BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        progress.add_task(Path(urlsplit(url).path).name, total=None)
        while True:
            before = file.seek(0, os.SEEK_END)
            try:
                if _receive(url, file, progress):
                    break
                reason = "the connection was closed"
            except urllib.error.HTTPError:
                raise
            except (http.client.HTTPException, OSError) as error:
                reason = str(error) or repr(error)
            if file.tell() <= before:
                kept = f" after {before:,} bytes; they are kept, and the next try goes on there"
                raise OSError(f"{url}: {reason}{kept if before else ''}")
    file.flush()
    os.fsync(file.fileno())


def _receive(url: str, file: IO[bytes], progress: Any) -> bool:
    """Append what one connection brings; whether that was all."""
    start = file.tell()
    opener = urllib.request.build_opener()
    opener.addheaders = [("User-Agent", "lmexp")]  # some hosts refuse Python's own name
    if start:
        opener.addheaders.append(("Range", f"bytes={start}-"))
    try:
        with opener.open(url, timeout=_TIMEOUT_SECONDS) as response:
            if start and response.status != http.HTTPStatus.PARTIAL_CONTENT:
                start = file.seek(0)  # it sends the whole again
                file.truncate()
            length = response.headers.get("Content-Length")
            total = None if length is None else start + int(length)
            while data := response.read(_CHUNK):
                file.write(data)
                progress.update(progress.task_ids[0], completed=file.tell(), total=total)
    except urllib.error.HTTPError as error:
        error.close()  # it holds the connection
        if start and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return True  # nothing is missing; the checksum tells whether it is right
        raise
    return total is None or file.tell() >= total


def _check(url: str, file: IO[bytes], algorithm: str, expected: str) -> None:
    file.seek(0)
    digest = hashlib.new(algorithm, usedforsecurity=False)
    while data := file.read(_CHUNK):
        digest.update(data)
    found = digest.hexdigest()
    if found != expected:
        raise ValueError(
            f"{url} gave {file.tell():,} bytes with {algorithm} {found} instead of {expected}: it "
            "was damaged on the way or has changed; try again, or get the file elsewhere"
        )
