"""Losses of classes, as sums.

Shapes: N things, K classes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def class_nll(
    scores: Tensor,
    labels: Tensor,
    *,
    smoothing: float = 0.0,
    gamma: float = 0.0,
    weights: Tensor | None = None,
) -> Tensor:
    """Negative log-likelihood of classes, (N,) float32 in nats.

    The right class keeps 1 - smoothing of the target mass, the rest is spread over all K classes
    (Szegedy et al. 2016, section 7). With gamma the loss is that of Lin et al. 2017, equation 4:
    times (1 - p) ** gamma, p the probability of the right class.

    Args:
        scores: (N, K), unnormalised.
        labels: (N,) int64 below K.
        smoothing: in [0, 1).
        gamma: at least 0; 2 in the paper.
        weights: (K,) of each class; None: 1.
    """
    logs = F.log_softmax(scores.float(), dim=-1)
    right = logs.gather(1, labels[:, None])[:, 0]
    nll = -right
    if smoothing:
        nll = (1 - smoothing) * nll - smoothing * logs.mean(dim=-1)
    if gamma:
        nll = nll * (1 - right.exp()).clamp(min=1e-8) ** gamma  # a power of 0 has no gradient
    return nll if weights is None else nll * weights[labels]


def multilabel_nll(scores: Tensor, labels: Tensor, *, gamma: float = 0.0) -> Tensor:
    """Negative log-likelihood of classes any number of which hold, (N,) float32 in nats.

    The sum over the classes of that of a coin each (binary cross-entropy).

    Args:
        scores: (N, K), logits.
        labels: (N, K), 1 where a class holds, else 0.
        gamma: see class_nll.
    """
    targets = labels.float()
    nll = F.binary_cross_entropy_with_logits(scores.float(), targets, reduction="none")
    if gamma:
        nll = nll * (1 - torch.exp(-nll)).clamp(min=1e-8) ** gamma
    return nll.sum(dim=-1)
