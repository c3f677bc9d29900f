"""A text-to-text run that is killed and resumed equals one that was left alone, bit for bit."""

import json
import signal
from pathlib import Path

import pytest
from interruption import assert_same_run, interrupted

from lmexp import checkpoint as checkpoints
from lmexp.recipe import main

MODELS = {
    "transformer": (
        "model.d_model=16",
        "model.num_heads=2",
        "model.num_kv_heads=2",
        "model.d_ff=32",
    ),
    "gru": ("model.d_model=16",),
}
MOMENTS = {
    "the first step": "lmexp.tasks.text_to_text:TextToText.sums:1",
    "inside an accumulation window": "lmexp.tasks.text_to_text:TextToText.sums:30",
    "the last step of an epoch": "lmexp.tasks.text_to_text:TextToText.sums:26",
    "in a validation of the second epoch": "lmexp.tasks.text_to_text:TextToText.validation_step:3",
    "in a sample": "lmexp.tasks.text_to_text:TextToText.sample:2",
    "between log and save": "lmexp.keeping:Keeper.save:4",
    "while saving": "lmexp.checkpoint:SafeCheckpointIO.save_checkpoint:3",
    "in the test": "lmexp.tasks.text_to_text:TextToText.on_test_start:1",
}
EPOCH = 13  # steps: the moments above are counted by it


def overrides(model: str, folder: Path) -> list[str]:
    """A small run with everything on that has a state."""
    return [
        f"model={model}",
        *MODELS[model],
        "model.num_layers=2",
        "model.dropout=0.3",
        "data=reverse",
        "data.corpus.size=208",
        "data.corpus.val_size=20",
        "data.corpus.test_size=20",
        "data.batch_tokens=null",
        f"data.batch_size={208 // EPOCH}",
        "trainer=debug",
        "trainer.max_steps=30",
        "trainer.micro_batches=2",
        "optimizer.lr=0.01",
        "trainer.validate_every_steps=8",
        "trainer.checkpoint_every_steps=3",
        "task.ema_decay=0.9",
        "task.label_smoothing=0.1",
        "schedule.warmup_steps=2",
        "eval.sample_pairs=4",
        "eval.beam_size=2",
        "eval.max_extra=2",
        "logger=none",
        f"hydra.run.dir={folder}",
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Gives the folder of a model's run that nobody interrupted; each is trained once."""
    done = {}

    def run(model: str) -> Path:
        if model not in done:
            done[model] = tmp_path_factory.mktemp("whole") / model
            assert main(overrides(model, done[model])) == 0
        return done[model]

    return run


@pytest.mark.parametrize("model", MODELS)
def test_what_is_compared_has_an_average_and_more_than_two_epochs(model, whole):
    training = checkpoints.read(whole(model) / "checkpoints" / "last.ckpt")["training"]

    assert len(training["average"]) > 10
    assert training["steps_done"] == 30 > 2 * EPOCH


QUICK = [("gru", "inside an accumulation window")]  # the suite of faults has them all
CASES = [(model, moment) for model in MODELS for moment in MOMENTS]


@pytest.mark.parametrize(
    ("model", "moment"),
    [pytest.param(*c, marks=[] if c in QUICK else [pytest.mark.slow]) for c in CASES],
)
def test_killed_and_resumed_is_bitwise_the_uninterrupted_run(model, moment, whole, tmp_path):
    killed = overrides(model, tmp_path)

    assert interrupted(MOMENTS[moment], "SIGKILL", killed) == -signal.SIGKILL
    assert main([f"resume={tmp_path}"]) == 0

    assert_same_run(whole(model), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_sigterm_saves_exits_143_and_the_resumed_run_is_the_same(model, whole, tmp_path):
    stopped = overrides(model, tmp_path)

    assert interrupted(MOMENTS["inside an accumulation window"], "SIGTERM", stopped) == 143
    saved = checkpoints.read(tmp_path / "checkpoints" / "last.ckpt")
    assert saved["training"]["steps_done"] == 15  # which micro-batch 30 belongs to
    assert main([f"resume={tmp_path}"]) == 0

    assert_same_run(whole(model), tmp_path)


def test_a_resume_on_other_pairs_is_refused_with_both_hashes(tmp_path, capsys):
    files = tmp_path / "a.en", tmp_path / "a.de"
    for file in files:
        file.write_text("".join(f"{number} {file.suffix}\n" for number in range(99)))
    folder = tmp_path / "run"
    run = [*overrides("gru", folder), "data=parallel", "tokenizer=byte", "trainer.max_steps=2"]
    run = [typed for typed in run if not typed.startswith("data.corpus.")]
    written = f"data.train=[{files[0]},{files[1]}]"
    assert main([*run, written, "data.val_fraction=0.1", "data.test_fraction=0.1"]) == 0
    began = json.loads((folder / "environment.json").read_text())["data"]["data_hash"]
    files[1].write_text(files[1].read_text().replace("7", "8"))

    assert main([f"resume={folder}", "trainer.max_steps=4"]) == 2

    error = capsys.readouterr().err
    assert "have changed since the run began" in error
    assert began[:12] in error
