"""Seeds are functions of their parts."""

from lmexp.seeds import mixed_seed


def test_seeds_of_neighbouring_steps_share_nothing():
    seeds = {mixed_seed(seed, step, i) for seed in range(5) for step in range(50) for i in range(4)}
    assert len(seeds) == 5 * 50 * 4
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_the_order_of_the_parts_counts():
    assert mixed_seed(1, 2) != mixed_seed(2, 1)
