import math

import numpy as np
import pytest
import torch

from lmexp.decoding.sampling import Sampler, Sampling, drawn, penalised, uniforms

PROBABILITIES = torch.tensor([0.1, 0.4, 0.2, 0.3])


def frequencies(count, **knobs):
    """Share of each token of PROBABILITIES in so many draws with seed 0."""
    sampler = Sampler(
        Sampling(max_new_tokens=count, **knobs),
        [[0]],
        4,
        forbidden_ids=(),
        first_row=0,
        device=torch.device("cpu"),
    )
    logits = PROBABILITIES.log()[None]
    ids = torch.cat([sampler.choose(logits, n) for n in range(count)])
    return torch.bincount(ids, minlength=4).double().numpy()


def assert_follows(counts, probabilities):
    """Chi-square below its 99.9% point (16.27 with 3 degrees of freedom, the most here)."""
    expected = np.array(probabilities) * counts.sum()
    assert (counts[expected == 0] == 0).all()
    kept = expected > 0
    assert (((counts - expected) ** 2)[kept] / expected[kept]).sum() < 16.27


def test_plain_sampling_draws_from_the_distribution_of_the_network():
    assert_follows(frequencies(4000), [0.1, 0.4, 0.2, 0.3])


def test_temperature_a_half_squares_the_probabilities():
    assert_follows(frequencies(4000, temperature=0.5), [1 / 30, 16 / 30, 4 / 30, 9 / 30])


def test_top_k_keeps_the_k_most_probable_and_renormalises():
    assert_follows(frequencies(4000, top_k=2), [0, 4 / 7, 0, 3 / 7])


def test_top_p_keeps_the_smallest_set_whose_mass_reaches_p():
    assert_follows(frequencies(4000, top_p=0.65), [0, 4 / 7, 0, 3 / 7])
    assert_follows(frequencies(4000, top_p=0.75), [0, 4 / 9, 2 / 9, 3 / 9])


def test_top_p_is_taken_of_what_top_k_left():
    # of top-3 (4/9, 3/9, 2/9) the first two reach 0.7, of all four they would too only up to 0.7
    assert_follows(frequencies(4000, top_k=3, top_p=0.75), [0, 4 / 7, 0, 3 / 7])


def test_a_nucleus_of_a_tiny_p_is_the_most_probable_token():
    assert_follows(frequencies(50, top_p=1e-6), [0, 1, 0, 0])


def test_temperature_zero_is_greedy_and_takes_the_most_probable_token():
    assert_follows(frequencies(20, temperature=0.0), [0, 1, 0, 0])


def test_a_nucleus_wider_than_the_guess_is_still_exact():
    scores = torch.zeros(1, 4000)  # uniform: p = 0.5 keeps 2000 tokens
    draws = torch.linspace(0, 0.999, 50)[:, None]

    ids = drawn(scores.expand(50, -1), draws, None, 0.5)

    assert ids.unique().numel() == 50  # 50 equally spaced draws fall into 50 different tokens


def test_inversion_returns_the_token_whose_interval_holds_the_draw():
    scores = PROBABILITIES.log().expand(5, -1)  # intervals end at 0.1, 0.5, 0.7, 1
    draws = torch.tensor([[0.0], [0.099], [0.101], [0.6], [1 - 2**-23]])

    assert drawn(scores, draws, None, 1.0).tolist() == [0, 0, 1, 2, 3]


def test_a_token_of_probability_zero_is_never_drawn_at_the_ends():
    scores = torch.tensor([[-torch.inf, 0.0, 0.0, -torch.inf]])

    for draw, token_id in ((0.0, 1), (1 - 2**-23, 2)):
        assert drawn(scores, torch.tensor([[draw]]), None, 1.0).item() == token_id


def test_repetition_penalty_divides_positive_and_multiplies_negative_scores():
    scores = torch.tensor([[2.0, -2.0, 3.0, -3.0]])
    seen = torch.tensor([[True, True, False, False]])

    assert penalised(scores, seen, 2.0).tolist() == [[1.0, -4.0, 3.0, -3.0]]


def test_repetition_penalty_counts_the_prompt_and_what_was_generated():
    sampler = Sampler(
        Sampling(temperature=0.0, repetition_penalty=2.0),
        [[0]],
        3,
        forbidden_ids=(),
        first_row=0,
        device=torch.device("cpu"),
    )
    logits = torch.tensor([[3.0, 2.0, 1.1]])

    chosen = [sampler.choose(logits, n).item() for n in range(4)]

    assert chosen == [1, 0, 0, 0]  # 3/2 < 2; then 3/2 > 2/2 and 1.1


def test_forbidden_ids_are_never_chosen():
    sampler = Sampler(
        Sampling(max_new_tokens=200),
        [[0]] * 8,
        4,
        forbidden_ids=(1, 3),
        first_row=0,
        device=torch.device("cpu"),
    )
    logits = torch.zeros(8, 4)

    chosen = torch.stack([sampler.choose(logits, n) for n in range(200)])

    assert set(chosen.unique().tolist()) == {0, 2}


def test_draws_depend_on_seed_row_and_position_alone():
    table = uniforms(seed=3, first_row=0, rows=4, draws=10)

    alone = uniforms(seed=3, first_row=2, rows=1, draws=25)

    assert torch.equal(alone[:10, 0], table[:, 2])
    assert not torch.equal(uniforms(seed=4, first_row=0, rows=4, draws=10), table)
    assert table.unique().numel() == 40


def test_draws_are_uniform():
    table = uniforms(seed=0, first_row=0, rows=20, draws=1000).double()

    assert table.mean().item() == pytest.approx(0.5, abs=4 / math.sqrt(12 * 20_000))
    assert table.min() >= 0
    assert table.max() < 1


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("top_k", 0),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("repetition_penalty", 0.0),
        ("max_new_tokens", 0),
        ("seed", -1),
        ("stop", ("",)),
    ],
)
def test_a_value_out_of_its_range_is_refused_by_name(knob, value):
    with pytest.raises(ValueError, match=knob):
        Sampling(**{knob: value})
