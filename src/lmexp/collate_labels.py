"""Labelled examples → typed batches: as collate, the only place where their labels are aligned.

Shapes: B rows, T tokens, W words, C bytes of a word.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lmexp.batch import IGNORE, LabelBatch, QuestionBatch, TagBatch
from lmexp.tokenizers import BOS_ID, EOS_ID, PAD_ID

Numbers = NDArray[Any]


class TagRow(NamedTuple):
    """A window of a sentence."""

    sentence: int
    begins: bool  # whether its first word is the sentence's
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
    begins = [row.begins for row in rows] or [True]
    return TagBatch(
        input_ids=torch.from_numpy(input_ids),
        attention_mask=torch.from_numpy(attention_mask),
        firsts=torch.from_numpy(firsts),
        labels=torch.from_numpy(labels),
        sentences=torch.tensor(sentences),
        begins=torch.tensor(begins),
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


class LabelRow(NamedTuple):
    """A text or two."""

    segments: Sequence[Numbers]  # ids of each
    labels: Numbers


def collate_labels(rows: Sequence[LabelRow], num_labels: int | None) -> LabelBatch:
    """Texts, padded on the right; no row gives one of nothing, labelled IGNORE.

    Args:
        rows: of one text or two.
        num_labels: of which any number may hold; None: each row has one.
    """
    input_ids, attention_mask = framed([row.segments for row in rows])
    if num_labels is None:
        labels = np.array([int(row.labels[0]) for row in rows] or [IGNORE], dtype=np.int64)
    else:
        labels = np.full((len(input_ids), num_labels), 0 if rows else IGNORE, dtype=np.int64)
        for place, row in enumerate(rows):
            labels[place, row.labels] = 1
    return LabelBatch(
        input_ids=torch.from_numpy(input_ids),
        attention_mask=torch.from_numpy(attention_mask),
        segment_ids=torch.from_numpy(segments_of(input_ids, [row.segments for row in rows])),
        labels=torch.from_numpy(labels),
    )


def segments_of(input_ids: Numbers, rows: Sequence[Sequence[Numbers]]) -> NDArray[np.int64]:
    """(B, T) 0 up to the end of a row's first segment, 1 on its second, 0 on padding."""
    segments = np.zeros(input_ids.shape, dtype=np.int64)
    for place, row in enumerate(rows):
        if len(row) == 2:
            first = 2 + len(row[0])
            segments[place, first : first + len(row[1]) + 1] = 1
    return segments


class QuestionRow(NamedTuple):
    """A question, and a window of the context that it is about."""

    example: int  # number of the question
    question: Numbers
    ids: Numbers  # of the window
    word_lengths: Numbers  # (words,) tokens of each
    word_from: int  # words of the context before the window
    answer: tuple[int, int] | None  # first and last word of the window; None: it is not there


def collate_questions(rows: Sequence[QuestionRow]) -> QuestionBatch:
    """Windows, padded on the right; no row gives one of nothing, labelled IGNORE.

    Place 0 stands for "not here", and is the first token; place w + 1 is word w of the window.
    """
    input_ids, attention_mask = framed([[row.question, row.ids] for row in rows])
    most = max((len(row.word_lengths) for row in rows), default=0)
    places = np.zeros((len(input_ids), 1 + most), dtype=np.int64)
    is_place = np.arange(1 + most) == np.zeros((len(input_ids), 1))
    answers = np.full((len(input_ids), 2), 0 if rows else IGNORE, dtype=np.int64)
    for number, row in enumerate(rows):
        count = len(row.word_lengths)
        first = 2 + len(row.question)
        places[number, 1 : 1 + count] = first + np.cumsum(row.word_lengths) - row.word_lengths
        is_place[number, 1 : 1 + count] = True
        if row.answer is not None:
            answers[number] = np.add(row.answer, 1)
    segments = segments_of(input_ids, [[row.question, row.ids] for row in rows])
    return QuestionBatch(
        input_ids=torch.from_numpy(input_ids),
        attention_mask=torch.from_numpy(attention_mask),
        segment_ids=torch.from_numpy(segments),
        places=torch.from_numpy(places),
        is_place=torch.from_numpy(is_place),
        answers=torch.from_numpy(answers),
        examples=torch.tensor([row.example for row in rows] or [0]),
        words_from=torch.tensor([row.word_from for row in rows] or [0]),
    )
