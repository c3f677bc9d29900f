"""A checkpoint may come from anywhere: its recipe is checked before a part of it is built."""

import time
from pathlib import Path
from typing import Any

import pytest
from bigram import write_checkpoint

import lmexp
from lmexp import checkpoint as checkpoints
from lmexp.__main__ import main
from lmexp.check import check
from lmexp.recipe import compose
from lmexp.targets import locate


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A checkpoint as training writes it."""
    run, _ = write_checkpoint(tmp_path, "abc\n")
    return run / "checkpoints" / "best.ckpt"


def forge(file: Path, key: str, value: Any) -> None:
    """Write another value into the recipe of a checkpoint, with its checksum."""
    saved = checkpoints.read(file)
    section = saved["recipe"]
    *path, last = key.split(".")
    for part in path:
        section = section[part]
    section[last] = value
    checkpoints.save(saved, file)


@pytest.fixture
def planted(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A file that must not appear, and the section of a recipe that would write it."""
    target = tmp_path / "planted"
    write = "lmexp.atomic.write_atomically"
    return target, {"_target_": write, "path": str(target), "text": "owned"}


@pytest.mark.parametrize("key", ["model", "model.gap", "task", "task.ema_decay", "tuning"])
def test_a_forged_checkpoint_gets_nothing_called(key, file, planted):
    target, section = planted
    forge(file, key, section)

    with pytest.raises(ValueError, match=r"best\.ckpt: .*write_atomically"):
        lmexp.load(file, allow_targets=["bigram"])
    assert not target.exists()


@pytest.mark.parametrize("key", ["data", "data.corpus", "data.corpus.text_field", "eval"])
def test_nor_does_one_that_is_evaluated(key, file, planted, capsys):
    target, section = planted
    forge(file, key, section)

    assert main(["evaluate", str(file), "--allow-targets", "bigram"]) == 2

    error = capsys.readouterr().err
    assert "write_atomically" in error
    assert error.count("\n") == 1
    assert not target.exists()


@pytest.mark.parametrize("key", ["logger", "tokenizer.extra", "sweep"])
def test_what_is_not_built_may_say_what_it_likes(key, file, planted):
    target, section = planted
    forge(file, key, section)

    assert lmexp.load(file, allow_targets=["bigram"]).step == 7
    assert not target.exists()


@pytest.mark.parametrize("command", ["evaluate", "generate"])
def test_the_commands_refuse_it_in_one_line(command, file, planted, capsys):
    target, section = planted
    forge(file, "task.ema_decay", section)
    more = ["--prompt", "a"] if command == "generate" else []

    assert main([command, str(file), "--allow-targets", "bigram", *more]) == 2

    assert capsys.readouterr().err.count("\n") == 1
    assert not target.exists()


def test_a_checkpoint_cannot_allow_targets(file):
    with pytest.raises(ValueError, match=r"bigram\.Successor.*add --allow-targets bigram"):
        lmexp.load(file)


def test_a_recipe_that_is_no_mapping_is_refused(file):
    saved = checkpoints.read(file)
    checkpoints.save({**saved, "recipe": ["model"]}, file)

    with pytest.raises(ValueError, match="its recipe is no mapping"):
        lmexp.load(file)


def test_checking_a_recipe_again_takes_under_half_a_second(file):
    recipe = checkpoints.read(file)["recipe"]
    check(recipe, ["bigram"])  # the types of all annotations are built once a process
    began = time.perf_counter()
    check(recipe, ["bigram"])

    assert time.perf_counter() - began < 0.5
    assert lmexp.load(file, allow_targets=["bigram"]).step == 7


NESTS = """\
from dataclasses import dataclass
from typing import Any

from lmexp.mirrors import CSV


@dataclass(frozen=True)
class Layer:
    width: int


@dataclass(frozen=True)
class Net:
    layer: Any

    def decoder(self, vocab): ...


def function(width): ...
"""


@pytest.fixture
def nested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A recipe whose model is a user's, with room for a section in it."""
    (tmp_path / "nests.py").write_text(NESTS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return {**compose(["data.lanes=null"]), "model": {"_target_": "nests.Net", "layer": None}}


def test_a_users_class_may_nest_classes_of_the_users(nested):
    for layer in (
        {"_target_": "nests.Layer", "width": 3},
        [{"_target_": "nests.Layer", "width": 3}],
    ):
        nested["model"]["layer"] = layer

        check(nested, ["nests"])


@pytest.mark.parametrize(
    "target", ["lmexp.mirrors.CSV", "nests.CSV", "nests.function", "torch.optim.AdamW"]
)
@pytest.mark.parametrize("wrap", [lambda part: part, lambda part: [part], lambda part: {"a": part}])
def test_a_users_class_may_nest_nothing_else(target, wrap, nested):
    nested["model"]["layer"] = wrap({"_target_": target})

    with pytest.raises(ValueError, match=r"model\.layer.*nothing is built at"):
        check(nested, ["nests"])


def test_a_function_is_never_called():
    with pytest.raises(PermissionError, match="is no class"):
        locate("lmexp.atomic.write_atomically")
