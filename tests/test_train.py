"""Runs that end in other ways than at their last step, and what they leave behind."""

import json
import math
import resource
import signal
from pathlib import Path

import pytest
import torch

import lmexp
from lmexp import checkpoint as checkpoints
from lmexp.recipe import main
from lmexp.tasks.causal_lm import CausalLM


@pytest.fixture
def small(tmp_path: Path) -> list[str]:
    """Overrides of a run of a second."""
    file = tmp_path / "text.txt"
    file.write_text("".join(f"{n} times {n} is {n * n}\n" for n in range(300)))
    return [
        "model=gru",
        "model.d_model=16",
        "model.num_layers=1",
        "data=text",
        f"data.files={file}",
        "tokenizer=byte",
        "data.max_length=32",
        "data.batch_size=8",
        "trainer=debug",
        "trainer.max_steps=12",
        "trainer.validate_every_steps=4",
        "trainer.checkpoint_every_steps=1",
        "schedule.warmup_steps=0",
        "task.sample_tokens=4",
        "logger=none",
        f"hydra.run.dir={tmp_path / 'run'}",
    ]


def summary(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_last_good_checkpoint(
    small, tmp_path, capsys
):
    explosive = ["optimizer=sgd", "optimizer.lr=1.0e38", "task.clip_norm=null"]

    assert main([*small, *explosive]) == 1

    error = capsys.readouterr().err
    assert "is not finite" in error
    assert "last good checkpoint" in error
    assert summary(tmp_path / "run")["status"] == "failed"
    saved = checkpoints.read(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert all(torch.isfinite(value).all() for value in saved["state_dict"].values())


def test_max_time_ends_the_run_validated_saved_and_tested(small, tmp_path):
    assert main([*small, "trainer.max_steps=1_000_000", "trainer.max_time=00:00:01"]) == 0

    end = summary(tmp_path / "run")
    assert end["status"] == "finished"
    assert "max_time" in end["stopped_because"]
    assert end["test/loss"] > 0
    saved = checkpoints.read(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert saved["training"]["steps_done"] == end["step"] < 1_000_000


def test_a_finished_run_without_its_checkpoints_keeps_its_record(small, tmp_path, capsys):
    assert main(small) == 0
    before = (tmp_path / "run" / "metrics.jsonl").read_text()
    for file in (tmp_path / "run" / "checkpoints").iterdir():
        file.unlink()

    assert main([f"resume={tmp_path / 'run'}"]) == 2

    assert "has lost its checkpoints" in capsys.readouterr().err
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == before


def test_patience_ends_a_run_that_no_longer_improves(small, tmp_path):
    still = ["optimizer.lr=1.0e-30", "trainer.patience=1", "trainer.max_steps=400"]

    assert main([*small, *still]) == 0

    end = summary(tmp_path / "run")
    assert end["step"] == 8  # the first validation sets the mark, the second does not beat it
    assert end["best/step"] == 4


def test_a_resume_with_more_steps_goes_on_to_them(small, tmp_path):
    assert main(small) == 0
    assert main([f"resume={tmp_path / 'run'}", "trainer.max_steps=16"]) == 0

    steps = [
        json.loads(line)["step"]
        for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
        if "train/loss" in line
    ]
    assert steps == list(range(1, 17))


def test_the_newest_two_and_the_best_checkpoints_are_kept(small, tmp_path):
    assert main([*small, "trainer.keep_best=2"]) == 0

    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == ["best-12.ckpt", "best-8.ckpt", "best.ckpt", "last.ckpt", "previous.ckpt"]


def test_what_is_loaded_computes_what_was_trained(small, tmp_path):
    assert main([*small, "task.ema_decay=0.5"]) == 0

    loaded = lmexp.load(tmp_path / "run")
    saved = checkpoints.read(loaded.path)

    averages = saved["training"]["average"]
    weights = dict(loaded.network.named_parameters())
    assert all(torch.equal(weights[key], averages[key]) for key in weights)
    assert loaded.step == 12
    assert loaded.tokenizer.decode(loaded.tokenizer.encode("3 times 3")) == "3 times 3"


def test_the_weights_of_another_network_are_refused_with_the_file_and_both_shapes(small, tmp_path):
    assert main(small) == 0
    file = tmp_path / "run" / "checkpoints" / "last.ckpt"
    saved = checkpoints.read(file)
    saved["recipe"]["model"]["d_model"] = 24
    checkpoints.save(saved, file)

    with pytest.raises(ValueError, match=r"last\.ckpt holds the weights of another network"):
        lmexp.load(file)


@pytest.mark.parametrize(
    "change",
    [
        ("model=transformer", "model.num_heads=2", "model.d_ff=32", "optimizer=muon"),
        ("schedule=plateau",),
    ],
)
def test_every_kind_of_run_finishes(change, small, tmp_path):
    assert main([*small, *change]) == 0
    assert summary(tmp_path / "run")["status"] == "finished"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "precision", "near"),
    [
        ("transformer", "32-true", 1e-4),
        ("gru", "32-true", 1e-4),
        ("transformer", "bf16-mixed", 1e-2),
    ],
)
def test_a_compiled_network_learns_the_same_and_is_compiled(
    model, precision, near, small, tmp_path
):
    sizes = ["model.num_heads=2", "model.d_ff=32"] if model == "transformer" else []
    run = [*small, f"model={model}", *sizes, "model.dropout=0.0", "trainer.max_steps=4"]
    run.append(f"trainer.precision={precision}")
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    assert main(run) == 0
    assert not torch._dynamo.utils.counters["frames"]

    assert main([*run, "trainer.compile=true", f"hydra.run.dir={tmp_path / 'compiled'}"]) == 0

    assert torch._dynamo.utils.counters["frames"]["ok"] > 0
    plain, compiled = summary(tmp_path / "run"), summary(tmp_path / "compiled")
    assert compiled["test/loss"] == pytest.approx(plain["test/loss"], abs=near)


def test_label_smoothing_changes_what_is_minimised_and_not_what_is_reported(small, tmp_path):
    still = ["optimizer.lr=1.0e-30", "model.dropout=0.0", "trainer.max_steps=1"]
    assert main([*small, *still]) == 0
    smoothed = [*small, *still, "task.label_smoothing=0.5"]
    assert main([*smoothed, f"hydra.run.dir={tmp_path / 'smoothed'}"]) == 0

    plain, smooth = summary(tmp_path / "run"), summary(tmp_path / "smoothed")
    assert smooth["train/loss"] == plain["train/loss"]
    assert smooth["train/gradient_norm"] < 0.9 * plain["train/gradient_norm"]


def test_a_validation_loss_that_is_not_finite_ends_the_run(small, tmp_path, capsys, monkeypatch):
    def diverged(task, store):
        return {"loss": math.nan}

    monkeypatch.setattr(CausalLM, "validated", diverged)

    assert main(small) == 1

    assert "val/loss after step 4 is not finite" in capsys.readouterr().err
    saved = checkpoints.read(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert saved["training"]["steps_done"] == 3
    assert not (tmp_path / "run" / "checkpoints" / "best.ckpt").exists()


def test_a_run_that_never_began_leaves_no_folder(small, tmp_path, capsys):
    assert main([*small, "data.files=nowhere.txt"]) == 2

    assert "nowhere.txt" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_disk_that_is_full_keeps_the_checkpoints_and_says_what_to_do(
    small, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("lmexp.environment._git", lambda *_: None)  # a diff may be longer
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    sized = [*small, "trainer.max_steps=100_000", "trainer.checkpoint_every_steps=10"]
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        assert main([*sized, "trainer.validate_every_steps=100_000"]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)

    error = capsys.readouterr().err.splitlines()[-1]
    assert "metrics.jsonl could not be written" in error
    assert f"resume={tmp_path / 'run'}" in error
    assert main([f"resume={tmp_path / 'run'}", "trainer.max_time=00:00:01"]) == 0


def test_speed_is_that_of_all_steps_and_survives_a_resume_that_only_tests(small, tmp_path):
    assert main(small) == 0
    before = summary(tmp_path / "run")["tokens_per_second"]

    assert main([f"resume={tmp_path / 'run'}"]) == 0

    assert summary(tmp_path / "run")["tokens_per_second"] == before > 0


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true"])
def test_every_precision_trains_to_a_finite_loss(precision, small, tmp_path):
    assert main([*small, f"trainer.precision={precision}"]) == 0
    assert 0 < summary(tmp_path / "run")["test/loss"] < 6
