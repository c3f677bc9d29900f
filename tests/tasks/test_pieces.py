"""Micro-batches cut by rows, and their states."""

import pytest
import torch

from lmexp.batch import PairBatch, TokenBatch
from lmexp.tasks.pieces import cut, cut_state, in_order, joined, lacks_memory


def batch(rows: int) -> TokenBatch:
    ids = torch.arange(rows * 3).view(rows, 3)
    return TokenBatch(ids, ids > 0, ids + 1)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 9])
def test_pieces_hold_every_row_once_in_order(count):
    pieces = cut(batch(5), count)

    assert len(pieces) == min(count, 5)
    assert all(len(piece.input_ids) and piece.document_ids is None for piece in pieces)
    for name in ("input_ids", "attention_mask", "labels"):
        whole = torch.cat([getattr(piece, name) for piece in pieces])
        assert torch.equal(whole, getattr(batch(5), name))


def test_pairs_are_cut_on_both_sides():
    pairs = PairBatch(*(torch.full((4, 2), number) for number in range(4)))

    first, second = cut(pairs, 2)

    assert [len(part) for part in first] == [2] * 4
    assert torch.equal(second.labels, torch.full((2, 2), 3))


def test_states_are_cut_by_row_not_by_layer():
    state = (torch.arange(12.0).view(2, 6, 1), torch.arange(12.0).view(2, 6, 1))

    pieces = cut_state(state, 3)

    assert [piece[0].shape for piece in pieces] == [(2, 2, 1)] * 3
    for part, whole in zip(joined(pieces), state, strict=True):
        assert torch.equal(part, whole)
    assert cut_state(None, 3) == [None] * 3
    assert joined([None]) is None


def test_states_of_ranks_come_in_the_order_of_the_step():
    assert in_order([["a", "c"], ["b", "d"]]) == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("error", "lacks"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("shape mismatch"), False),
    ],
)
def test_what_counts_as_too_little_memory(error, lacks):
    assert lacks_memory(error) == lacks
