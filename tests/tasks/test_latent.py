"""Gaussians of a latent space: divergences, draws, schedules and information."""

import math

import pytest
import torch

from lmexp.decoding.latent import between, normals
from lmexp.networks.interface import Posterior
from lmexp.tasks.latent import (
    KlWeight,
    drawn,
    kl_to_prior,
    log_posterior,
    log_prior,
    mutual_information,
)


def posterior(rows: int, size: int, spread: float = 1.0) -> Posterior:
    torch.manual_seed(0)
    return Posterior(spread * torch.randn(rows, size), torch.randn(rows, size) - 1)


def test_the_divergence_equals_a_monte_carlo_estimate_within_3_sigma():
    draws, own = 20_000, Posterior(*(part.double() for part in posterior(4, 3)))
    latent = drawn(own, torch.randn(draws, 4, 3, dtype=torch.float64))
    samples = log_posterior(own, latent) - log_prior(latent)  # (draws, 4)

    sigma = samples.std(dim=0) / math.sqrt(draws)

    assert ((samples.mean(dim=0) - kl_to_prior(own).sum(dim=1)).abs() < 3 * sigma).all()


def test_densities_are_those_of_torch():
    own, latent = posterior(4, 3), torch.randn(4, 3)
    normal = torch.distributions.Normal(own.mean, (0.5 * own.log_variance).exp())
    prior = torch.distributions.Normal(torch.zeros(3), torch.ones(3))

    torch.testing.assert_close(log_posterior(own, latent), normal.log_prob(latent).sum(-1))
    torch.testing.assert_close(log_prior(latent), prior.log_prob(latent).sum(-1))
    torch.testing.assert_close(kl_to_prior(own), torch.distributions.kl_divergence(normal, prior))


def test_the_divergence_of_the_prior_itself_is_0():
    assert kl_to_prior(Posterior(torch.zeros(2, 3), torch.zeros(2, 3))).tolist() == [[0.0] * 3] * 2


@pytest.mark.parametrize(
    ("schedule", "step", "weight"),
    [
        *[("constant", step, 1.0) for step in (0, 7, 1000)],
        *[("linear", step, weight) for step, weight in ((0, 0.0), (5, 0.5), (10, 1.0), (99, 1.0))],
        *[("cyclical", step, weight) for step, weight in ((0, 0.0), (5, 0.5), (10, 1.0))],
        *[("cyclical", step, weight) for step, weight in ((19, 1.0), (20, 0.0), (25, 0.5))],
    ],
)
def test_the_weight_of_a_step(schedule, step, weight):
    assert KlWeight(schedule, 10).at(step) == weight


def test_equal_posteriors_tell_nothing_and_distant_ones_all_there_is():
    equal = Posterior(torch.zeros(50, 2), torch.zeros(50, 2))
    distant = Posterior(100.0 * torch.arange(100.0).reshape(50, 2), torch.zeros(50, 2))
    noise = torch.randn(50, 2)

    assert mutual_information(equal, noise) == pytest.approx(0.0, abs=1e-9)
    assert mutual_information(distant, noise) == pytest.approx(math.log(50))


def test_mutual_information_is_that_of_a_gaussian_channel():
    torch.manual_seed(0)
    means = 2 * torch.randn(2000, 1)  # z = mean + noise: ln(1 + 4) / 2 nats
    own = Posterior(means, torch.zeros(2000, 1))

    found = mutual_information(own, torch.randn(2000, 1))

    assert found == pytest.approx(0.5 * math.log(5), abs=0.05)


def test_draws_are_of_seed_number_and_order_alone():
    many = normals(3, range(5), 4, 2)

    assert many.shape == (4, 5, 2)
    torch.testing.assert_close(normals(3, [4, 1], 2, 2), many[:2, [4, 1]], rtol=0, atol=0)
    assert not torch.equal(normals(4, range(5), 4, 2), many)


def test_points_between_two_are_even_and_hold_both():
    first, second = torch.tensor([0.0, 2.0]), torch.tensor([3.0, -1.0])

    torch.testing.assert_close(
        between(first, second, 4), torch.tensor([[0.0, 2], [1, 1], [2, 0], [3, -1]])
    )
