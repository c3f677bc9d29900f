import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from lmexp.cache import built, cache_folder


def count_and_write(folder: Path) -> None:
    with (folder.parent / "builders").open("a") as file:
        file.write("x")
    time.sleep(0.2)
    folder.mkdir()
    (folder / "file").write_text("whole")


def build(folder: Path) -> None:
    built(folder, count_and_write)


def write_half(folder: Path) -> None:
    folder.mkdir()
    (folder / "file").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)


def build_half(folder: Path) -> None:
    built(folder, write_half)


def run(function, folder, times):
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=function, args=(folder,)) for _ in range(times)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


def test_one_process_builds_and_the_others_wait(tmp_path):
    codes = run(build, tmp_path / "a", 3)

    assert codes == [0, 0, 0]
    assert (tmp_path / "builders").read_text() == "x"


def test_a_killed_builder_leaves_nothing_that_is_read_and_blocks_nobody(tmp_path):
    assert run(build_half, tmp_path / "a", 1) == [-signal.SIGKILL]
    assert not (tmp_path / "a").exists()

    build(tmp_path / "a")

    assert (tmp_path / "a" / "file").read_text() == "whole"
    assert not (tmp_path / "a.tmp").exists()


def test_a_builder_that_fails_leaves_nothing(tmp_path):
    def write(folder):
        folder.mkdir()
        raise ValueError("no")

    with pytest.raises(ValueError, match=r"^no$"):
        built(tmp_path / "a", write)

    assert [path.name for path in tmp_path.iterdir()] == ["a.lock"]


def test_the_cache_is_where_lmexp_cache_says(tmp_path, monkeypatch):
    monkeypatch.setenv("LMEXP_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path

    monkeypatch.delenv("LMEXP_CACHE")
    assert cache_folder() == Path.home() / ".cache" / "lmexp"
