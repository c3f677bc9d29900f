"""Gaussians in a latent space: their divergence from the prior, its weight, and what they tell.

Shapes: B sentences, N sentences whose information is estimated, Z latent dimensions.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lmexp.networks.interface import Posterior

KlSchedule = Literal["constant", "linear", "cyclical"]
LOG_2_PI = math.log(2 * math.pi)
ROWS = 64  # sentences compared with all others at a time


def kl_to_prior(posterior: Posterior) -> Tensor:
    """KL(q(z|x) || N(0, 1)) of each dimension, (B, Z) in nats.

    (mean² + variance - 1 - log variance) / 2: Kingma & Welling 2014, appendix B.
    """
    mean, log_variance = posterior
    return 0.5 * (mean.square() + torch.expm1(log_variance) - log_variance)


def drawn(posterior: Posterior, noise: Tensor) -> Tensor:
    """z = mean + deviation * noise, (B, Z): Kingma & Welling 2014, section 2.4."""
    return posterior.mean + (0.5 * posterior.log_variance).exp() * noise


def log_prior(latent: Tensor) -> Tensor:
    """(..., Z) -> (...) log N(z; 0, 1)."""
    return -0.5 * (latent.square() + LOG_2_PI).sum(dim=-1)


def log_posterior(posterior: Posterior, latent: Tensor) -> Tensor:
    """log q(z|x), (...), of z (..., Z); the two are broadcast."""
    mean, log_variance = posterior
    distance = (latent - mean).square() * (-log_variance).exp()
    return -0.5 * (distance + log_variance + LOG_2_PI).sum(dim=-1)


def mutual_information(posterior: Posterior, noise: Tensor) -> float:
    """Between a sentence and its z, in nats: log N minus the entropy of which sentence z is of.

    The index-code mutual information of Hoffman & Johnson 2016, equation 5, with one z drawn for
    each sentence, in float64. It lies between 0 and log N, however much more there is.

    Args:
        posterior: of N sentences.
        noise: (N, Z), standard normal.
    """
    posterior = Posterior(*(part.double() for part in posterior))
    latent = drawn(posterior, noise.double())
    entropy = 0.0
    for part in torch.split(latent, ROWS):
        logits = log_posterior(posterior, part.unsqueeze(1))  # (ROWS, N)
        shares = logits.log_softmax(dim=-1)
        entropy -= float((shares.exp() * shares).sum())
    return math.log(len(latent)) - entropy / len(latent)


@dataclass(frozen=True)
class KlWeight:
    """The weight of the KL term by step.

    Args:
        schedule: constant: 1; linear: it rises from 0 to 1 in `steps` and stays there (Bowman et
            al. 2016, section 3.1, take a sigmoid); cyclical: it does so again every 2 * steps
            (Fu et al. 2019, section 4.2, whose R is 0.5).
        steps: of a rise.
    """

    schedule: KlSchedule
    steps: int

    def at(self, step: int) -> float:
        """Of the step with that number, from 0."""
        if self.schedule == "constant":
            return 1.0
        if self.schedule == "cyclical":
            step %= 2 * self.steps
        return min(1.0, step / self.steps)
