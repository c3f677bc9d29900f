"""A loss that is not finite on one rank ends, or is left out of, the training of all."""

import json
import math
import random
import re

import pytest
import torch
from interruption import flat, lines
from kinds import KINDS, MICRO_BATCHES, every_other, overrides

from lmexp import checkpoint as checkpoints
from lmexp.__main__ import main
from lmexp.failures import read_batches
from lmexp.replay import replay

TRIALS = 50


def assert_all_finite(folder) -> None:
    """No tensor of any checkpoint is NaN or infinite."""
    files = list(folder.rglob("*.ckpt"))
    assert files
    for file in files:
        for name, value in flat(checkpoints.read(file)).items():
            if torch.is_tensor(value) and value.is_floating_point():
                assert value.isfinite().all(), f"{file}: {name}"


def check_stop(server, text, folder, kind: str, trial: int, faults=()) -> None:
    """NaN on one of two ranks at a random step ends both there."""
    draw = random.Random(trial)
    step, rank = draw.randint(1, 29), draw.choice(["0", "1"])
    a_step = MICRO_BATCHES // 2
    call = step * a_step + draw.randint(1, a_step)  # the step's number counts from 0

    ended = server.run(
        overrides(kind, folder / "run", text, ranks=2),
        [[rank, "spoil", f"{KINDS[kind].task}.sums:{call}"], *faults],
    )

    assert ended.status == 1, ended.errors
    assert f"the loss of step {step} is not finite" in ended.errors
    assert_all_finite(folder / "run")
    kept = folder / "run" / "failures" / f"step_{step}"
    assert json.loads((kept / "failure.json").read_text())["step"] == step
    assert len(read_batches(kept)) == MICRO_BATCHES
    assert checkpoints.read(kept / "state.ckpt")["training"]["steps_done"] == step


@pytest.mark.parametrize("trial", range(TRIALS))
def test_all_ranks_stop_where_one_has_nan(trial, server, text, tmp_path):
    check_stop(server, text, tmp_path, list(KINDS)[trial % len(KINDS)], trial)


@pytest.mark.parametrize("kind", every_other(0))
def test_a_step_that_is_left_out_changes_nothing_and_the_run_goes_on(kind, server, text, tmp_path):
    ended = server.run(
        [*overrides(kind, tmp_path / "run", text, ranks=2), "trainer.on_nonfinite=skip"],
        [["1", "spoil", f"{KINDS[kind].task}.sums:9"]],  # of its two a step: the fifth step
    )

    assert ended.status == 0, ended.errors
    assert "the loss of step 4 is not finite: left out" in ended.errors
    assert_all_finite(tmp_path / "run")
    training = checkpoints.read(tmp_path / "run" / "checkpoints" / "last.ckpt")["training"]
    assert (training["steps_done"], training["updates_done"]) == (30, 29)
    losses = [line["train/loss"] for line in lines(tmp_path / "run") if "train/loss" in line]
    assert len(losses) == 29  # of the step that was left out there is none
    assert all(math.isfinite(loss) for loss in losses)
    assert (tmp_path / "run" / "failures" / "step_4" / "batch.pt").exists()


def check_spike(server, text, folder, kind: str, on_spike: str, faults=()) -> None:
    """A loss that leaps up on one of two ranks, once the guard has seen enough, is told of."""
    arguments = overrides(kind, folder, text, ranks=2, steps=70)
    step, a_step = 60, MICRO_BATCHES // 2
    leap = ["1", "leap", f"{KINDS[kind].task}.sums:{(step + 1) * a_step}", 1000.0]

    ended = server.run([*arguments, f"trainer.on_spike={on_spike}"], [leap, *faults])

    assert ended.status == 0, ended.errors
    told = re.findall(r"the loss of step (\d+) leaps up to \S+( left out)?", ended.errors)
    is_skipped = on_spike == "skip"
    assert told == [(str(step), " left out" if is_skipped else "")]
    training = checkpoints.read(folder / "checkpoints" / "last.ckpt")["training"]
    assert training["updates_done"] == 70 - is_skipped
    assert training["guard"]["spikes"] == 1
    kept = folder / "failures" / f"step_{step}" / "batch.pt"
    assert kept.exists() == is_skipped
    losses = [line["train/loss"] for line in lines(folder) if "train/loss" in line]
    assert len(losses) == 70 - is_skipped
    assert (max(losses) > 10 * losses[0]) != is_skipped


@pytest.mark.parametrize("kind", ["transformer", "translation lstm"])
@pytest.mark.parametrize("on_spike", ["report", "skip"])
def test_a_loss_that_leaps_up_is_told_of_and_left_out_if_wanted(
    on_spike, kind, server, text, tmp_path
):
    check_spike(server, text, tmp_path, kind, on_spike)


def overflowing(server, text, folder, kind: str, ranks: int):
    """How a run ended whose weights, finite, are too large for float32: its loss is not."""
    arguments = [*overrides(kind, folder, text, ranks=ranks), "trainer.max_steps=4"]
    assert server.run([*arguments, "trainer.checkpoint_every_steps=2"]).status == 0
    last = folder / "checkpoints" / "last.ckpt"
    checkpoint = checkpoints.read(last)
    for name, value in checkpoint["state_dict"].items():
        if name.endswith(("output.weight", "head.bias", "network.head.weight")):
            value.fill_(3e38)
    checkpoints.save(checkpoint, last)
    return server.run([f"resume={folder}", "trainer.max_steps=8"])


@pytest.mark.parametrize("kind", every_other(1))
def test_replay_reproduces_a_loss_that_is_not_finite(kind, server, text, tmp_path, capsys):
    ended = overflowing(server, text, tmp_path / "run", kind, ranks=2)
    failure = tmp_path / "run" / "failures" / "step_4"

    assert ended.status == 1
    assert f"python -m lmexp replay {failure}" in ended.errors
    found = replay(failure, "32-true")
    assert [one.is_finite for one in found] == [False] * MICRO_BATCHES
    assert all(len(one.rows) > 0 for one in found)
    assert main(["replay", str(failure)]) == 0
    assert "reproduced" in capsys.readouterr().out


def test_replay_of_a_healthy_step_says_so(server, text, tmp_path, capsys):
    overflowing(server, text, tmp_path / "run", "lstm", ranks=1)
    failure = tmp_path / "run" / "failures" / "step_4"
    state = checkpoints.read(failure / "state.ckpt")
    state["state_dict"]["network.output.weight"].normal_(0, 0.02)
    checkpoints.save(state, failure / "state.ckpt")

    assert main(["replay", str(failure)]) == 1
    assert "not reproduced: every loss and gradient is finite here" in capsys.readouterr().out
