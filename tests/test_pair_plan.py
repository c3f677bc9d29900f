import numpy as np
import pytest

from lmexp.pair_plan import BucketPlan, Lengths, PairScoringPlan, padding_share


def lengths(count, seed=0):
    generator = np.random.default_rng(seed)
    target = generator.integers(2, 40, count)
    return Lengths(np.maximum(2, target + generator.integers(-8, 9, count)), target)


def plan(sizes, **changes):
    options = {"batch_size": None, "batch_tokens": 600, "micro_batches": 1, "seed": 0}
    return BucketPlan(sizes, **(options | changes))


def epoch(a_plan, number):
    return [a_plan.step(number, step) for step in range(a_plan.steps_per_epoch)]


@pytest.mark.parametrize(
    "changes", [{}, {"micro_batches": 3}, {"batch_size": 7} | {"batch_tokens": None}]
)
def test_every_pair_is_read_once_an_epoch(changes):
    read = np.concatenate(
        [rows for step in epoch(plan(lengths(997), **changes), 4) for rows in step]
    )
    assert sorted(read.tolist()) == list(range(997))


def test_no_side_of_a_step_has_more_tokens_than_it_may():
    sizes = lengths(997)

    for (rows,) in epoch(plan(sizes), 0):
        assert len(rows) * max(side[rows].max() for side in sizes) <= 600


def test_a_step_is_as_full_as_it_can_be():
    """Sources of 4 tokens, targets of 3 or 5: three rows of 4, or two of 5, fit into 12."""
    sizes = Lengths(np.full(7, 4), np.array([3, 5, 3, 5, 3, 5, 3]))

    steps = epoch(plan(sizes, batch_tokens=12), 0)

    assert sorted(sorted(sizes.target[rows].tolist()) for (rows,) in steps) == [
        [3, 3, 3],
        [3, 5],
        [5, 5],
    ]


def test_a_pair_longer_than_a_step_gets_one_of_its_own():
    sizes = Lengths(np.array([2, 90, 2]), np.array([2, 4, 2]))
    assert sorted(len(rows) for (rows,) in epoch(plan(sizes, batch_tokens=10), 0)) == [1, 2]


def test_the_number_of_micro_batches_does_not_change_what_a_step_reads():
    whole, cut = plan(lengths(500)), plan(lengths(500), micro_batches=4)

    for one, four in zip(epoch(whole, 2), epoch(cut, 2), strict=True):
        assert len(four) == 4
        assert one[0].tolist() == np.concatenate(four).tolist()
        assert max(map(len, four)) - min(map(len, four)) <= 1


def test_a_plan_is_a_function_of_seed_and_epoch():
    first = [rows.tolist() for (rows,) in epoch(plan(lengths(500)), 3)]
    a_plan = plan(lengths(500))
    a_plan.step(7, 0)

    assert [rows.tolist() for (rows,) in epoch(a_plan, 3)] == first
    assert [rows.tolist() for (rows,) in epoch(a_plan, 4)] != first
    assert [rows.tolist() for (rows,) in epoch(plan(lengths(500), seed=1), 3)] != first


def test_epochs_have_equally_many_steps_of_the_same_sizes():
    a_plan = plan(lengths(500))
    sizes = [sorted(len(rows) for (rows,) in epoch(a_plan, number)) for number in (0, 1)]
    assert sizes[0] == sizes[1]


def test_padding_is_counted_on_both_sides():
    """Rows of 1 + 2 and 3 + 4 tokens, padded to 3 + 4 each: 10 of 14 are real."""
    sizes = Lengths(np.array([1, 3]), np.array([2, 4]))

    assert padding_share(sizes, [np.array([0, 1])], 1) == pytest.approx(4 / 14)
    assert padding_share(sizes, [np.array([0, 1])], 2) == 0


def test_buckets_pad_a_fraction_of_what_random_steps_pad():
    a_plan = plan(lengths(20_000), batch_tokens=2000)
    real = padding_share(lengths(20_000), [rows for (rows,) in epoch(a_plan, 0)], 1)

    assert a_plan.padding() == pytest.approx(real)
    assert a_plan.padding() < 0.05 < 0.3 < a_plan.random_padding()


def test_exactly_one_size_is_given():
    with pytest.raises(
        ValueError, match=r"data.batch_size=3 and data.batch_tokens=600: give exactly"
    ):
        plan(lengths(9), batch_size=3)


def test_a_scoring_plan_reads_every_pair_once_longest_first():
    sizes = lengths(50)

    batches = PairScoringPlan(sizes, 8).batches()

    assert sorted(np.concatenate(batches).tolist()) == list(range(50))
    longest = [int(sizes.target[rows].max()) for rows in batches]
    assert longest == sorted(longest, reverse=True)
