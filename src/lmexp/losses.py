"""Losses as sums and counts: dividing is left to whoever knows the whole step.

Shapes: B sequences, T tokens, N positions with a label, D model width, V vocabulary.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lmexp.batch import IGNORE

CHUNK_LOGITS = 2**23  # float32 logits alive at a time: 32 MB
HALF_ROWS = 512  # summed up in float16 at a time, which ends at 65,504


@dataclass(frozen=True)
class NllSum:
    """Sums over the predicted tokens of a batch, in nats."""

    nll: Tensor  # float32, with label smoothing: what is trained on, the only one with a gradient
    count: Tensor  # int64, predicted tokens
    plain: Tensor  # float32, without smoothing: exp(plain / count) is the perplexity
    correct: Tensor | None  # int64, tokens that were the likeliest; None where not asked for
    each: Tensor | None = None  # (N, 2) float32, what each predicted token adds to plain and, where
    # asked for, to correct, in the order of the labels; else (N, 1); None where not asked for

    def scored(self) -> Tensor:
        """(3,) float32: plain, count, correct."""
        assert self.correct is not None
        return torch.stack([self.plain, self.count.float(), self.correct.float()])


def token_nll(logits: Tensor, labels: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Mean negative log-likelihood per predicted token, with label smoothing.

    The reference token keeps 1 - smoothing of the target mass; the rest is spread evenly over all V
    tokens (Szegedy et al. 2016, section 7). Positions labelled IGNORE count neither in the sum nor
    in the mean. Computed in float32 whatever the dtype of the logits: bfloat16 carries only 8
    significant bits.

    Args:
        logits: (B, T, V), unnormalised.
        labels: (B, T) int64.
        smoothing: in [0, 1). 0.1 in Vaswani et al. 2017, section 5.4.

    Returns:
        Scalar float32, in nats per token. exp() of it is the perplexity if smoothing is 0.

    Raises:
        ValueError: logits and labels disagree on (B, T).
    """
    if logits.shape[:2] != labels.shape:
        raise ValueError(
            f"logits {tuple(logits.shape)} and labels {tuple(labels.shape)} disagree on (B, T): "
            "labels must be as long as the network's output, shifted by the data module"
        )
    return F.cross_entropy(
        logits.flatten(0, 1).float(),
        labels.flatten(),
        ignore_index=IGNORE,
        label_smoothing=smoothing,
    )


def projected_nll(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    *,
    bias: Tensor | None = None,
    smoothing: float = 0.0,
    counts_hits: bool = False,
    keeps_each: bool = False,
) -> NllSum:
    """Summed negative log-likelihood of labels under the logits hidden @ weight.T + bias.

    token_nll(hidden @ weight.T + bias, labels) times the count, without ever holding all logits:
    chunk by chunk the loss and, where they are required, the gradients are computed at once. Only
    positions with a label are multiplied with the vocabulary. Matrix products take the autocast
    dtype, log-softmax and the sums float32. No second derivative.

    Args:
        hidden: (B, T, D).
        weight: (V, D), of the output layer.
        labels: (B, T) int64, IGNORE where there is nothing to predict.
        bias: (V,), of the output layer; None: it has none.
        smoothing: as in token_nll.
        counts_hits: look for the likeliest token as well, which takes longer than the softmax.
        keeps_each: return what each token adds to these sums as well.

    Raises:
        ValueError: hidden and labels disagree on (B, T), or hidden and weight on D.
    """
    if hidden.shape[:2] != labels.shape:
        raise ValueError(
            f"hidden {tuple(hidden.shape)} and labels {tuple(labels.shape)} disagree on (B, T): "
            "labels must be as long as the network's output, shifted by the data module"
        )
    if hidden.shape[-1] != weight.shape[-1]:
        raise ValueError(
            f"hidden {tuple(hidden.shape)} and weight {tuple(weight.shape)} disagree on D: "
            "give the weight of the network's own output layer"
        )
    hidden, labels = hidden.flatten(0, 1), labels.flatten()
    is_predicted = labels != IGNORE
    count = is_predicted.sum()
    if count < labels.numel():
        hidden, labels = hidden[is_predicted], labels[is_predicted]
    wants = tuple(
        torch.is_grad_enabled() and tensor is not None and tensor.requires_grad
        for tensor in (hidden, weight, bias)
    )
    columns = 1 + counts_hits
    each = hidden.new_empty((len(labels), columns), dtype=torch.float32) if keeps_each else None
    nll, plain, correct = _ProjectedNll.apply(  # type: ignore[no-untyped-call]  # torch leaves it untyped
        hidden, weight, bias, labels, smoothing, counts_hits, wants, each
    )
    return NllSum(nll, count, plain, correct if counts_hits else None, each)


@torch.no_grad()
def row_nll(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """(B,) float32: negative log-likelihood of each row's labels under hidden @ weight.T, in nats.

    projected_nll row by row, without a gradient; no more logits are alive at a time.

    Args:
        hidden: (B, T, D).
        weight: (V, D), of the output layer, which has no bias.
        labels: (B, T) int64, IGNORE where there is nothing to predict.
    """
    rows = torch.arange(len(labels), device=labels.device)[:, None].expand_as(labels)
    is_predicted = labels != IGNORE
    total = hidden.new_zeros(len(labels), dtype=torch.float32)
    size = chunk_rows(weight.shape[0], _product_dtype(hidden))
    parts = (torch.split(part[is_predicted], size) for part in (hidden, labels, rows))
    for part, label, row in zip(*parts, strict=True):
        logits = F.linear(part, weight).float()
        total.index_add_(0, row, F.cross_entropy(logits, label, reduction="none"))
    return total


class _ProjectedNll(torch.autograd.Function):
    """The sums over (N, D) hidden states, and their gradients, computed in the forward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        smoothing: float,
        counts_hits: bool,
        wants: tuple[bool, bool, bool],
        each: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Sums of nll, plain nll and hits; wants: whether each of the first three is trained.

        What each position adds to the last two is written into `each`, where it is given.
        """
        dtype = _product_dtype(hidden)
        ctx.dtypes = (hidden.dtype, weight.dtype, weight.dtype)
        hidden, weight = hidden.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
        by_hidden, by_weight, by_bias = _gradients(hidden, weight, wants)
        plain = uniform = hidden.new_zeros((), dtype=torch.float32)
        correct = labels.new_zeros(())
        rows = chunk_rows(len(weight), dtype)
        for first in range(0, len(labels), rows):
            part, label = hidden[first : first + rows], labels[first : first + rows, None]
            logits = part @ weight.t() if bias is None else part @ weight.t() + bias
            probabilities = torch.softmax(logits, dim=-1, dtype=torch.float32)
            log_sum = _log_sum(logits, probabilities)
            own = log_sum - logits.gather(1, label)
            plain = plain + own.sum()
            if counts_hits:
                hits = logits.argmax(dim=-1, keepdim=True) == label
                correct = correct + hits.sum()
                own = torch.cat([own, hits], dim=1)
            if each is not None:
                each[first : first + rows] = own
            if smoothing:  # nll under a uniform target, which smoothing mixes in
                mean = logits.mean(dim=-1, keepdim=True, dtype=torch.float32)
                uniform = uniform + (log_sum - mean).sum()
            if not any(wants):
                continue
            by_logits = _minus_target(probabilities, label, smoothing)
            if by_bias is not None:
                by_bias += by_logits.sum(dim=0)
            by_logits = by_logits.to(dtype)
            if by_hidden is not None:
                torch.mm(by_logits, weight, out=by_hidden[first : first + rows])
            if by_weight is not None:
                by_weight += by_logits.t() @ part
        ctx.save_for_backward(by_hidden, by_weight, by_bias)
        ctx.mark_non_differentiable(plain, correct)
        nll = (1 - smoothing) * plain + smoothing * uniform
        return nll, plain, correct

    @staticmethod
    def backward(
        ctx: Any, scale: Tensor, *_: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None, None, None, None]:
        """The gradients that forward left, times that of the sum."""
        by_hidden, by_weight, by_bias = (
            None if gradient is None else gradient.to(dtype) * scale
            for gradient, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        )
        return by_hidden, by_weight, by_bias, None, None, None, None, None


def _gradients(
    hidden: Tensor, weight: Tensor, wants: tuple[bool, bool, bool]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Room for those of (N, D) hidden states, (V, D) weights and (V,) biases that are wanted."""
    return (
        torch.empty_like(hidden) if wants[0] else None,
        torch.zeros_like(weight, dtype=torch.float32) if wants[1] else None,
        weight.new_zeros(len(weight), dtype=torch.float32) if wants[2] else None,
    )


def _log_sum(logits: Tensor, probabilities: Tensor) -> Tensor:
    """(N, 1) log sum exp of logits: a probability underflows, the largest never does."""
    peak = logits.amax(dim=-1, keepdim=True).float()
    return peak - probabilities.amax(dim=-1, keepdim=True).log()


def _minus_target(probabilities: Tensor, label: Tensor, smoothing: float) -> Tensor:
    """(N, V) minus what each of (N, 1) labels asks for, in the same memory."""
    if smoothing:
        probabilities -= smoothing / probabilities.shape[1]
    mass = probabilities.new_tensor(smoothing - 1)
    return probabilities.scatter_add_(1, label, mass.expand_as(label))


def chunk_rows(vocab_size: int, dtype: torch.dtype) -> int:
    """Positions whose logits projected_nll holds at a time, where products are of that dtype."""
    rows = max(1, CHUNK_LOGITS // vocab_size)
    return min(rows, HALF_ROWS) if dtype == torch.float16 else rows


def _product_dtype(tensor: Tensor) -> torch.dtype:
    """What autocast would multiply this tensor in."""
    if torch.is_autocast_enabled(tensor.device.type):
        return torch.get_autocast_dtype(tensor.device.type)
    return tensor.dtype
