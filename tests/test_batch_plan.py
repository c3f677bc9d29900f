import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmexp.batch_plan import LanePlan, ScoringPlan, WindowPlan, deal


@st.composite
def window_plans(draw):
    max_length, batch_size = draw(st.integers(1, 9)), draw(st.integers(1, 7))
    num_tokens = draw(st.integers((batch_size + 1) * max_length + 1, 300))
    micro_batches, seed = draw(st.integers(1, 9)), draw(st.integers(0, 99))
    return num_tokens, max_length, batch_size, micro_batches, seed


@st.composite
def lane_plans(draw):
    max_length, lanes = draw(st.integers(1, 9)), draw(st.integers(1, 7))
    num_tokens = draw(st.integers(lanes * max_length + 1, 300))
    return num_tokens, max_length, lanes, draw(st.integers(1, 9)), draw(st.integers(0, 99))


def predicted(plan, epoch, num_tokens):
    """How often each token of the stream is a label in an epoch."""
    times = np.zeros(num_tokens, dtype=int)
    for step in range(plan.steps_per_epoch):
        for starts in plan.step(epoch, step):
            for start in starts:
                times[start + 1 : start + 1 + plan.width(step)] += 1
                assert start >= 0
                assert start + plan.width(step) < num_tokens
    return times


@given(window_plans(), st.integers(0, 5))
def test_windows_predict_every_token_once_an_epoch_but_for_the_ragged_ends(sizes, epoch):
    num_tokens, max_length, *_ = sizes

    times = predicted(WindowPlan(*sizes), epoch, num_tokens)

    inside = np.flatnonzero(times)
    assert (times[inside[0] : inside[-1] + 1] == 1).all()
    assert inside[0] <= max_length  # token 0 has nothing before it, so it is never predicted
    assert num_tokens - 1 - len(inside) <= 2 * max_length - 2


@given(lane_plans(), st.integers(0, 5))
def test_lanes_predict_every_token_once_an_epoch_but_for_fewer_than_lanes(sizes, epoch):
    num_tokens, _, lanes, *_ = sizes

    times = predicted(LanePlan(*sizes), epoch, num_tokens)

    inside = np.flatnonzero(times)
    assert (times[inside[0] : inside[-1] + 1] == 1).all()
    assert num_tokens - 1 - len(inside) < lanes


@given(lane_plans())
def test_a_lane_goes_on_where_it_ended(sizes):
    plan = LanePlan(*sizes)

    steps = [np.concatenate(plan.step(3, step)) for step in range(plan.steps_per_epoch)]

    for step, (before, after) in enumerate(itertools.pairwise(steps)):
        assert (after == before + plan.width(step)).all()


def test_lanes_carry_state_but_into_the_first_step_of_an_epoch():
    plan = LanePlan(41, 5, 2, 1, seed=0)

    carries = [plan.carries(step) for step in range(plan.steps_per_epoch)]

    assert carries == [False, True, True, True]


def test_the_last_step_of_lanes_is_as_wide_as_what_is_left():
    plan = LanePlan(2 * 13 + 1, 5, 2, 1, seed=0)

    assert [plan.width(step) for step in range(plan.steps_per_epoch)] == [5, 5, 3]


@given(window_plans(), st.integers(1, 9))
def test_the_order_is_the_same_however_many_micro_batches(sizes, other):
    *most, micro_batches, seed = sizes
    plans = WindowPlan(*most, micro_batches, seed), WindowPlan(*most, other, seed)

    for step in range(plans[0].steps_per_epoch):
        one, two = (np.concatenate(plan.step(1, step)) for plan in plans)
        np.testing.assert_array_equal(one, two)


@given(window_plans())
def test_a_step_is_shared_out_evenly(sizes):
    plan = WindowPlan(*sizes)

    for step in range(plan.steps_per_epoch):
        rows = [len(starts) for starts in plan.step(0, step)]
        assert len(rows) == sizes[3]
        assert max(rows) - min(rows) <= 1


@given(window_plans(), st.integers(0, 3), st.integers(0, 3))
def test_a_step_depends_on_seed_and_position_alone(sizes, epoch, other_epoch):
    used, fresh = WindowPlan(*sizes), WindowPlan(*sizes)
    used.step(other_epoch, 0)

    for one, two in zip(used.step(epoch, 0), fresh.step(epoch, 0), strict=True):
        np.testing.assert_array_equal(one, two)


def test_epochs_and_seeds_have_orders_of_their_own():
    plan, other = WindowPlan(10_000, 8, 4, 1, seed=0), WindowPlan(10_000, 8, 4, 1, seed=1)

    first = [tuple(p.step(epoch, 0)[0] % 10_000) for p in (plan, other) for epoch in (0, 1)]

    assert len(set(first)) == 4


def test_an_epoch_has_the_last_smaller_step():
    plan = WindowPlan(10 * 8 + 8, 8, 4, 2, seed=0)  # ten windows, whatever the offset

    rows = [[len(starts) for starts in plan.step(0, step)] for step in range(plan.steps_per_epoch)]

    assert rows == [[2, 2], [2, 2], [1, 1]]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=9), st.integers(1, 5))
def test_every_rank_gets_as_many_and_together_all_of_it(sizes, world_size):
    micro_batches = [np.full(size, i) for i, size in enumerate(sizes)]

    dealt = [deal(micro_batches, rank, world_size) for rank in range(world_size)]

    assert len({len(mine) for mine in dealt}) == 1
    back = [mine[i] for i in range(len(dealt[0])) for mine in dealt]
    np.testing.assert_array_equal(np.concatenate(back), np.concatenate(micro_batches))


def test_a_text_shorter_than_one_block_is_refused_with_what_to_write():
    with pytest.raises(ValueError, match=r"200 tokens .* max_length=256 .* data.max_length=99 "):
        WindowPlan(200, 256, 1, 1, seed=0)


def test_a_text_shorter_than_one_step_is_refused_with_what_to_write():
    with pytest.raises(
        ValueError, match=r"make 2 blocks .* the 16 .* data.batch_size=2 or data.batch_tokens=512,"
    ):
        WindowPlan(3 * 256, 256, 16, 1, seed=0)


def test_what_the_refusal_of_a_short_text_says_works():
    assert WindowPlan(200, 99, 1, 1, seed=0).steps_per_epoch == 1


def test_lanes_shorter_than_a_block_are_refused_with_what_to_write():
    with pytest.raises(ValueError, match=r"in 20 lanes are 49 tokens .* data.max_length=49"):
        LanePlan(1000, 50, 20, 1, seed=0)


@st.composite
def scorings(draw):
    lengths = draw(st.lists(st.integers(1, 40), min_size=1, max_size=8))
    context = draw(st.integers(1, 12))
    carry = draw(st.booleans())
    stride = context if carry else draw(st.integers(1, context))
    return lengths, context, stride, draw(st.integers(1, 5)), carry, draw(st.integers(1, 3))


@given(scorings())
def test_each_token_of_a_document_is_scored_once_and_its_first_never(scoring):
    lengths, context, stride, batch_size, carry, world_size = scoring
    starts = np.cumsum([0, *lengths[:-1]])
    if max(lengths) == 1:
        return
    plan = ScoringPlan(starts, sum(lengths), context, stride, batch_size=batch_size, carry=carry)

    times = np.zeros(sum(lengths), dtype=int)
    dealt = [plan.batches(rank, world_size) for rank in range(world_size)]
    for rows in (rows for mine in dealt for rows in mine):
        for start, length, scored_from in zip(*plan.spans(rows), strict=True):
            assert length <= context
            document = np.searchsorted(starts, start, side="right") - 1
            assert start + length < starts[document] + lengths[document]
            times[start + scored_from + 1 : start + length + 1] += 1

    expected = np.ones(sum(lengths), dtype=int)
    expected[starts] = 0
    np.testing.assert_array_equal(times, expected)
    assert len({len(mine) for mine in dealt}) == 1


def test_every_token_scored_has_context_less_stride_tokens_before_it():
    plan = ScoringPlan(np.array([0]), 100, 10, 4, batch_size=100, carry=False)

    spans = plan.spans(plan.batches(0, 1)[0])

    begins_inside = spans.starts > 0
    assert (spans.scored_from[begins_inside] == 6).all()
    assert (spans.scored_from[~begins_inside] == 0).all()


def test_longest_windows_come_first():
    plan = ScoringPlan(np.array([0, 5, 30]), 42, 10, 10, batch_size=2, carry=False)

    lengths = [plan.spans(rows).lengths.tolist() for rows in plan.batches(0, 1)]

    assert lengths == [[10, 10], [10, 4], [4, 1]]


def test_a_carried_evaluation_goes_through_documents_in_order():
    plan = ScoringPlan(np.array([0, 5, 30]), 42, 10, 10, batch_size=2, carry=True)

    rows = plan.batches(0, 1)

    assert [plan.spans(row).starts.tolist() for row in rows] == [[0], [5], [15], [25], [30], [40]]
    assert [plan.carries(row) for row in rows] == [False, False, True, True, False, True]
