"""Labelled examples → typed batches: as collate, the only place where their labels are aligned.

Shapes: B rows, T tokens, W words, C bytes of a word.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lmexp.batch import IGNORE, TagBatch
from lmexp.tokenizers import BOS_ID, EOS_ID, PAD_ID

Numbers = NDArray[Any]


class TagRow(NamedTuple):
    """A window of a sentence."""

    sentence: int
    ids: Numbers  # (tokens,)
    word_lengths: Numbers  # (words,) tokens of each
    tags: Numbers  # (words,)
    tagged: slice  # the words that are tagged in this window
    bytes: Numbers  # of all words
    sizes: Numbers  # (words,) bytes of each


def collate_tags(rows: Sequence[TagRow], spelling: int) -> TagBatch:
    """Windows, padded on the right; no row gives one of nothing, labelled IGNORE throughout.

    Args:
        rows: of sentences.
        spelling: bytes of a word at most; 0: the batch has none.
    """
    words = max((len(row.tags) for row in rows), default=1)
    input_ids, attention_mask = framed([[row.ids] for row in rows])
    firsts = np.zeros((len(input_ids), words), dtype=np.int64)
    labels = np.full_like(firsts, IGNORE)
    sizes = np.zeros_like(firsts)
    spelled = np.zeros((*firsts.shape, spelling), dtype=np.uint8)
    for place, row in enumerate(rows):
        count = len(row.tags)
        firsts[place, :count] = 1 + np.cumsum(row.word_lengths) - row.word_lengths
        labels[place, row.tagged] = row.tags[row.tagged]
        sizes[place, :count] = row.sizes
        spelled[place, :count][np.arange(spelling) < row.sizes[:, None]] = row.bytes
    sentences = [row.sentence for row in rows] or [0]
    return TagBatch(
        input_ids=torch.from_numpy(input_ids),
        attention_mask=torch.from_numpy(attention_mask),
        firsts=torch.from_numpy(firsts),
        labels=torch.from_numpy(labels),
        sentences=torch.tensor(sentences),
        spelling=torch.from_numpy(spelled) if spelling else None,
        spelling_sizes=torch.from_numpy(sizes) if spelling else None,
    )


def framed(rows: Sequence[Sequence[Numbers]]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """bos, then each segment of a row with eos after it, padded on the right.

    Args:
        rows: segments of each row; no row gives one of padding that counts as real.

    Returns:
        (B, T) ids, and (B, T) True on real tokens.
    """
    if not rows:
        return np.full((1, 1), PAD_ID, dtype=np.int64), np.ones((1, 1), dtype=np.bool_)
    whole = []
    for segments in rows:
        parts: list[Any] = [[BOS_ID]]
        for segment in segments:
            parts += [segment, [EOS_ID]]
        whole.append(np.concatenate(parts))
    lengths = np.array([len(ids) for ids in whole])
    mask = np.arange(int(lengths.max())) < lengths[:, None]
    padded = np.full(mask.shape, PAD_ID, dtype=np.int64)
    padded[mask] = np.concatenate(whole)
    return padded, mask
