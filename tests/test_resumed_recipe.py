"""resume= goes on with a run's own recipe; of what is typed beside it only the harmless applies."""

from pathlib import Path

import pytest

from lmexp.recipe import composition
from lmexp.resume import resumed
from lmexp.run_folder import write_recipe

BEGUN = ["model=gru", "data=ptb", "optimizer.lr=0.5", "seed=3", "trainer.micro_batches=1"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that began with BEGUN."""
    folder = tmp_path / "runs" / "one"
    (folder / "checkpoints").mkdir(parents=True)
    write_recipe(composition(BEGUN).recipe, folder)
    (folder / "checkpoints" / "last.ckpt").touch()
    (folder / "checkpoints" / "best.ckpt").touch()
    return folder


def go_on(run: Path, *typed: str):
    return resumed(composition([f"resume={run}", *typed]))


def test_the_recipe_of_the_run_is_used_not_the_default(run):
    assert go_on(run) == (composition(BEGUN).recipe, run)


@pytest.mark.parametrize("part", ["", "..", "checkpoints/last.ckpt"])
def test_a_run_is_named_by_its_folder_the_one_above_or_its_checkpoint(run, part):
    assert go_on((run / part).resolve()).folder == run


@pytest.mark.parametrize(
    ("typed", "key", "value"),
    [
        ("trainer.max_steps=9", "max_steps", 9),
        ("trainer.max_time='00:01:00'", "max_time", "00:01:00"),
        ("trainer.precision=32-true", "precision", "32-true"),
        ("trainer.validate_every_steps=7", "validate_every_steps", 7),
    ],
)
def test_where_how_long_and_how_often_may_change(run, typed, key, value):
    assert go_on(run, typed).recipe["trainer"][key] == value


def test_another_trainer_changes_what_its_file_says(run):
    before, after = go_on(run).recipe["trainer"], go_on(run, "trainer=cpu").recipe["trainer"]

    assert after == {**before, "accelerator": "cpu", "devices": 1}


def test_another_logger_takes_the_place_of_the_old_one(run):
    assert go_on(run, "logger=none").recipe["logger"] == {"_target_": "lmexp.mirrors.Nothing"}


@pytest.mark.parametrize(
    ("typed", "wanted", "had"),
    [
        ("seed=4", "seed=4", "seed=3"),
        ("optimizer.lr=0.25", "optimizer.lr=0.25", "optimizer.lr=0.5"),
        ("data.batch_size=7", "data.batch_size=7", "data.batch_size=20"),
        ("model=lstm", "model.cell=lstm", "model.cell=gru"),
        ("optimizer=sgd", "optimizer._target_=torch.optim.SGD", "torch.optim.AdamW"),
        ("trainer.micro_batches=2", "micro_batches=2", "micro_batches=1"),
    ],
)
def test_what_would_change_the_result_is_refused_with_both_values(run, typed, wanted, had):
    with pytest.raises(ValueError, match="leave that out") as refused:
        go_on(run, typed)

    assert wanted in str(refused.value)
    assert had in str(refused.value)


def test_all_that_differs_is_listed_at_once(run):
    with pytest.raises(ValueError, match="leave that out") as refused:
        go_on(run, "model=lstm", "tokenizer=byte", "data.batch_size=7", "trainer.devices=4")

    for key in ("model.cell=lstm", "tokenizer._target_", "data.batch_size=7"):
        assert key in str(refused.value)
    assert "devices" not in str(refused.value)


def test_the_command_line_that_began_the_run_may_be_repeated(run):
    assert go_on(run, *BEGUN).recipe == go_on(run).recipe


def test_an_older_checkpoint_is_refused(run):
    with pytest.raises(ValueError, match=r"newest checkpoint.*resume="):
        go_on(run / "checkpoints" / "best.ckpt")
