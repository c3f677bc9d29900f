"""Which steps are left out, by arithmetic."""

import math

import pytest

from lmexp.tasks.guard import FIRST_STEPS, MOST_IN_A_ROW, Guard


def settled(guard: Guard) -> Guard:
    """After losses of 2 and 4 in turn: mean 3, standard deviation 1."""
    for step in range(400):
        assert not guard.is_spike(2.0 if step % 2 else 4.0)
        guard.took()
    return guard


@pytest.mark.parametrize(("loss", "leaps"), [(8.9, False), (9.2, True), (1e9, True), (-5.0, False)])
def test_a_spike_lies_six_deviations_above_the_mean(loss, leaps):
    assert settled(Guard()).is_spike(loss) == leaps


def test_nothing_is_a_spike_while_the_loss_falls_at_first():
    guard = Guard()

    assert not any(guard.is_spike(10.0 + 1e6 * (step == 20)) for step in range(FIRST_STEPS))


def test_a_loss_that_stays_up_is_no_spike_any_more():
    guard = settled(Guard())

    judged = [guard.is_spike(50.0) for _ in range(MOST_IN_A_ROW + 1)]

    assert judged == [True] * MOST_IN_A_ROW + [False]
    assert guard.spikes == MOST_IN_A_ROW


def test_steps_that_are_not_finite_are_left_out_only_so_often_in_a_row():
    guard = Guard(on_nonfinite="skip")
    for _ in range(MOST_IN_A_ROW):
        assert guard.may_skip_nonfinite()
        guard.skip_nonfinite()

    assert not guard.may_skip_nonfinite()
    guard.took()
    assert guard.may_skip_nonfinite()
    assert guard.skipped == MOST_IN_A_ROW


def test_a_run_stops_where_nothing_else_is_said():
    assert not Guard().may_skip_nonfinite()


def test_what_is_restored_judges_alike():
    guard, other = settled(Guard()), Guard()
    other.restore(guard.state())

    assert other.state() == guard.state()
    assert other.is_spike(9.2)
    assert all(isinstance(value, int | float) for value in guard.state().values())
    assert not math.isnan(guard.state()["_mean"])
