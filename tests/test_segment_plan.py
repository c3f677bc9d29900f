"""Segments of documents: what they are cut from, and that nothing but content tells them apart."""

import numpy as np
import pytest

from lmexp.masking import WordEdges
from lmexp.segment_plan import Chunks, Segments, cut
from lmexp.tokenizers import BOS_ID, EOS_ID, SPECIALS

RESERVED, TYPES = len(SPECIALS), 50
LAST = RESERVED + TYPES - 1  # ends every document, and stands nowhere else


class Store:
    """Documents of random tokens."""

    def __init__(self, lengths, seed=0):
        draw = np.random.default_rng(seed)
        parts, starts, position = [], [], 0
        for length in lengths:
            inner = draw.integers(RESERVED, LAST, length)
            inner[-1:] = LAST
            parts.append(np.array([BOS_ID, *inner, EOS_ID]))
            starts.append(position)
            position += length + 2
        self.tokens = np.concatenate(parts).astype(np.uint16)
        self.num_tokens = position
        self.document_starts = np.array(starts)


def edges(share: float = 1.0) -> WordEdges:
    """A share of the types begin a word."""
    begins = np.random.default_rng(3).random(RESERVED + TYPES) < share
    return WordEdges(begins, np.zeros(RESERVED + TYPES, dtype=bool))


@pytest.mark.parametrize(
    ("lengths", "longest", "expected", "dropped"),
    [
        ([10], 10, [10], 0),
        ([11], 10, [5, 6], 0),
        ([30], 10, [10, 10, 10], 0),
        ([1, 7, 0], 10, [7], 2),
        ([2, 25], 10, [2, 8, 8, 9], 0),
    ],
)
def test_documents_are_cut_evenly_into_as_few_chunks_as_fit(lengths, longest, expected, dropped):
    store = Store(lengths)

    chunks, left_out = cut(store, longest, has_ends=True, least=2)

    assert chunks.lengths.tolist() == expected
    assert left_out == dropped
    covered = np.concatenate(
        [np.arange(start, start + length) for start, length in zip(*chunks[:2], strict=True)]
    )
    assert len(np.unique(covered)) == sum(length for length in lengths if length >= 2)
    assert (store.tokens[covered] >= RESERVED).all()


def drawn(pairs, share=1.0, lengths=None, epochs=3):
    """The sequences of some epochs, with the numbers of their chunks."""
    lengths = np.random.default_rng(5).integers(4, 90, 400) if lengths is None else lengths
    store = Store(lengths)
    chunks, _ = cut(store, 30, has_ends=True, least=2)
    segments = Segments(store, chunks, edges(share), pairs, seed=0)
    numbers = [(epoch, number) for epoch in range(epochs) for number in range(len(chunks.lengths))]
    return segments, [
        (number, segments.sequence(number, segments.generator(epoch, number)))
        for epoch, number in numbers
    ]


def test_without_pairs_a_sequence_is_its_chunk():
    segments, found = drawn(None, epochs=1)

    for number, sequence in found:
        assert sequence.second is None
        assert sequence.belongs is None
        np.testing.assert_array_equal(sequence.first, segments.chunk(number))


@pytest.mark.parametrize("share", [1.0, 0.4])
def test_half_of_the_second_segments_go_on_and_the_others_are_of_another_document(share):
    segments, found = drawn("next_sentence", share)

    together = np.array([sequence.belongs for _, sequence in found])
    assert abs(together.mean() - 0.5) < 3 * 0.5 / len(found) ** 0.5
    for number, (first, second, belongs) in found:
        whole = segments.chunk(number)
        np.testing.assert_array_equal(first, whole[: len(first)])
        assert len(first) + len(second) == len(whole)
        if len(second) > 5:  # fewer may be the same by chance
            assert np.array_equal(second, whole[len(first) :]) == belongs


def mean_differs(values, together) -> float:
    """By how many standard errors the mean differs between the two classes."""
    parts = [np.asarray(values, dtype=float)[together == kind] for kind in (True, False)]
    error = sum(part.var() / len(part) for part in parts) ** 0.5
    return abs(parts[0].mean() - parts[1].mean()) / error


@pytest.mark.parametrize("pairs", ["next_sentence", "sentence_order"])
def test_neither_lengths_nor_ends_tell_the_classes_apart(pairs):
    _, found = drawn(pairs, 0.4)

    together = np.array([sequence.belongs for _, sequence in found])
    for values in (
        [len(sequence.first) for _, sequence in found],
        [len(sequence.second) for _, sequence in found],
        [len(sequence.first) + len(sequence.second) for _, sequence in found],
        [abs(len(sequence.first) - len(sequence.second)) for _, sequence in found],
    ):
        assert mean_differs(values, together) < 3.5
    if pairs == "next_sentence":  # of swapped segments the ends are what there is to see
        begins = edges(0.4).begins
        for values in (
            [sequence.second[-1] == LAST for _, sequence in found],
            [sequence.first[-1] == LAST for _, sequence in found],
            [begins[sequence.second[0]] for _, sequence in found],
        ):
            assert np.std(values) == 0 or mean_differs(values, together) < 3.5


def test_swapped_segments_are_those_of_one_chunk():
    segments, found = drawn("sentence_order", 0.4)

    for number, (first, second, belongs) in found:
        parts = (first, second) if belongs else (second, first)
        np.testing.assert_array_equal(np.concatenate(parts), segments.chunk(number))


def test_draws_are_a_function_of_epoch_and_number_alone():
    segments, found = drawn("next_sentence", epochs=2)
    number, sequence = found[-1]

    again = segments.sequence(number, segments.generator(1, number))
    other = [segments.sequence(number, segments.generator(epoch, number)) for epoch in range(2, 9)]

    assert all(np.array_equal(mine, its) for mine, its in zip(sequence[:2], again[:2], strict=True))
    assert any(len(one.first) != len(sequence.first) for one in other)


def test_where_there_is_no_other_document_segments_belong_together():
    _, found = drawn("next_sentence", lengths=[500])

    assert all(sequence.belongs for _, sequence in found)


def test_chunks_are_parallel_arrays():
    chunks, _ = cut(Store([3, 45]), 20, has_ends=True, least=2)

    assert isinstance(chunks, Chunks)
    assert chunks.documents.tolist() == [0, 1, 1, 1]
