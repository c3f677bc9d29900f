"""A run that is killed and resumed equals one that was left alone, bit for bit."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from interruption import assert_same_run, interrupted, lines

from lmexp import checkpoint as checkpoints
from lmexp.recipe import main
from lmexp.run_folder import held

SIZES = {
    "rnn": ("model.d_model=16",),
    "lstm": ("model.d_model=16",),
    "gru": ("model.d_model=16",),
    "transformer": (
        "model.d_model=16",
        "model.num_heads=2",
        "model.num_kv_heads=2",
        "model.d_ff=32",
    ),
}
MOMENTS = {
    "the first step": "lmexp.tasks.causal_lm:CausalLM.sums:1",
    "inside an accumulation window": "lmexp.tasks.causal_lm:CausalLM.sums:30",
    "the last step of an epoch": "lmexp.tasks.causal_lm:CausalLM.sums:26",
    "in a validation": "lmexp.tasks.causal_lm:CausalLM.validation_step:2",
    "in a validation of the second epoch": "lmexp.tasks.causal_lm:CausalLM.validation_step:3",
    "before any checkpoint": "lmexp.checkpoint:SafeCheckpointIO.save_checkpoint:1",
    "between log and save": "lmexp.keeping:Keeper.save:4",
    "between save and link": "lmexp.keeping:Keeper._link:3",
    "while saving": "lmexp.checkpoint:SafeCheckpointIO.save_checkpoint:3",
    "in the test": "lmexp.tasks.causal_lm:CausalLM.on_test_start:1",
}


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """About 13 steps an epoch of two micro-batches each."""
    file = tmp_path / "text.txt"
    words = ["the", "import", "statement", "binds", "a", "name", "in", "scope"]
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(len(words), (900,), generator=generator).tolist()
    lines = [" ".join(words[w] for w in drawn[n : n + 6]) for n in range(0, 900, 6)]
    file.write_text("\n".join(lines) + "\n")
    return file


def overrides(model: str, text: Path, folder: Path) -> list[str]:
    """A small run with everything on that has a state."""
    return [
        f"model={model}",
        *SIZES[model],
        "model.num_layers=2",
        "model.dropout=0.3",
        "data=text",
        f"data.files={text}",
        "tokenizer=byte",
        "data.max_length=32",
        "data.batch_size=8",
        "trainer=debug",
        "trainer.max_steps=30",
        "trainer.micro_batches=2",
        "trainer.validate_every_steps=8",
        "trainer.checkpoint_every_steps=3",
        "task.ema_decay=0.9",
        "schedule.warmup_steps=2",
        "task.sample_tokens=8",
        "logger=none",
        f"hydra.run.dir={folder}",
    ]


QUICK = [  # the suite of faults has every moment, of every task
    ("transformer", "while saving"),
]
CASES = [(model, moment) for model in SIZES for moment in MOMENTS]


@pytest.mark.parametrize(
    ("model", "moment"),
    [pytest.param(*c, marks=[] if c in QUICK else [pytest.mark.slow]) for c in CASES],
)
def test_killed_and_resumed_is_bitwise_the_uninterrupted_run(model, moment, text, tmp_path):
    assert main(overrides(model, text, tmp_path / "whole")) == 0

    killed = overrides(model, text, tmp_path / "killed")
    assert interrupted(MOMENTS[moment], "SIGKILL", killed) == -signal.SIGKILL
    assert main([f"resume={tmp_path / 'killed'}"]) == 0

    assert_same_run(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.parametrize(
    ("moment", "step"),
    [
        ("inside an accumulation window", 15),  # which micro-batch 30 belongs to
        pytest.param("in a validation", 16, marks=pytest.mark.slow),
        pytest.param("in a validation of the second epoch", 24, marks=pytest.mark.slow),
    ],
)
def test_sigterm_saves_exits_143_and_the_resumed_run_is_the_same(moment, step, text, tmp_path):
    assert main(overrides("lstm", text, tmp_path / "whole")) == 0

    stopped = overrides("lstm", text, tmp_path / "stopped")
    assert interrupted(MOMENTS[moment], "SIGTERM", stopped) == 143
    saved = checkpoints.read(tmp_path / "stopped" / "checkpoints" / "last.ckpt")
    assert saved["training"]["steps_done"] == step
    assert main([f"resume={tmp_path / 'stopped'}"]) == 0

    assert_same_run(tmp_path / "whole", tmp_path / "stopped")


def test_a_run_killed_in_its_test_after_patience_ended_it_trains_no_further(text, tmp_path):
    impatient = ("trainer.patience=1", "optimizer.lr=1.0e-30")  # no validation betters the first
    assert main([*overrides("gru", text, tmp_path / "whole"), *impatient]) == 0

    killed = [*overrides("gru", text, tmp_path / "killed"), *impatient]
    assert interrupted(MOMENTS["in the test"], "SIGKILL", killed) == -signal.SIGKILL
    assert main([f"resume={tmp_path / 'killed'}"]) == 0

    assert lines(tmp_path / "whole")[-1]["step"] < 30
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


def test_a_signal_in_the_last_validation_ends_the_run_before_its_test(text, tmp_path):
    stopped = overrides("rnn", text, tmp_path / "run")
    moment = "lmexp.callbacks:Recorder.on_validation_epoch_end:4"

    assert interrupted(moment, "SIGTERM", stopped) == 143

    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["status"] == "stopped"
    assert "test/loss" not in summary


def test_two_processes_cannot_train_in_one_folder(text, tmp_path):
    folder = tmp_path / "run"
    assert main([*overrides("rnn", text, folder), "trainer.max_steps=2"]) == 0
    before = (folder / "metrics.jsonl").read_text()

    again = [sys.executable, "-m", "lmexp", "train", f"resume={folder}", "trainer.max_steps=4"]
    with held(folder):
        second = subprocess.run(again, capture_output=True, text=True)

    assert second.returncode == 2
    assert "another process is training in it" in second.stderr
    assert (folder / "metrics.jsonl").read_text() == before


def test_a_run_cannot_be_made_to_end_before_where_it_stands(text, tmp_path, capsys):
    folder = tmp_path / "run"
    assert main([*overrides("rnn", text, folder), "trainer.max_steps=4"]) == 0
    recipe = (folder / "recipe.yaml").read_text()

    assert main([f"resume={folder}", "trainer.max_steps=2"]) == 2

    assert "max_steps=2" in (error := capsys.readouterr().err)
    assert "has done 4 steps" in error
    assert (folder / "recipe.yaml").read_text() == recipe


def test_the_checkpoint_of_another_run_is_refused_with_both_values(text, tmp_path, capsys):
    for name, width in (("run", 16), ("other", 24)):
        run = overrides("rnn", text, tmp_path / name)
        assert main([*run, f"model.d_model={width}", "trainer.max_steps=2"]) == 0
    for file in (tmp_path / "other" / "checkpoints").iterdir():
        (tmp_path / "run" / "checkpoints" / file.name).write_bytes(file.read_bytes())

    assert main([f"resume={tmp_path / 'run'}", "trainer.max_steps=4"]) == 2

    error = capsys.readouterr().err.splitlines()[-1]
    assert "last.ckpt is of another run" in error
    assert "'d_model': 24" in error
    assert "'d_model': 16" in error


def test_sigterm_before_anything_began_exits_143_and_leaves_no_folder(text, tmp_path):
    stopped = overrides("rnn", text, tmp_path / "run")

    assert interrupted("lmexp.tokenizers:Bytes.__init__:1", "SIGTERM", stopped) == 143

    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("typed", ["resume=", "hydra.run.dir="])
def test_a_name_left_empty_is_refused(typed, capsys):
    assert main([typed]) == 2

    assert f"{typed} is empty" in capsys.readouterr().err


def test_a_resume_on_another_text_is_refused_with_both_hashes(text, tmp_path, capsys):
    folder = tmp_path / "run"
    assert main([*overrides("rnn", text, folder), "trainer.max_steps=2"]) == 0
    began = checkpoints.read(folder / "checkpoints" / "last.ckpt")["data_hash"]
    text.write_text(text.read_text().replace("import", "export"))

    assert main([f"resume={folder}", "trainer.max_steps=4"]) == 2

    error = capsys.readouterr().err
    assert "has changed since the run began" in error
    assert began[:12] in error


def test_a_resume_with_all_checkpoints_damaged_is_refused(text, tmp_path, capsys):
    folder = tmp_path / "run"
    assert main([*overrides("rnn", text, folder), "trainer.max_steps=4"]) == 0
    for file in (folder / "checkpoints").iterdir():
        file.write_bytes(file.read_bytes()[:100])

    assert main([f"resume={folder}", "trainer.max_steps=6"]) == 2

    assert "none of the" in capsys.readouterr().err
