"""Files from the network, once, with a pinned checksum."""

import dataclasses
import hashlib
import http.client
import os
import shutil
import urllib.error
import urllib.request
import zipfile
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

_TIMEOUT_SECONDS = 30
_CHUNK = 1 << 16


@dataclasses.dataclass(frozen=True)
class Remote:
    """A file that can be downloaded.

    Args:
        file: its name in the data set's folder.
        url: where it is, http or https.
        sha256: of what the url gives.
        member: the url gives a zip archive, of which this member is the file.
    """

    file: str
    url: str
    sha256: str
    member: str | None = None


def fetch(remotes: Sequence[Remote], folder: Path) -> None:
    """Download into a folder; files are there whole and right, or not at all.

    Raises:
        OSError: the network, or the disk, failed.
        ValueError: a checksum is wrong.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for url in dict.fromkeys(remote.url for remote in remotes):
        wanted = [r for r in remotes if r.url == url and not (folder / r.file).exists()]
        if not wanted:
            continue
        temporary = folder / f".{Path(urlsplit(url).path).name}.{os.getpid()}.part"
        try:
            _download(url, wanted[0].sha256, temporary)
            for remote in wanted:
                _place(temporary, remote, folder)
        finally:
            temporary.unlink(missing_ok=True)


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


def _download(url: str, sha256: str, path: Path) -> None:
    if urlsplit(url).scheme not in ("http", "https"):
        raise ValueError(f"{url}: only http and https are downloaded")
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    opener = urllib.request.build_opener()
    opener.addheaders = [("User-Agent", "lmexp")]  # some hosts refuse Python's own name
    digest, size = hashlib.sha256(), 0
    columns = ("{task.description}", BarColumn(), DownloadColumn(), TimeRemainingColumn())
    try:
        with (
            opener.open(url, timeout=_TIMEOUT_SECONDS) as response,
            path.open("wb") as file,
            Progress(*columns, console=Console(stderr=True), transient=True) as progress,
        ):
            total = response.headers.get("Content-Length")
            task = progress.add_task(Path(url).name, total=int(total) if total else None)
            while data := response.read(_CHUNK):
                file.write(data)
                digest.update(data)
                size += len(data)
                progress.update(task, completed=size)
            os.fsync(file.fileno())
    except urllib.error.HTTPError as error:
        error.close()  # it holds the connection
        raise
    except http.client.HTTPException as error:
        raise OSError(f"{url}: {error!r}") from error
    if digest.hexdigest() != sha256:
        raise ValueError(
            f"{url} gave {size:,} bytes with sha256 {digest.hexdigest()} instead of {sha256}: it "
            "was damaged on the way or has changed; try again, or get the file elsewhere"
        )
