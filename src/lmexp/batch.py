"""Typed batches. Labels arrive aligned with the logits: collate shifts or masks them, nobody else.

Shapes: B sequences, T tokens (of a target, where there is one), S source tokens.
"""

from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

Batch = TypeVar("Batch")

IGNORE = -100  # the label of a position where there is nothing to predict; torch's default


class TokenBatch(NamedTuple):
    """Text for a language model, autoregressive or autoencoding."""

    input_ids: Tensor  # (B, T) int64
    attention_mask: Tensor  # (B, T) bool, True on real tokens; padding is on the right
    labels: Tensor  # (B, T) int64, IGNORE where there is nothing to predict
    document_ids: Tensor | None = None  # (B, T) int32, rising along a row; None: one document a row


class PairBatch(NamedTuple):
    """Sources, and targets to be predicted from them."""

    source_ids: Tensor  # (B, S) int64, each with its end of sequence
    source_mask: Tensor  # (B, S) bool, True on real tokens; padding is on the right
    target_ids: Tensor  # (B, T) int64, beginning of sequence first: what the decoder reads
    labels: Tensor  # (B, T) int64, the end of sequence last; IGNORE on padding


class SegmentBatch(NamedTuple):
    """Sequences of one or two segments, some tokens of which are to be restored."""

    input_ids: Tensor  # (B, T) int64
    attention_mask: Tensor  # (B, T) bool, True on real tokens; padding is on the right
    segment_ids: Tensor  # (B, T) int64, 0 or 1
    labels: Tensor  # (B, T) int64, IGNORE but where a token is hidden
    belongs: Tensor  # (B,) int64: 1: the second segment goes on from the first; IGNORE: no second


class SentenceBatch(NamedTuple):
    """Sentences that are put into a latent space and predicted from there."""

    input_ids: Tensor  # (B, T) int64, each with its end of sequence: what is encoded
    attention_mask: Tensor  # (B, T) bool, True on real tokens; padding is on the right
    target_ids: Tensor  # (B, T) int64, beginning of sequence first, some words dropped: decoded
    labels: Tensor  # (B, T) int64, input_ids again; IGNORE on padding
    numbers: Tensor  # (B,) int64: which sentence of its split; what scoring draws is of it alone


class TrainStep(NamedTuple):
    """All that one optimizer step learns from."""

    micro_batches: list[Any]  # of one of the classes above
    epoch: int
    step: int  # in the epoch, from 0
    carries: bool  # whether recurrent state goes on from the step before


class EvalBatch(NamedTuple):
    """Windows to be scored; labels stand at the tokens that count in this window alone."""

    batch: TokenBatch
    carries: bool  # whether recurrent state goes on from the batch before


def move(batch: Batch, device: torch.device) -> Batch:
    """The batch on a device."""
    parts = (part if part is None else part.to(device) for part in batch)  # type: ignore[attr-defined]
    return type(batch)(*parts)
