"""The coverage penalty of Wu et al. 2016 (arXiv:1609.08144), section 7.

Shapes: K hypotheses, S source tokens, T target tokens, L layers, H heads.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from lmexp.decoding.beam import Beam, Hypothesis
from lmexp.networks.interface import EncoderDecoder
from lmexp.tokenizers import BOS_ID, PAD_ID


@runtime_checkable
class Attentive(EncoderDecoder, Protocol):
    """An encoder-decoder that can say where it looks."""

    def cross_attention(
        self, source_ids: Tensor, source_mask: Tensor, target_ids: Tensor
    ) -> Tensor:
        """(K, S) ids, (K, S) bool, (K, T) ids -> (L, K, H, T, S) weights."""
        ...


def ranked_by_coverage(
    network: EncoderDecoder, source: Sequence[int], texts: Sequence[Hypothesis], beam: Beam
) -> list[Hypothesis]:
    """The n best of the finished hypotheses of one source, by their score plus its coverage.

    The weights, of the last layer and averaged over its heads where the paper has one attention,
    come from one more pass over all of them: the search itself ranks without coverage. The end of a
    text, and that of its source, are tokens like the others.

    Args:
        network: in evaluation mode.
        source: ids, its end last.
        texts: finished.
        beam: how they were found.

    Raises:
        ValueError: the network cannot say where it looks.
    """
    if not isinstance(network, Attentive):
        raise ValueError(
            f"coverage_penalty={beam.coverage_penalty} goes by where a network looks, and "
            f"{type(network).__name__} has no cross_attention(): write eval.coverage_penalty=0"
        )
    device = network.output.weight.device
    length = 1 + max(len(text.ids) for text in texts)
    read = [[BOS_ID, *text.ids] + [PAD_ID] * (length - 1 - len(text.ids)) for text in texts]
    source_ids = torch.tensor([source], device=device).expand(len(texts), -1)
    with torch.no_grad():
        weights = network.cross_attention(
            source_ids, torch.ones_like(source_ids, dtype=torch.bool), torch.tensor(read).to(device)
        )
    looks = weights[-1].float().mean(dim=1).cpu()  # (K, T, S), of the last layer
    scored = [
        text._replace(score=text.score + beam.coverage_penalty * coverage(own[: len(text.ids) + 1]))
        for text, own in zip(texts, looks, strict=True)
    ]
    return sorted(scored, key=lambda text: -text.score)[: beam.n_best]


def coverage(weights: Tensor) -> float:
    """Sum over the source of log min(sum over the target of p, 1): 0 if all of it was looked at.

    Args:
        weights: (T, S) float32, how much of each source token each target token looked at.
    """
    sums = weights.sum(dim=0).clamp(torch.finfo(weights.dtype).tiny, 1.0)
    return float(sums.log().sum())
