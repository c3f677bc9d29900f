"""`train` and `run` up to the first step: help and --cfg, the run's folder, its recipe."""

import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from lmexp.__main__ import main
from lmexp.recipe import compose
from lmexp.run_folder import claim, claim_named, read_recipe, write_recipe

TRAIN = Path(__file__).resolve().parent.parent / "train.py"


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict, Path, tuple]]:
    """Runs that were started: (recipe, folder, allow_targets); none of them is carried out."""
    runs: list[tuple[dict, Path, tuple]] = []

    def run(recipe, folder, *, allow_targets=()):
        runs.append((recipe, folder, allow_targets))
        (folder / "summary.json").write_text("{}")  # begun: an unused folder would be given back
        return 0

    monkeypatch.setitem(sys.modules, "lmexp.train", SimpleNamespace(run=run))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    return runs


def imported(*command: str) -> set[str]:
    """Modules that a command has imported at its end."""
    code = f"import sys; sys.argv = {['train.py', *command]!r}\n" + (
        "import runpy\ntry: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit: pass\nprint('\\nMODULES', *sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=TRAIN.parent, capture_output=True, text=True, check=True
    )
    return set(done.stdout.rpartition("MODULES")[2].split())


@pytest.mark.parametrize("typed", ["--help", "--cfg job", "model=lsmt", "-m model.num_layerz=1,2"])
def test_what_needs_no_torch_imports_none(typed):
    assert imported(*typed.split()).isdisjoint({"torch", "lightning", "transformers", "wandb"})


def test_another_python_than_the_one_of_the_install_is_told_so_in_a_line():
    bare = [sys.executable, "-I", "-S"]  # of what is installed it sees nothing

    done = subprocess.run([*bare, TRAIN, "--help"], capture_output=True, text=True)

    assert done.returncode == 1
    assert done.stderr.startswith(f"train.py: {sys.executable} has no lmexp: `make setup` once")
    assert done.stderr.count("\n") == 1


def test_help_takes_less_than_a_second():
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        done = subprocess.run([sys.executable, TRAIN, "--help"], capture_output=True, text=True)
        seconds.append(time.perf_counter() - began)

    assert min(seconds) < 1
    assert "|gru|lstm|pretrained|rnn|transformer|" in done.stdout


def test_cfg_prints_the_configuration_and_makes_no_folder(tmp_path):
    command = [sys.executable, TRAIN, "--cfg", "job", "model=lstm", "seed=5"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)

    assert yaml.safe_load(done.stdout)["seed"] == 5
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("typed", "mine"),
    [
        (["--cfg", "job", "data=text", "data.files=x.txt"], False),
        (["data=text", "data.files=x.txt", "-c", "job", "--allow-targets", "mine"], True),
        (["--cfg=job", "data=text", "data.files=x.txt", "allow_targets=[mine]"], True),
    ],
)
def test_cfg_prints_what_would_run(typed, mine, started, capsys):
    assert main(["train", *typed]) == 0

    out, err = capsys.readouterr()
    assert yaml.safe_load(out) == compose(["data=text", "data.files=x.txt"])
    assert out.splitlines()[-1].startswith("# allow_targets: " + ('["mine"]' if mine else "[]"))
    assert err == ""
    assert not started


def test_cfg_shows_what_is_still_to_be_given(capsys):
    assert main(["train", "--cfg", "job", "data=text"]) == 0

    assert yaml.safe_load(capsys.readouterr().out)["data"]["corpus"]["files"] == "???"


def test_cfg_of_a_sweep_is_refused(capsys):
    assert main(["train", "--cfg", "job", "-m", "seed=1,2"]) == 2

    assert "leave -m out" in capsys.readouterr().err


def test_a_run_gets_a_new_folder_with_its_recipe(started, tmp_path):
    for _ in range(2):
        assert main(["train", "model=gru", "seed=3"]) == 0

    (first, one, _), (_, two, _) = started
    assert one != two
    assert one.parent == two.parent == Path("logs/runs/gru-python_docs")
    composed = compose(["model=gru", "seed=3", "trainer.micro_batches=1"])  # auto: one device
    assert read_recipe(one / "recipe.yaml") == first == composed
    assert not (tmp_path / "outputs").exists()


def test_hydra_run_dir_names_the_folder(started):
    assert main(["train", "hydra.run.dir=here/run"]) == 0

    assert started[0][1] == Path("here/run")


def test_a_folder_that_holds_something_is_not_taken(started, capsys):
    Path("here").mkdir()
    Path("here", "kept.txt").write_text("")

    assert main(["train", "hydra.run.dir=here"]) == 2

    assert "here is there and not empty" in capsys.readouterr().err
    assert not started


def test_run_starts_a_frozen_recipe_as_it_stands(started, tmp_path):
    recipe = compose(["model=lstm", "seed=9", "trainer.micro_batches=3"])
    write_recipe(recipe, tmp_path)

    assert main(["run", "recipe.yaml", "--folder", "job"]) == 0

    assert started == [(recipe, Path("job"), ())]
    assert read_recipe(Path("job/recipe.yaml")) == recipe


def test_run_checks_the_recipe_and_names_the_file(started, tmp_path, capsys):
    recipe = compose([])
    recipe["model"]["_target_"] = "os.system"
    write_recipe(recipe, tmp_path)

    assert main(["run", "recipe.yaml"]) == 2

    assert "recipe.yaml: model._target_=os.system lies outside" in capsys.readouterr().err
    assert not started


@pytest.mark.parametrize("key", ["name", "seed", "resume", "init_from", "eval", "sweep"])
def test_a_recipe_that_lacks_a_key_is_refused_by_its_name(key, started, tmp_path, capsys):
    recipe = compose([])
    del recipe[key]
    write_recipe(recipe, tmp_path)

    assert main(["run", "recipe.yaml"]) == 2

    error = capsys.readouterr().err
    assert error.startswith(f"lmexp: recipe.yaml: {key} is missing: ")
    assert error.count("\n") == 1
    assert not started


def test_a_recipe_in_another_encoding_is_refused_with_the_byte(started, tmp_path, capsys):
    (tmp_path / "recipe.yaml").write_bytes("name: café\n".encode("latin-1"))

    assert main(["run", "recipe.yaml"]) == 2

    assert "recipe.yaml is not UTF-8: byte 0xE9 at offset 9" in capsys.readouterr().err


def test_a_recipe_cannot_allow_targets(started, tmp_path, capsys):
    write_recipe({**compose([]), "allow_targets": ["os"]}, tmp_path)

    assert main(["run", "recipe.yaml"]) == 2

    assert "takes no 'allow_targets'" in capsys.readouterr().err


def test_packages_in_the_current_folder_are_used_when_allowed(started, capsys):
    Path("mine.py").write_text(
        "from dataclasses import dataclass\n\n\n@dataclass(frozen=True)\nclass Net:\n"
        "    width: int\n\n    def decoder(self, vocab): ...\n"
    )
    Path("my_conf/model").mkdir(parents=True)
    Path("my_conf/model/mine.yaml").write_text("_target_: mine.Net\nwidth: 3\n")
    typed = ["train", "--config-dir", "my_conf", "model=mine"]

    assert main(typed) == 2
    assert "add --allow-targets mine" in capsys.readouterr().err
    assert main([*typed, "--allow-targets", "mine"]) == 0
    assert main([*typed, "allow_targets=[mine]"]) == 0

    assert [run[2] for run in started] == [("mine",), ("mine",)]


def test_the_time_gives_each_folder_a_name_of_its_own(tmp_path):
    folders = [claim(tmp_path) for _ in range(3)]

    assert len(set(folders)) == 3
    assert sorted(folders) == folders


def test_an_empty_folder_may_be_named(tmp_path):
    assert claim_named(tmp_path / "new") == claim_named(tmp_path / "new")


def test_run_takes_the_folder_of_a_recipe(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    assert main(["run", "a"]) == 2
    assert capsys.readouterr().err == "lmexp: a has no recipe.yaml: name a run's folder or recipe\n"

    (tmp_path / "a" / "recipe.yaml").write_text("model: 3\n", encoding="utf-8")
    assert main(["run", "a"]) == 2
    assert "recipe.yaml" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "note.txt").write_text("no folder")

    assert main(["train", "hydra.run.dir=note.txt/run"]) == 2

    assert "note.txt/run: no folder can be made there" in capsys.readouterr().err
