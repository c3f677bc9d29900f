"""What a network of any kind puts out for a batch, and how far two such outputs are apart.

Shapes: B rows, N places of a row that an output is of.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lmexp.tokenizers import BOS_ID, PAD_ID

Network = Any


class Output(NamedTuple):
    """One of a network's."""

    values: Tensor  # (B, …) or (B, N, …)
    real: Tensor | None  # (B, N) True where a token, a word or a place is; None: one a row


def _text(network: Network, batch: Any) -> list[Output]:
    hidden = network.hidden(batch.input_ids, batch.attention_mask, batch.document_ids)
    return [Output(hidden, batch.attention_mask)]


def _pairs(network: Network, batch: Any) -> list[Output]:
    hidden = network.hidden(batch.source_ids, batch.source_mask, batch.target_ids)
    return [Output(hidden, batch.target_ids != PAD_ID)]


def _segments(network: Network, batch: Any) -> list[Output]:
    hidden = network.hidden(batch.input_ids, batch.attention_mask, batch.segment_ids)
    judged = network.judged(hidden)
    own = [Output(hidden, batch.attention_mask)]
    return own if judged is None else [*own, Output(judged, None)]


def _sentences(network: Network, batch: Any) -> list[Output]:
    mean, log_variance = network.posterior(batch.input_ids, batch.attention_mask)
    hidden = network.hidden(mean, batch.target_ids, batch.attention_mask)
    return [Output(mean, None), Output(log_variance, None), Output(hidden, batch.attention_mask)]


def _tags(network: Network, batch: Any) -> list[Output]:
    return [Output(network(batch), batch.firsts > 0)]


def _labels(network: Network, batch: Any) -> list[Output]:
    return [Output(network(batch), None)]


def _questions(network: Network, batch: Any) -> list[Output]:
    return [Output(network(batch).transpose(1, 2), batch.is_place)]


def _matches(network: Network, batch: Any) -> list[Output]:
    ids = F.pad(batch.source_ids, (1, 0), value=BOS_ID)
    return [Output(network(ids, F.pad(batch.source_mask, (1, 0), value=True)), None)]


OF_KIND: dict[str, Callable[[Network, Any], list[Output]]] = {
    "text": _text,
    "pairs": _pairs,
    "segments": _segments,
    "sentences": _sentences,
    "tags": _tags,
    "labels": _labels,
    "questions": _questions,
    "matches": _matches,
}


@torch.no_grad()
def outputs(kind: str, network: Network, batch: Any) -> list[Output]:
    """All that the network says of a batch.

    Args:
        kind: of text, one of OF_KIND.
        network: the task's.
        batch: of that kind.
    """
    return OF_KIND[kind](network, batch)


def of_row(found: Sequence[Output], row: int) -> list[Tensor]:
    """What is said of one row, padding left out."""
    return [
        output.values[row] if output.real is None else output.values[row][output.real[row]]
        for output in found
    ]


def distance(ones: Sequence[Tensor], others: Sequence[Tensor]) -> float:
    """The largest difference, as a share of the largest magnitude; infinite where one is NaN.

    Infinite values have to be the same in both.
    """
    furthest = 0.0
    for one, other in zip(ones, others, strict=True):
        if one.shape != other.shape:
            return float("inf")
        is_finite = one.isfinite() & other.isfinite()
        if not torch.equal(one[~is_finite], other[~is_finite]):
            return float("inf")
        if not is_finite.any():
            continue
        one, other = one[is_finite].double(), other[is_finite].double()
        scale = max(float(one.abs().max()), float(other.abs().max()), 1e-30)
        furthest = max(furthest, float((one - other).abs().max()) / scale)
    return furthest
