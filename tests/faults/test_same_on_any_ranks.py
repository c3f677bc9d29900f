"""What is learnt depends neither on the number of ranks nor on how a step is cut."""

import pytest
import torch
from interruption import flat, lines
from kinds import KINDS, every_other, one_each, overrides
from test_kill import rows_by_step

from lmexp import checkpoint as checkpoints

CUTS = ((1, 4), (2, 2), (4, 1))  # ranks, micro-batches of each
STEPS = 50
IN_FLOAT64 = ["all", "in_float64"]


def weights(folder) -> dict[str, torch.Tensor]:
    return flat(checkpoints.read(folder / "checkpoints" / "last.ckpt")["state_dict"])


def difference(folder, other) -> float:
    """The largest of the relative differences of the parameters, each in its Euclidean norm."""
    ours, theirs = weights(folder), weights(other)
    return max(float((ours[n] - theirs[n]).norm() / theirs[n].norm()) for n in theirs)


def train(server, text, folder, kind: str, ranks: int, faults=()):
    rows = ["all", "write_rows", str(folder.with_suffix(".rows"))]
    ended = server.run(
        overrides(kind, folder, text, ranks=ranks, steps=STEPS), [rows, IN_FLOAT64, *faults]
    )
    assert ended.status == 0, ended.errors


def check(server, text, folder, kind: str, faults=()) -> None:
    for ranks, _ in CUTS:
        train(server, text, folder / str(ranks), kind, ranks, faults)
    one, *others = (folder / str(ranks) for ranks, _ in CUTS)
    seen = rows_by_step(one.with_suffix(".rows"))
    for other in others:
        for step, rows in rows_by_step(other.with_suffix(".rows")).items():
            assert sorted(rows) == sorted(seen[step]), step
        assert difference(other, one) < 1e-10


@pytest.mark.parametrize("kind", KINDS)
def test_ranks_times_accumulation_is_one_training(kind, server, text, tmp_path):
    check(server, text, tmp_path, kind)


@pytest.mark.parametrize("kind", every_other(1))
def test_means_of_ranks_would_be_another_training(kind, server, text, tmp_path):
    train(server, text, tmp_path / "sums", kind, 2)
    train(server, text, tmp_path / "means", kind, 2, [["all", "average_means_of_ranks"]])

    assert difference(tmp_path / "means", tmp_path / "sums") > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_goes_on_along_the_same_curve_on_other_numbers_of_ranks(kind, server, text, tmp_path):
    whole = server.run(overrides(kind, tmp_path / "whole", text))
    assert whole.status == 0, whole.errors
    moved = overrides(kind, tmp_path / "moved", text, ranks=2, steps=30)
    later = f"resume={tmp_path / 'moved'}"
    stop = [["all", "stop_after", 11]]
    assert server.run(moved, stop).status == 143
    assert server.run([later, "trainer.devices=1"], [["all", "stop_after", 19]]).status == 143
    ended = server.run([later, "trainer.devices=4"])
    assert ended.status == 0, ended.errors

    losses = [
        {line["step"]: line["train/loss"] for line in lines(folder) if "train/loss" in line}
        for folder in (tmp_path / "whole", tmp_path / "moved")
    ]
    assert len(losses[0]) == 30
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


@pytest.mark.parametrize(("kind", "ranks"), one_each([1, 3, 4]))
def test_a_validation_is_made_up_for_on_more_ranks_than_micro_batches(
    kind, ranks, server, text, tmp_path
):
    run, task = tmp_path / "run", KINDS[kind].task
    arguments = [*overrides(kind, run, text, ranks=2), "trainer.micro_batches=2"]
    stop = [["1", "send_signal", f"{task}.validation_step:2", "SIGTERM"]]
    assert server.run(arguments, stop).status == 143

    ended = server.run([f"resume={run}", f"trainer.devices={ranks}"])
    assert ended.status == 0, ended.errors
    saved = checkpoints.read(run / "checkpoints" / "last.ckpt")["training"]
    assert (saved["steps_done"], len(saved["carried"])) == (30, 2)
    again = server.run([f"resume={run}", "trainer.devices=2", "trainer.max_steps=32"])
    assert again.status == 0, again.errors
