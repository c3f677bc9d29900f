"""A training that loses again what it had learnt says so; no other does."""

import json
import math
import random

import pytest

from lmexp.breakdown import Breakdown, find_breakdown
from lmexp.recipe import main


def curve(*levels, lines=20, noise=0.05, seed=0):
    """(step, loss) with so many lines a level, every tenth step, after a first loss of 1."""
    rng = random.Random(seed)
    losses = [level + noise * rng.uniform(-1, 1) for level in levels for _ in range(lines)]
    return [(10 * place, loss) for place, loss in enumerate([1.0, *losses[1:]], start=1)]


FALLING = (0.9, 0.8, 0.7, 0.6, 0.55, 0.5, 0.45, 0.4, 0.35, 0.3)


@pytest.mark.parametrize(
    ("levels", "lowest", "step", "highest"),
    [
        ((0.8, 0.4, 0.5, 0.9, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0), 0.4, 400, 1.0),
        ((0.8, 0.4, 0.2, 0.9, 0.7, 0.5, 0.3, 0.2, 0.2, 0.1), 0.2, 600, 0.9),  # and recovered
        ((*FALLING[:9], 1.0), 0.35, 1800, 1.0),
    ],
)
def test_a_rise_of_more_than_half_of_the_fall_is_found(levels, lowest, step, highest):
    found = find_breakdown(curve(*levels, noise=0.0))

    assert found == (step, pytest.approx(lowest, abs=0.03), pytest.approx(highest, abs=0.03))


@pytest.mark.parametrize(
    "levels",
    [
        FALLING,
        (0.5, *[0.01] * 9),  # learnt by heart
        (0.8, 0.4, *[0.65] * 8),  # 0.25 of 0.6
        (*[0.95] * 5, *[1.0] * 5),  # nothing to lose
        (*[1.0] * 5, *[3.0] * 5),  # never learnt
    ],
)
@pytest.mark.parametrize("seed", range(20))
def test_no_alarm_over_noise_and_small_rises(levels, seed):
    assert find_breakdown(curve(*levels, seed=seed)) is None


def test_a_few_lines_say_nothing():
    assert find_breakdown(curve(0.1, 1.0, lines=10)[:19]) is None
    assert find_breakdown([]) is None


def test_losses_that_are_not_finite_are_left_out():
    broken = curve(*[0.2] * 5, *[1.0] * 5, noise=0.0)
    strange = [(step, math.nan if step % 70 == 0 else loss) for step, loss in broken]

    assert find_breakdown(strange).highest == pytest.approx(1.0)


def test_a_loss_below_zero_may_break_down_too():
    shifted = [(step, loss - 3) for step, loss in curve(0.2, 0.2, *[1.0] * 8, noise=0.0)]

    assert find_breakdown(shifted).lowest == pytest.approx(-2.8, abs=0.05)


def test_a_summary_gives_back_what_it_was_given():
    found = Breakdown(400, 0.4, 1.0)

    assert Breakdown.of({"status": "finished", **found.facts()}) == found
    assert Breakdown.of({"status": "finished"}) is None


@pytest.mark.parametrize(("rate", "breaks"), [(3.0, True), (0.01, False)])
def test_a_run_at_too_high_a_rate_says_that_it_broke_down(tmp_path, capsys, rate, breaks):
    file = tmp_path / "text.txt"
    file.write_text("".join(f"{n} times {n} is {n * n}\n" for n in range(300)))
    status = main([
        "model=gru", "model.d_model=16", "model.num_layers=1", "data=text", f"data.files={file}",
        "tokenizer=byte", "data.max_length=32", "data.batch_size=8", "trainer=debug",
        "trainer.max_steps=120", "trainer.log_every_steps=1", "schedule.warmup_steps=100",
        "task.sample_tokens=0", "logger=none", f"optimizer.lr={rate}",
        f"hydra.run.dir={tmp_path / 'run'}",
    ])  # fmt: skip

    assert status == 0
    found = Breakdown.of(json.loads((tmp_path / "run" / "summary.json").read_text()))
    assert (found is not None) == breaks
    assert ("optimizer.lr" in capsys.readouterr().out) == breaks
    assert found is None or found.lowest < found.highest - 0.5
