"""The checkpoints of a run: which are kept, which are averaged, what the average is good for."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from bigram import at, checkpoint_content

import lmexp
from lmexp import checkpoint as checkpoints
from lmexp.__main__ import main


@pytest.fixture
def content(tmp_path: Path) -> dict[str, Any]:
    return checkpoint_content(tmp_path)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder without checkpoints."""
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "recipe.yaml").write_text("seed: 0\n")
    return folder


def fill(run: Path, content: dict[str, Any], *steps: int) -> None:
    """Checkpoints of these steps, each filled with its own number."""
    for step in steps:
        weights = {name: torch.full_like(w, step) for name, w in content["state_dict"].items()}
        file = run / "checkpoints" / checkpoints.step_name(step)
        checkpoints.save(at(content, step, weights), file)


def test_the_newest_of_a_run_are_averaged_and_the_next_commands_named(content, run, capsys):
    fill(run, content, 4, 8, 12, 16, 20)
    folder = run / "checkpoints"
    (folder / "last.ckpt").hardlink_to(folder / "step-20.ckpt")
    shutil.copy(folder / "step-20.ckpt", folder / "previous.ckpt")  # the same step, saved twice
    shutil.copy(folder / "step-4.ckpt", folder / "best-40.ckpt")

    assert main(["average", str(run.parent), "--last", "3"]) == 0

    out = folder / "average_last_3.ckpt"
    told = capsys.readouterr().out
    assert f"averaged steps 12, 16, 20: the newest of {run}\n{out}\n" in told
    assert f"python -m lmexp evaluate {out}\n" in told
    assert f"python -m lmexp generate {out} " in told
    loaded = lmexp.load(out, allow_targets=["bigram"])
    assert (loaded.network.embed.weight == 16.0).all()
    assert loaded.step == 20


def test_five_are_averaged_if_no_number_is_given(content, run):
    fill(run, content, *range(1, 8))

    assert main(["average", str(run)]) == 0

    found = checkpoints.read(run / "checkpoints" / "average_last_5.ckpt")
    assert found["averaged"] == [3, 4, 5, 6, 7]


def test_last_and_previous_are_two_without_any_further_setting(content, run):
    fill(run, content, 5, 6)
    for name, step in (("last", 6), ("previous", 5)):
        (run / "checkpoints" / f"step-{step}.ckpt").rename(run / "checkpoints" / f"{name}.ckpt")

    assert main(["average", str(run), "--last", "2"]) == 0


def test_a_damaged_checkpoint_is_named_and_passed_over(content, run, capsys):
    fill(run, content, 1, 2, 3)
    (run / "checkpoints" / "step-2.ckpt").write_bytes(b"half a file")

    assert main(["average", str(run), "--last", "2"]) == 0

    told = capsys.readouterr()
    assert "averaged steps 1, 3:" in told.out
    assert "step-2.ckpt is no whole lmexp checkpoint" in told.err
    assert "passed over" in told.err
    assert told.err.count("\n") == 1


def test_a_damaged_one_that_was_named_is_refused(content, run, capsys, tmp_path):
    fill(run, content, 1, 2)
    (run / "checkpoints" / "step-2.ckpt").write_bytes(b"half a file")
    named = [str(run / "checkpoints" / f"step-{step}.ckpt") for step in (1, 2)]

    assert main(["average", *named, "--out", str(tmp_path / "mean.ckpt")]) == 2

    assert "step-2.ckpt is no whole lmexp checkpoint" in capsys.readouterr().err
    assert not (tmp_path / "mean.ckpt").exists()


def test_an_average_may_be_made_again_and_is_no_checkpoint_of_the_run(content, run):
    fill(run, content, 1, 2)
    assert main(["average", str(run), "--last", "2"]) == 0
    fill(run, content, 4)
    assert main(["average", str(run), "--last", "2"]) == 0

    found = checkpoints.read(run / "checkpoints" / "average_last_2.ckpt")
    assert found["averaged"] == [2, 4]
    assert checkpoints.newest_good(run, pytest.fail).name == "step-4.ckpt"


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("RUN --last 3", "holds 2 whole checkpoints (of steps 1, 2), and --last 3 wants 3"),
        ("RUN --last 3", "write --last 2, or train with trainer.keep_last=3"),
        ("RUN", "and --last 5 wants 5"),
        ("RUN --last 1", "--last 1: one checkpoint is its own average"),
        ("RUN --last 0", "--last 0"),
        ("RUN RUN", "2 folders"),
        ("RUN ONE", "beside .ckpt files"),
        ("ONE", "step-1.ckpt is one checkpoint, its own average"),
        ("ONE TWO", "--out RUN/checkpoints/average.ckpt"),
        ("ONE TWO --last 2 --out new.ckpt", "--last 2 counts the checkpoints of a run"),
        ("ONE TWO --out ONE", "step-1.ckpt is there already"),
        ("ONE TWO --out new.pt", "--out new.pt: commands take a checkpoint by its end"),
        ("ONE TWO --out nowhere/new.ckpt", "there is no folder nowhere"),
        ("RUN/none.ckpt ONE --out new.ckpt", "none.ckpt does not exist"),
        ("nowhere", "nowhere: no such file or folder"),
    ],
)
def test_a_mistake_is_one_line(typed, told, content, run, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    fill(run, content, 1, 2)
    named = {"ONE": f"{run}/checkpoints/step-1.ckpt", "TWO": f"{run}/checkpoints/step-2.ckpt"}
    typed = typed.replace("RUN", str(run))
    for word, path in named.items():
        typed = typed.replace(word, path)

    assert main(["average", *typed.split()]) == 2

    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert told.replace("RUN", str(run)) in error
    assert not (tmp_path / "new.ckpt").exists()


def test_a_run_without_checkpoints_says_so(run, capsys):
    assert main(["average", str(run)]) == 2
    assert "holds 0 whole checkpoints, and --last 5 wants 5: train" in capsys.readouterr().err


def small(folder: Path, text: Path) -> list[str]:
    """Overrides of a run of a second, whose moving average is evaluated."""
    model = ["model=gru", "model.d_model=16", "model.num_layers=1", "tokenizer=byte"]
    data = ["data=text", f"data.files={text}", "data.max_length=32", "data.batch_size=8"]
    trainer = ["trainer=debug", "trainer.max_steps=12", "trainer.validate_every_steps=4"]
    often = ["trainer.checkpoint_every_steps=2", "schedule.warmup_steps=0", "task.ema_decay=0.5"]
    quiet = ["task.sample_tokens=0", "logger=none", f"hydra.run.dir={folder}"]
    return [*model, *data, *trainer, *often, *quiet]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that keeps its newest 4 checkpoints."""
    folder = tmp_path_factory.mktemp("averaged")
    text = folder / "text.txt"
    text.write_text("".join(f"{n} times {n} is {n * n}\n" for n in range(300)))
    assert main(["train", *small(folder / "run", text), "trainer.keep_last=4"]) == 0
    return folder / "run"


def names(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").glob("step-*.ckpt"))


def test_a_run_keeps_as_many_of_the_newest_as_it_was_asked_to(trained):
    assert names(trained) == ["step-10.ckpt", "step-12.ckpt", "step-6.ckpt", "step-8.ckpt"]
    for name in names(trained):
        step = checkpoints.read(trained / "checkpoints" / name)["training"]["steps_done"]
        assert name == f"step-{step}.ckpt"
    assert (trained / "checkpoints" / "last.ckpt").samefile(
        trained / "checkpoints" / "step-12.ckpt"
    )


def test_an_average_of_a_run_is_evaluated_as_the_mean_of_what_it_evaluated(trained, capsys):
    assert main(["average", str(trained), "--last", "4"]) == 0
    out = trained / "checkpoints" / "average_last_4.ckpt"
    assert main(["evaluate", str(out), "--split", "val"]) == 0
    assert "val/loss" in capsys.readouterr().out

    parts = [
        dict(lmexp.load(trained / "checkpoints" / name).network.named_parameters())
        for name in names(trained)
    ]
    for name, weight in lmexp.load(out).network.named_parameters():
        expected = torch.stack([part[name].double() for part in parts]).mean(dim=0).float()
        torch.testing.assert_close(weight, expected, rtol=0, atol=1e-7)


def test_no_training_goes_on_from_an_average(trained, tmp_path, capsys):
    run = tmp_path / "copy"
    shutil.copytree(trained, run)
    assert main(["average", str(run), "--last", "4"]) == 0
    out = run / "checkpoints" / "average_last_4.ckpt"
    capsys.readouterr()

    assert main(["train", f"resume={out}"]) == 2
    assert f"write resume={run}" in capsys.readouterr().err

    out.replace(run / "checkpoints" / "last.ckpt")
    assert main(["train", f"resume={run}", "trainer.max_steps=14"]) == 2
    error = capsys.readouterr().err
    assert "last.ckpt is an average of steps 6, 8, 10, 12, without an optimizer's state" in error
    assert error.count("\n") == 1


def test_a_resume_drops_what_comes_later_and_mends_what_is_missing(trained, tmp_path):
    run = tmp_path / "copy"
    shutil.copytree(trained, run)
    folder = run / "checkpoints"
    (folder / "step-12.ckpt").unlink()  # a kill came between the checkpoint and its number
    shutil.copy(folder / "step-10.ckpt", folder / "step-99.ckpt")  # of a step that was undone

    assert main(["train", f"resume={run}", "trainer.max_steps=14"]) == 0
    assert names(run) == ["step-10.ckpt", "step-12.ckpt", "step-14.ckpt", "step-8.ckpt"]

    assert main(["train", f"resume={run}", "trainer.max_steps=16", "trainer.keep_last=2"]) == 0
    assert names(run) == ["step-10.ckpt", "step-12.ckpt", "step-14.ckpt", "step-8.ckpt"]
    assert main(["train", f"resume={run}", "trainer.max_steps=18", "trainer.keep_last=3"]) == 0
    assert names(run) == ["step-14.ckpt", "step-16.ckpt", "step-18.ckpt"]


def test_a_run_that_keeps_one_is_refused(tmp_path, capsys):
    assert main(["train", *small(tmp_path / "run", tmp_path), "trainer.keep_last=1"]) == 2
    assert "trainer.keep_last=1" in capsys.readouterr().err
