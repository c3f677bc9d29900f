"""Batches of tags, of labels and of questions, column by column."""

import numpy as np
import pytest
import torch

from lmexp.batch import IGNORE
from lmexp.collate_labels import (
    LabelRow,
    QuestionRow,
    TagRow,
    collate_labels,
    collate_questions,
    collate_tags,
)
from lmexp.tokenizers import BOS_ID as BOS
from lmexp.tokenizers import EOS_ID as EOS
from lmexp.tokenizers import PAD_ID as PAD

LONG = TagRow(
    sentence=4,
    begins=False,
    ids=np.array([11, 12, 13, 14, 15, 16]),
    word_lengths=np.array([2, 1, 3]),
    tags=np.array([0, 1, 2]),
    tagged=slice(1, 3),  # the first is tagged in the window before
    bytes=np.frombuffer(b"EUtoBon", dtype=np.uint8),
    sizes=np.array([2, 2, 3]),
)
SHORT = TagRow(
    sentence=7,
    begins=True,
    ids=np.array([21]),
    word_lengths=np.array([1]),
    tags=np.array([5]),
    tagged=slice(0, 1),
    bytes=np.frombuffer(b"a", dtype=np.uint8),
    sizes=np.array([1]),
)


def without_bytes(row: TagRow) -> TagRow:
    return row._replace(bytes=row.bytes[:0], sizes=np.zeros_like(row.sizes))


def test_a_word_is_tagged_at_its_first_token():
    batch = collate_tags([without_bytes(LONG), without_bytes(SHORT)], spelling=0)

    assert batch.input_ids.tolist() == [
        [BOS, 11, 12, 13, 14, 15, 16, EOS],
        [BOS, 21, EOS, PAD, PAD, PAD, PAD, PAD],
    ]
    assert batch.attention_mask.equal(batch.input_ids != PAD)
    assert batch.firsts.tolist() == [[1, 3, 4], [1, 0, 0]]
    assert batch.labels.tolist() == [[IGNORE, 1, 2], [5, IGNORE, IGNORE]]
    assert batch.sentences.tolist() == [4, 7]
    assert batch.begins.tolist() == [False, True]
    assert batch.spelling is None
    assert batch.spelling_sizes is None


def test_a_word_has_its_bytes():
    batch = collate_tags([LONG, SHORT], spelling=3)

    assert batch.spelling.dtype == torch.uint8
    assert bytes(batch.spelling.flatten().tolist()) == b"EU\0to\0Bon" + b"a\0\0" + b"\0" * 6
    assert batch.spelling_sizes.tolist() == [[2, 2, 3], [1, 0, 0]]


@pytest.mark.parametrize("spelling", [0, 3])
def test_of_no_sentence_there_is_a_batch_that_predicts_nothing(spelling):
    batch = collate_tags([], spelling)

    assert batch.labels.tolist() == [[IGNORE]]
    assert batch.attention_mask.tolist() == [[True]]
    assert batch.firsts.tolist() == [[0]]
    assert (batch.spelling is None) == (spelling == 0)


def row(*segments, labels=(0,)):
    return LabelRow(
        [np.array(own, dtype=np.int64) for own in segments], np.array(labels, dtype=np.int64)
    )


def test_a_pair_has_an_end_after_each_text_and_segments():
    batch = collate_labels([row([11, 12], [13], labels=[2]), row([21], labels=[1])], None)

    assert batch.input_ids.tolist() == [[BOS, 11, 12, EOS, 13, EOS], [BOS, 21, EOS, PAD, PAD, PAD]]
    assert batch.segment_ids.tolist() == [[0, 0, 0, 0, 1, 1], [0] * 6]
    assert batch.attention_mask.equal(batch.input_ids != PAD)
    assert batch.labels.tolist() == [2, 1]


def test_an_empty_text_has_its_ends():
    batch = collate_labels([row([], []), row([])], None)

    assert batch.input_ids.tolist() == [[BOS, EOS, EOS], [BOS, EOS, PAD]]
    assert batch.segment_ids.tolist() == [[0, 0, 1], [0, 0, 0]]


def test_any_number_of_labels_may_hold():
    batch = collate_labels([row([11], labels=[0, 3]), row([12], labels=[])], num_labels=4)

    assert batch.labels.tolist() == [[1, 0, 0, 1], [0, 0, 0, 0]]


@pytest.mark.parametrize(("num_labels", "expected"), [(None, [IGNORE]), (2, [[IGNORE] * 2])])
def test_of_no_text_there_is_a_batch_that_predicts_nothing(num_labels, expected):
    batch = collate_labels([], num_labels)

    assert batch.labels.tolist() == expected
    assert batch.segment_ids.tolist() == [[0]]
    assert batch.attention_mask.tolist() == [[True]]


ASKED = QuestionRow(
    example=4,
    question=np.array([31, 32]),
    ids=np.array([11, 12, 13, 14, 15, 16]),
    word_lengths=np.array([2, 1, 3], dtype=np.uint16),
    word_from=5,
    answer=(1, 2),
)
ABSENT = QuestionRow(7, np.array([41]), np.array([21]), np.array([1], dtype=np.uint16), 0, None)


def test_an_answer_is_the_places_of_its_words_and_place_0_is_none():
    batch = collate_questions([ASKED, ABSENT])

    assert batch.input_ids.tolist() == [
        [BOS, 31, 32, EOS, 11, 12, 13, 14, 15, 16, EOS],
        [BOS, 41, EOS, 21, EOS] + [PAD] * 6,
    ]
    assert batch.attention_mask.equal(batch.input_ids != PAD)
    assert batch.segment_ids.tolist() == [[0] * 4 + [1] * 7, [0, 0, 0, 1, 1] + [0] * 6]
    assert batch.places.tolist() == [[0, 4, 6, 7], [0, 3, 0, 0]]
    assert batch.is_place.tolist() == [[True] * 4, [True, True, False, False]]
    assert batch.answers.tolist() == [[2, 3], [0, 0]]
    assert batch.examples.tolist() == [4, 7]
    assert batch.words_from.tolist() == [5, 0]
    assert {part.dtype for part in batch} == {torch.int64, torch.bool}


def test_of_no_question_there_is_a_batch_that_predicts_nothing():
    batch = collate_questions([])

    assert batch.answers.tolist() == [[IGNORE, IGNORE]]
    assert batch.is_place.tolist() == [[True]]
    assert batch.places.tolist() == batch.segment_ids.tolist() == [[0]]
    assert batch.attention_mask.tolist() == [[True]]
