import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmexp.batch import IGNORE
from lmexp.batch_plan import ScoringPlan, WindowPlan
from lmexp.collate import collate_spans, collate_windows

PAD, BOS, EOS = 0, 2, 3
TOKENS = np.array([BOS, 7, 8, EOS, BOS, 9, EOS, BOS, 10, 11, 12, EOS], dtype=np.uint16)


def windows(starts, width, document_mask=True):
    return collate_windows(TOKENS, np.array(starts), width, document_mask=document_mask)


def test_a_label_is_the_next_token_of_the_stream():
    batch = windows([0, 8], 3)

    assert batch.input_ids.tolist() == [[BOS, 7, 8], [10, 11, 12]]
    assert batch.labels.tolist() == [[7, 8, EOS], [11, 12, EOS]]
    assert batch.attention_mask.all()
    assert batch.input_ids.dtype == batch.labels.dtype == torch.int64


@pytest.mark.parametrize("document_mask", [True, False])
def test_nobody_predicts_the_first_token_of_a_document(document_mask):
    batch = windows([2], 4, document_mask)

    assert batch.input_ids.tolist() == [[8, EOS, BOS, 9]]
    assert batch.labels.tolist() == [[EOS, IGNORE, 9, EOS]]


def test_document_ids_rise_where_a_document_begins():
    batch = windows([2, 7, 0], 4)

    assert batch.document_ids.tolist() == [[0, 0, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]
    assert batch.document_ids.dtype == torch.int32


def test_without_a_boundary_inside_a_row_there_are_no_document_ids():
    assert windows([0, 7], 4).document_ids is None


def test_without_a_document_mask_there_are_no_document_ids():
    assert windows([2], 4, document_mask=False).document_ids is None


def test_a_micro_batch_without_rows_is_one_row_with_nothing_to_predict():
    batch = windows([], 4)

    assert batch.input_ids.shape == (1, 4)
    assert (batch.labels == IGNORE).all()


def test_a_batch_is_a_copy_and_contiguous():
    tokens = TOKENS.copy()
    batch = collate_windows(tokens, np.array([0, 1]), 4, document_mask=True)

    batch.input_ids.zero_()
    batch.labels.zero_()

    np.testing.assert_array_equal(tokens, TOKENS)
    assert batch.input_ids.is_contiguous()
    assert batch.labels.is_contiguous()


def test_spans_are_padded_on_the_right_and_scored_from_where_they_say():
    plan = ScoringPlan(np.array([0, 4, 7]), 12, 3, 2, batch_size=9, carry=False)

    batch = collate_spans(TOKENS, plan.spans(plan.batches(0, 1)[0]))

    assert batch.input_ids.tolist() == [
        [BOS, 7, 8],
        [BOS, 10, 11],
        [BOS, 9, PAD],
        [11, 12, PAD],
    ]
    assert batch.labels.tolist() == [
        [7, 8, EOS],
        [10, 11, 12],
        [9, EOS, IGNORE],
        [IGNORE, EOS, IGNORE],
    ]
    assert batch.attention_mask.sum(1).tolist() == [3, 3, 2, 2]
    assert batch.document_ids is None


def test_no_spans_are_one_row_with_nothing_to_score():
    plan = ScoringPlan(np.array([0]), 12, 3, 3, batch_size=9, carry=False)

    batch = collate_spans(TOKENS, plan.spans(plan.batches(0, 2)[0][:0]))

    assert (batch.labels == IGNORE).all()
    assert batch.input_ids.shape == (1, 1)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=20), st.integers(1, 5), st.integers(0, 9))
def test_every_token_but_bos_is_a_label_once_an_epoch_up_to_the_ends(lengths, max_length, seed):
    parts = [[BOS, *range(100 * d, 100 * d + n), EOS] for d, n in enumerate(lengths, start=1)]
    tokens = np.concatenate([*parts, [BOS] * 3 * max_length]).astype(np.uint32)
    plan = WindowPlan(len(tokens), max_length, 2, 1, seed)

    labels = []
    for step in range(plan.steps_per_epoch):
        batch = collate_windows(tokens, plan.step(0, step)[0], max_length, document_mask=True)
        labels += batch.labels[batch.labels != IGNORE].tolist()

    unique = [label for label in labels if label != EOS]
    assert len(unique) == len(set(unique))
    missing = set(tokens.tolist()) - set(unique) - {BOS, EOS}
    assert missing <= set(tokens[: max_length + 1].tolist())  # the rest is at the far end, all bos
