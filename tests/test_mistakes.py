"""Mistakes in files, on the command line and in sweeps: each refused in one line, before anything.

The message names file or override, key, value and what would be right.
"""

import os
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest
from mistakes import ENCODER, TABLE

from lmexp.recipe import main

TRAIN = Path(__file__).resolve().parent.parent / "train.py"
TORCH_SECONDS = 1.8  # importing torch takes them on the machine for which seconds are promised
TRIES = 4  # other processes can only add to a time: the quietest try counts


def write(files: Mapping[str, str], folder: Path) -> None:
    """The user's files of a mistake."""
    (folder / "my_nets.py").write_text(ENCODER)
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


@pytest.fixture
def untouched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A current folder and a cache in which nothing may appear; training is out of reach."""

    def no_run(*arguments, **more):
        raise AssertionError("a run was started")

    started = SimpleNamespace(run=no_run)
    monkeypatch.setitem(sys.modules, "lmexp.train", started)
    here, cache = tmp_path / "here", tmp_path / "cache"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("LMEXP_CACHE", str(cache))
    yield here
    assert not cache.exists()
    assert not list(here.glob("logs/*/*"))


def test_the_table_is_long_enough():
    assert len(TABLE) >= 40


@pytest.mark.parametrize("name", TABLE)
def test_a_mistake_is_refused_in_one_line(name, untouched, capsys):
    mistake = TABLE[name]
    write(mistake.files, untouched)

    status = main(mistake.typed.split())

    out, err = capsys.readouterr()
    assert (status, out) == (2, "")
    assert err.startswith("lmexp: ")
    assert err.count("\n") == 1
    for part in mistake.expected:
        assert part in err


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("wrong key in a file", 3),
        ("key of a model", 3),
        ("key of an optimizer", 3),
        ("alias", 3),
        ("impossible combination", 3),
        ("one value of a sweep", 3),
        ("heads of no equal width", 3),
        ("rate of torch's optimizer", 8),  # a third party's own judgement
    ],
)
def test_a_mistake_is_refused_within_seconds(name, seconds, tmp_path):
    mistake = TABLE[name]
    write(mistake.files, tmp_path)

    for _ in range(TRIES):
        done, worked = timed([sys.executable, TRAIN, *mistake.typed.split()], tmp_path)

        assert done.returncode == 2, done.stderr
        assert all(part in done.stderr for part in mistake.expected)
        assert not (tmp_path / "cache").exists()
        assert not list(tmp_path.glob("logs/*/*"))
        if worked < seconds:
            return
        # Is this machine slow, or busy with other tests? Then torch is slow too.
        _, torch_alone = timed([sys.executable, "-c", "import torch"], tmp_path)
        allowed = seconds * max(1.0, torch_alone / TORCH_SECONDS)
        if worked < allowed:
            return
    pytest.fail(
        f"{worked:.2f} s on a core; {allowed:.2f} s are allowed where torch alone takes "
        f"{torch_alone:.2f} s"
    )


def timed(command, folder: Path) -> tuple[subprocess.CompletedProcess, float]:
    """A finished process, and its time on a core: what the clock says depends on others."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "LMEXP_CACHE": str(folder / "cache")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
