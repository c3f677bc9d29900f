"""Token streams → typed batches: the only place where labels are shifted or masked.

Shapes: B sequences, T tokens, N tokens of the stream.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from lmexp.batch import IGNORE, PairBatch, SegmentBatch, SentenceBatch, TokenBatch
from lmexp.batch_plan import Spans, Starts
from lmexp.masking import Flags, Ids
from lmexp.pair_plan import Rows
from lmexp.segment_plan import SegmentPair
from lmexp.tokenizers import BOS_ID, EOS_ID, PAD_ID, UNK_ID

Drawn = tuple[SegmentPair, np.random.Generator]
Hides = Callable[[Ids, np.random.Generator], Ids]  # ids, changed in place -> labels
Tokens = NDArray[Any]  # (N,) uint16 or uint32, a memory map


class PairTokens(Protocol):
    """Token streams of both sides of pairs, and where each pair stands in them."""

    source: Tokens
    source_starts: Starts
    source_lengths: Starts
    target: Tokens
    target_starts: Starts
    target_lengths: Starts


def collate_windows(
    tokens: Tokens, starts: Starts, width: int, *, document_mask: bool
) -> TokenBatch:
    """Windows of equal width for training.

    The label of a position is the next token of the stream; a document's first token (bos) is
    predicted by nobody.

    Args:
        tokens: the stream.
        starts: (B,) first token each row reads; none gives one row labelled IGNORE throughout.
        width: T.
        document_mask: give document_ids; they are None where no row holds a boundary.
    """
    if not len(starts):
        return _nothing(width)
    size = tokens.itemsize
    windows: Tokens = np.ndarray(  # every window of the stream: a view, checked against its end
        (len(tokens) - width, width + 1), tokens.dtype, tokens, strides=(size, size)
    )
    rows = windows[starts].astype(np.int64)  # one gather from the memory map
    input_ids, labels = rows[:, :-1].copy(), rows[:, 1:].copy()
    document_ids = None
    if (labels == BOS_ID).any():
        labels[labels == BOS_ID] = IGNORE
        document_ids = _document_ids(input_ids) if document_mask else None
    return TokenBatch(
        input_ids=torch.from_numpy(input_ids),
        attention_mask=torch.ones(input_ids.shape, dtype=torch.bool),
        labels=torch.from_numpy(labels),
        document_ids=document_ids,
    )


def collate_spans(tokens: Tokens, spans: Spans) -> TokenBatch:
    """Spans of unequal length for evaluation, padded on the right.

    Positions before a span's scored_from are labelled IGNORE: another span scores them. No span
    gives one row labelled IGNORE throughout.
    """
    if not len(spans.starts):
        return _nothing(1)
    shape = len(spans.starts), int(spans.lengths.max())
    input_ids = np.full(shape, PAD_ID, dtype=np.int64)
    labels = np.full(shape, IGNORE, dtype=np.int64)
    columns = zip(*(column.tolist() for column in spans), strict=True)
    for row, (start, length, scored_from) in enumerate(columns):
        input_ids[row, :length] = tokens[start : start + length]
        labels[row, scored_from:length] = tokens[start + scored_from + 1 : start + length + 1]
    return TokenBatch(
        input_ids=torch.from_numpy(input_ids),
        attention_mask=torch.from_numpy(np.arange(shape[1]) < spans.lengths[:, None]),
        labels=torch.from_numpy(labels),
    )


def collate_pairs(store: PairTokens, rows: Rows) -> PairBatch:
    """Pairs, padded on the right to the longest of each side.

    The decoder reads bos t1 … tn and predicts t1 … tn eos. No row gives one pair of nothing,
    labelled IGNORE throughout.

    Args:
        store: token streams of both sides.
        rows: (B,) numbers of pairs.
    """
    if not len(rows):
        nothing = _nothing(1)
        return PairBatch(
            nothing.input_ids, nothing.attention_mask, nothing.input_ids, nothing.labels
        )
    source_ids, source_mask = _padded(
        store.source, store.source_starts[rows], store.source_lengths[rows]
    )
    labels, target_mask = _padded(
        store.target, store.target_starts[rows], store.target_lengths[rows]
    )
    target_ids = np.roll(labels, 1, axis=1)
    target_ids[:, 0] = BOS_ID
    target_ids[~target_mask] = PAD_ID
    labels[~target_mask] = IGNORE
    return PairBatch(*map(torch.from_numpy, (source_ids, source_mask, target_ids, labels)))


def collate_segments(sequences: Iterable[Drawn], hides: Hides) -> SegmentBatch:
    """Sequences of segments, some tokens hidden, padded on the right.

    A model reads bos first eos, or bos first eos second eos. No sequence gives one of nothing,
    labelled IGNORE throughout.

    Args:
        sequences: segments, and where all that is drawn for them comes from.
        hides: replaces some of a sequence's ids in place; their labels.
    """
    rows = [_segmented(sequence, hides, draw) for sequence, draw in sequences]
    if not rows:
        nothing = _nothing(1)
        absent = torch.full((1,), IGNORE)
        return SegmentBatch(
            nothing.input_ids,
            nothing.attention_mask,
            torch.zeros_like(nothing.input_ids),
            nothing.labels,
            absent,
        )
    ids, segments, labels, belongs = zip(*rows, strict=True)
    lengths = np.array([len(own) for own in ids])
    mask = np.arange(int(lengths.max())) < lengths[:, None]
    padded = []
    for parts, fill in ((ids, PAD_ID), (segments, 0), (labels, IGNORE)):
        whole = np.full(mask.shape, fill, dtype=np.int64)
        whole[mask] = np.concatenate(parts)
        padded.append(torch.from_numpy(whole))
    return SegmentBatch(
        padded[0], torch.from_numpy(mask), padded[1], padded[2], torch.tensor(belongs)
    )


def collate_sentences(
    sentences: Sequence[Ids], dropped: Sequence[Flags], numbers: Rows
) -> SentenceBatch:
    """Sentences, padded on the right.

    The encoder reads t1 … tn eos; the decoder bos t1 … tn, some of them <unk>, and predicts what
    the encoder reads. No sentence gives one of nothing, labelled IGNORE throughout.

    Args:
        sentences: (n,) ids of each, without reserved ones at its ends.
        dropped: (n,) of each, True where the decoder reads <unk> instead of a word.
        numbers: (B,) of the sentences in their split.
    """
    if not sentences:
        nothing = _nothing(1)
        return SentenceBatch(*nothing[:2], nothing.input_ids, nothing.labels, torch.zeros(1).long())
    lengths = np.array([len(own) + 1 for own in sentences])
    mask = np.arange(int(lengths.max())) < lengths[:, None]
    ends = np.array([EOS_ID])
    ids = np.full(mask.shape, PAD_ID, dtype=np.int64)
    ids[mask] = np.concatenate([part for own in sentences for part in (own, ends)])
    read = np.full(mask.shape, PAD_ID, dtype=np.int64)
    shown = (np.where(drops, UNK_ID, own) for own, drops in zip(sentences, dropped, strict=True))
    read[mask] = np.concatenate([part for own in shown for part in (np.array([BOS_ID]), own)])
    parts = ids, mask, read, np.where(mask, ids, IGNORE), numbers
    return SentenceBatch(*map(torch.from_numpy, parts))


def _segmented(
    sequence: SegmentPair, hides: Hides, draw: np.random.Generator
) -> tuple[Ids, Ids, Ids, int]:
    """Ids, segments, labels, and whether the segments belong together."""
    ends = np.array([EOS_ID])
    parts: list[Any] = [np.array([BOS_ID]), sequence.first, ends]
    first = sum(map(len, parts))
    if sequence.second is not None:
        parts += [sequence.second, ends]
    ids = np.concatenate(parts)
    segments = (np.arange(len(ids)) >= first).astype(np.int64)
    labels = hides(ids, draw)
    return ids, segments, labels, IGNORE if sequence.belongs is None else int(sequence.belongs)


def _padded(tokens: Tokens, starts: Starts, lengths: Starts) -> tuple[NDArray[Any], NDArray[Any]]:
    """(B, longest) ids, PAD_ID after a row's own, and where they are real."""
    columns = np.arange(int(lengths.max()))
    mask = columns < lengths[:, None]
    ids = np.full(mask.shape, PAD_ID, dtype=np.int64)
    places = starts[:, None] + columns
    ids[mask] = tokens[places[mask]]  # one gather from the memory map
    return ids, mask


def _document_ids(input_ids: NDArray[np.int64]) -> torch.Tensor | None:
    begins = input_ids == BOS_ID
    if not begins[:, 1:].any():  # the boundary is the last label
        return None
    return torch.from_numpy(begins.cumsum(axis=1, dtype=np.int32))


def _nothing(width: int) -> TokenBatch:
    input_ids = torch.full((1, width), PAD_ID)
    return TokenBatch(
        input_ids=input_ids,
        attention_mask=torch.ones_like(input_ids, dtype=torch.bool),
        labels=torch.full_like(input_ids, IGNORE),
    )
