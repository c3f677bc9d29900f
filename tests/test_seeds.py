"""Seeds are functions of their parts."""

import pytest
import torch

from lmexp.seeds import mixed_seed, seed_torch


def test_seeds_of_neighbouring_steps_share_nothing():
    seeds = {mixed_seed(seed, step, i) for seed in range(5) for step in range(50) for i in range(4)}
    assert len(seeds) == 5 * 50 * 4
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_the_order_of_the_parts_counts():
    assert mixed_seed(1, 2) != mixed_seed(2, 1)


def test_draws_are_those_of_torchs_own_seed():
    seed_torch(3, 1, 4)
    ours = torch.rand(5)
    torch.manual_seed(mixed_seed(3, 1, 4))

    assert torch.equal(ours, torch.rand(5))


@pytest.mark.skipif(torch.cuda.is_available(), reason="of a CUDA device in use nothing is kept")
def test_seeding_a_million_steps_takes_no_memory():
    kept = len(torch.cuda._queued_calls)

    seed_torch(3, 1, 4)

    assert len(torch.cuda._queued_calls) == kept
