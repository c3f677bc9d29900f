"""The official test sets of WMT, as sacrebleu knows them (Post 2018)."""

import shutil
from pathlib import Path
from typing import Any

from lmexp.corpora.download import Remote, fetch


def official_pairs(name: str) -> list[str]:
    """The pairs of languages, each such as en-de, of a test set; none of an unknown one."""
    from sacrebleu.dataset import DATASETS

    return sorted(DATASETS[name].langpairs) if name in DATASETS else []


def check_official(name: str, pair: str) -> None:
    """Raise ValueError if sacrebleu has no such test set, or not of this pair."""
    from sacrebleu.dataset import DATASETS

    there = official_pairs(name)
    if pair in there:
        return
    others = [other for other in sorted(DATASETS) if pair in DATASETS[other].langpairs]
    instead = f"{pair} is in {', '.join(others)}" if others else f"none has {pair}"
    if not there:
        raise ValueError(f"data.test_set={name} is no test set of sacrebleu: {instead}")
    raise ValueError(
        f"data.test_set={name} has no pair {pair} but {', '.join(there)}; of sacrebleu's test "
        f"sets {instead}: name another in data.test_set, or another data.pair"
    )


def official_files(name: str, pair: str) -> list[Path]:
    """The texts of a test set, sources first and then each reference, line by line.

    They are where sacrebleu itself has them, in $SACREBLEU or ~/.sacrebleu, and are downloaded
    there if need be.

    Args:
        name: of a test set that sacrebleu has, such as wmt14/full.
        pair: of its languages, such as en-de.

    Raises:
        FileNotFoundError: it is not there, and the download failed, or what is there is not whole;
            names what to do.
        ValueError: the checksum is wrong.
    """
    from sacrebleu.dataset import DATASETS

    dataset: Any = DATASETS[name]
    raw = Path(dataset._rawdir)
    urls = ", ".join(dataset.data)
    try:
        for url, md5 in zip(dataset.data, dataset.md5, strict=True):
            _unpack(Remote(dataset._get_tarball_filename(url), url, None, md5=md5), raw)
    except OSError as error:
        raise FileNotFoundError(
            f"test set {name} of sacrebleu is not in {raw.parent}, and downloading {urls} failed "
            f"({error}): try again with a network, or run `sacrebleu -t {name} -l {pair} --echo "
            "src` on a machine that has one and copy its ~/.sacrebleu, or name a copy in SACREBLEU"
        ) from error
    try:
        files = [dataset.get_source_file(pair), *dataset.get_reference_files(pair)]
    except OSError as error:
        raise FileNotFoundError(
            f"test set {name} of sacrebleu is not whole in {raw} ({error}): delete {raw.parent}, "
            "and it is downloaded again"
        ) from error
    return [Path(file) for file in files]


def _unpack(remote: Remote, folder: Path) -> None:
    """An archive and all that is in it.

    sacrebleu takes an archive under its own name for whole and unpacked, and would not check it
    again: it gets that name last.
    """
    archive = folder / remote.file
    if archive.exists() and archive.stat().st_size:
        return
    hidden = folder / f".{remote.file}"
    fetch([Remote(hidden.name, remote.url, remote.sha256, md5=remote.md5)], folder)
    if remote.file.endswith((".tgz", ".tar.gz")):
        shutil.unpack_archive(hidden, folder, filter="data")
    elif remote.file.endswith(".zip"):
        shutil.unpack_archive(hidden, folder)
    hidden.replace(archive)
