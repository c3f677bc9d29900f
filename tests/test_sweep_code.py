"""The code that a sweep is frozen with: what is copied, and that all of its processes run it."""

import importlib.util
import time

import pytest

from lmexp.sweep import code
from lmexp.sweep.manifest import Job, Manifest
from lmexp.sweep.ray_launcher import Ray
from lmexp.sweep.submitit_launcher import Submitit
from lmexp.sweep.watch import Task

# What a sweep may have been frozen with: it takes the same task, and does something else.
OLDER = {
    "__init__.py": "",
    "sweep/__init__.py": "",
    "sweep/manifest.py": "class Job:\n    pass\n",
    "sweep/watch.py": """
import collections
FIELDS = "job sweep directory minutes silent_minutes shows environment"
Task = collections.namedtuple("Task", FIELDS)
def run_task(task):
    with open(task.sweep + "/ran", "w") as file:
        file.write(__file__)
""",
}


def test_the_code_is_copied_with_its_configuration_and_hashed(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_package").mkdir()
    (tmp_path / "own_package" / "__init__.py").write_text("WIDTH = 8\n")
    found = []
    for number in range(3):
        (tmp_path / f"sweep{number}").mkdir()
        found.append(code.freeze_code(tmp_path / f"sweep{number}", ["lmexp", "own_package.nets"]))
        if number == 1:
            (tmp_path / "own_package" / "__init__.py").write_text("WIDTH = 9\n")

    assert found[0] == found[1] != found[2]
    copied = tmp_path / "sweep0" / "code"
    assert (copied / "lmexp" / "conf" / "train.yaml").is_file()
    assert (copied / "lmexp" / "train.py").is_file()
    assert (copied / "own_package" / "__init__.py").read_text() == "WIDTH = 8\n"


def test_a_package_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError, match="--allow-targets not_there: no module of that name"):
        code.freeze_code(tmp_path, ["not_there"])


def test_what_links_of_a_package_lead_to_counts(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "linked_package").mkdir()
    (tmp_path / "linked_package" / "__init__.py").touch()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "text.txt").write_text("a" * 100)
    (tmp_path / "linked_package" / "data").symlink_to(tmp_path / "data")
    monkeypatch.setattr(code, "MOST_BYTES", 99)

    with pytest.raises(
        ValueError, match=r"linked_package has more than 0 MB, .*data/text\.txt among"
    ):
        code.freeze_code(tmp_path / "sweep", ["linked_package"])


def test_modules_beside_a_package_that_it_imports_are_frozen_with_it(tmp_path, monkeypatch):
    """However it imports them, and those that these import; not what is installed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    files = {
        "big_package/__init__.py": "import torch, json\n",
        "big_package/nets.py": "def build():\n    from near_helper import WIDTH\n",
        "near_helper.py": "import near_other.parts\nWIDTH = 8\n",
        "near_other/__init__.py": "import near_helper\n",
        "near_other/parts.py": "",
        "near_stranger.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    first = code.freeze_code(tmp_path / "1", ["big_package"])
    (tmp_path / "near_other" / "parts.py").write_text("DEPTH = 2\n")
    second = code.freeze_code(tmp_path / "2", ["big_package"])

    assert first != second
    copied = {path.name for path in (tmp_path / "1" / "code").iterdir()}
    assert copied == {"lmexp", "big_package", "near_helper.py", "near_other"}


def test_what_cannot_be_copied_is_one_line(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "torn_package").mkdir()
    (tmp_path / "torn_package" / "__init__.py").touch()
    for name in ("a.py", "b.py"):
        (tmp_path / "torn_package" / name).symlink_to("nowhere")

    with pytest.raises(ValueError, match=r"^.*/torn_package/[ab]\.py cannot be copied into the sw"):
        code.freeze_code(tmp_path / "sweep", ["torn_package"])


def test_of_the_users_folder_configuration_is_copied_and_no_run(tmp_path):
    mine = tmp_path / "mine"
    sweeps = mine / "logs" / "sweeps" / "a"
    sweep, earlier, run = sweeps / "2", sweeps / "1", mine / "logs" / "runs" / "b"
    for folder in (sweep, earlier / "code", run, mine / "model", mine / ".git", mine / "data"):
        folder.mkdir(parents=True)
    for file in ("model/mine.yaml", "model/recipe.yaml", ".git/own.yaml", "data/weights.bin"):
        (mine / file).write_text("a: 1")
    (mine / "manifest.json").write_text("{}")  # of something else
    (mine / "data" / "itself").symlink_to(mine)
    Manifest(earlier, [], {}, "").write()
    for file in (earlier / "code" / "other.yaml", run / "recipe.yaml", run / ".lock"):
        file.write_text("a: 1")

    code.freeze_code(sweep, [], str(mine))

    found = sorted(
        str(file.relative_to(sweep / "code")) for file in sweep.rglob("code/config/**/*")
    )
    assert found == ["config/model", "config/model/mine.yaml", "config/model/recipe.yaml"]


@pytest.fixture
def frozen(tmp_path):
    """A sweep of one job, and code in it that is not the one of today."""
    # In the folder of the launch is another, where python -m and Ray would look first.
    for place in (tmp_path / "sweep" / "code", tmp_path):
        for name, text in OLDER.items():
            file = place / "lmexp" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    settings = {"launcher": "submitit", "minutes": 1.0, "options": {}, "parallel": 1}
    return Manifest(tmp_path / "sweep", [Job("0", [])], settings, "")


@pytest.mark.parametrize("launcher", ["submitit", pytest.param("ray", marks=pytest.mark.slow)])
def test_a_worker_imports_the_frozen_code(launcher, frozen, tmp_path, monkeypatch):
    if importlib.util.find_spec(launcher) is None:
        pytest.skip(f"{launcher} is not installed")
    monkeypatch.chdir(tmp_path)
    cluster = Submitit(frozen) if launcher == "submitit" else Ray(frozen)
    task = Task(frozen.jobs[0], str(frozen.folder), str(tmp_path), 1.0, None, False, {})

    handle = cluster.submit(task)
    while not cluster.is_done(handle):
        time.sleep(0.05)
    cluster.close()

    assert (frozen.folder / "ran").read_text() == str(
        frozen.folder / "code" / "lmexp" / "sweep" / "watch.py"
    )
