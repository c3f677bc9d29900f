"""Each schedule against its formula, worked out by hand."""

import math

import pytest

from lmexp.schedules import (
    Constant,
    InverseSqrt,
    Plateau,
    StepDecay,
    WarmupCosine,
    WarmupStableDecay,
)


@pytest.mark.parametrize(
    "schedule",
    [Constant(4), WarmupCosine(4, 0.1, 100), WarmupStableDecay(4, 20, 0.0, 100), InverseSqrt(4)],
)
def test_warmup_rises_by_equal_parts_and_reaches_one(schedule):
    assert [schedule.factor(step) for step in range(4)] == pytest.approx([0.25, 0.5, 0.75, 1.0])


def test_without_warmup_the_first_step_has_the_whole_rate():
    assert Constant(0).factor(0) == 1.0
    assert WarmupCosine(0, 0.1, 10).factor(0) == 1.0


def test_cosine_is_halfway_between_one_and_the_final_factor_in_the_middle():
    schedule = WarmupCosine(warmup_steps=10, final_factor=0.2, total_steps=110)

    assert schedule.factor(10) == 1.0
    assert schedule.factor(60) == pytest.approx(0.6)  # (1 + 0.2) / 2
    assert schedule.factor(110) == pytest.approx(0.2)
    assert schedule.factor(10_000) == pytest.approx(0.2)


def test_inverse_sqrt_halves_when_the_step_is_fourfold():
    schedule = InverseSqrt(warmup_steps=100)

    assert schedule.factor(399) == pytest.approx(0.5)
    assert schedule.factor(1_599) == pytest.approx(0.25)


def test_warmup_stable_decay_holds_then_falls_as_one_minus_sqrt():
    schedule = WarmupStableDecay(10, decay_steps=100, final_factor=0.0, total_steps=1_000)

    assert schedule.factor(899) == 1.0
    assert schedule.factor(925) == pytest.approx(1 - math.sqrt(0.25))
    assert schedule.factor(1_000) == pytest.approx(0.0)


def test_step_decay_multiplies_once_every_so_many_steps():
    schedule = StepDecay(hold_steps=4, every_steps=2, decay=0.5)

    assert [schedule.factor(step) for step in range(8)] == [1, 1, 1, 1, 0.5, 0.5, 0.25, 0.25]


def test_plateau_falls_after_patience_and_goes_on_from_a_saved_state():
    schedule = Plateau(warmup_steps=0, patience=1, decay=0.5, min_factor=0.2)
    for loss in (3.0, 2.0, 2.5):
        schedule.observe(loss)
    resumed = Plateau(warmup_steps=0, patience=1, decay=0.5, min_factor=0.2)
    resumed.restore(schedule.state())

    factors = []
    for loss in (2.1, 2.1, 2.1, 1.0):
        resumed.observe(loss)
        factors.append(resumed.factor(0))

    assert factors == [0.5, 0.5, 0.25, 0.25]


def test_plateau_never_falls_below_its_floor():
    schedule = Plateau(warmup_steps=0, patience=0, decay=0.1, min_factor=0.05)
    for _ in range(5):
        schedule.observe(1.0)
    assert schedule.factor(0) == 0.05
