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


class MatchBatch(NamedTuple):
    """Sources, and the targets that fit them, each a negative of the other sources."""

    source_ids: Tensor  # (B, S) int64, each with its end of sequence
    source_mask: Tensor  # (B, S) bool, True on real tokens; padding is on the right
    labels: Tensor  # (B, T) int64, the targets, the end of sequence last; IGNORE on padding
    log_shares: Tensor  # (B,) float32, ln of the share of training pairs that have this target


class SegmentBatch(NamedTuple):
    """Sequences of one or two segments, some tokens of which are to be restored."""

    input_ids: Tensor  # (B, T) int64
    attention_mask: Tensor  # (B, T) bool, True on real tokens; padding is on the right
    segment_ids: Tensor  # (B, T) int64, 0 or 1
    labels: Tensor  # (B, T) int64, IGNORE but where a token is hidden
    belongs: Tensor  # (B,) int64: 1: the second segment goes on from the first; IGNORE: no second


class TagBatch(NamedTuple):
    """Windows of sentences, whose words are to be tagged. W words of a window."""

    input_ids: Tensor  # (B, T) int64
    attention_mask: Tensor  # (B, T) bool, True on real tokens; padding is on the right
    firsts: Tensor  # (B, W) int64, the column of each word's first token; 0 where there is no word
    labels: Tensor  # (B, W) int64, IGNORE where another window tags the word, or there is none;
    # numbers beyond those that a model predicts are of tags that no training text has
    sentences: Tensor  # (B,) int64, numbers; the windows of one stand side by side, in order
    begins: Tensor  # (B,) bool, whether a window begins its sentence
    spelling: Tensor | None  # (B, W, C) uint8, the bytes of each word
    spelling_sizes: Tensor | None  # (B, W) int64, how many they are


class LabelBatch(NamedTuple):
    """Texts, or pairs of them, of which something is to be said."""

    input_ids: Tensor  # (B, T) int64
    attention_mask: Tensor  # (B, T) bool, True on real tokens; padding is on the right
    segment_ids: Tensor  # (B, T) int64, 1 on the second text of a pair, else 0
    labels: Tensor  # (B,) int64, or (B, L) 0 and 1 where any number may hold; IGNORE of no text;
    # those from the K-th on, which a model does not predict, are of no training text


class QuestionBatch(NamedTuple):
    """Questions, each with a window of its context. P places: "not here", and words."""

    input_ids: Tensor  # (B, T) int64
    attention_mask: Tensor  # (B, T) bool, True on real tokens; padding is on the right
    segment_ids: Tensor  # (B, T) int64, 0 on the question, 1 on the context
    places: Tensor  # (B, P) int64, the column of each: 0, then those of words' first tokens
    is_place: Tensor  # (B, P) bool, True on the first and on words
    answers: Tensor  # (B, 2) int64, the places of the first and the last word; IGNORE of no window
    examples: Tensor  # (B,) int64, numbers of questions; windows of one stand side by side
    words_from: Tensor  # (B,) int64, words of the context before the window


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
