"""Features of spelling: those of a word depend on its own bytes alone."""

import pytest
import torch

from lmexp.networks.spelling import Spelling

D_MODEL = 6
EXACT = {"rtol": 0, "atol": 0}
CLOSE = {"rtol": 1e-6, "atol": 1e-6}
WORDS = ([b"EU", b"rejects", b"a"], [b"call"])


def batch(words, width: int = 8, columns: int = 3, filler: int = 0):
    """Bytes, sizes and first columns of sentences, one token a word after a reserved one."""
    shape = len(words), columns
    spelling = torch.full((*shape, width), filler, dtype=torch.uint8)
    sizes, firsts = torch.zeros(shape, dtype=torch.int64), torch.zeros(shape, dtype=torch.int64)
    for row, own in enumerate(words):
        for place, word in enumerate(own):
            spelling[row, place, : len(word)] = torch.tensor(list(word), dtype=torch.uint8)
            sizes[row, place], firsts[row, place] = len(word), 1 + place
    return spelling, sizes, firsts


@pytest.fixture
def spelling():
    torch.manual_seed(0)
    own = Spelling(5, D_MODEL)
    torch.nn.init.normal_(own.output.weight)
    torch.nn.init.normal_(own.output.bias)
    return own


def test_features_begin_as_zeros():
    features = Spelling(5, D_MODEL)(*batch(WORDS), 6)

    assert features.shape == (2, 6, D_MODEL)
    assert not features.any()


def test_each_stands_at_its_words_first_token_and_elsewhere_is_nothing(spelling):
    features = spelling(*batch(WORDS), 6)

    is_something = features.abs().sum(dim=-1) > 0
    assert is_something.tolist() == [
        [False, True, True, True, False, False],
        [False, True, False, False, False, False],
    ]


def test_a_feature_is_the_largest_that_a_filter_finds_in_the_word(spelling):
    word = torch.nn.functional.pad(spelling.embed(torch.tensor(list(b"call"))), (0, 0, 1, 1))
    found = torch.stack(
        [
            torch.einsum("foc,co->f", spelling.filters.weight, word[place : place + 3])
            for place in range(4)
        ]
    )
    expected = spelling.output(torch.relu((found + spelling.filters.bias).amax(dim=0)))

    torch.testing.assert_close(spelling(*batch(WORDS), 6)[1, 1], expected, **CLOSE)


@pytest.mark.parametrize("changes", [{"width": 12}, {"filler": 200}, {"columns": 7}])
def test_bytes_after_a_word_and_room_change_nothing(spelling, changes):
    torch.testing.assert_close(
        spelling(*batch(WORDS, **changes), 6), spelling(*batch(WORDS), 6), **CLOSE
    )


def test_other_words_change_nothing(spelling):
    others = ([b"EU", b"\xff\xfe", b"abcdefgh"], [b"call"])

    before, after = spelling(*batch(WORDS), 6), spelling(*batch(others), 6)

    torch.testing.assert_close(before[:, :2], after[:, :2], **CLOSE)
    assert not torch.equal(before[0, 2:4], after[0, 2:4])


def test_every_byte_of_a_word_counts(spelling):
    features = spelling(*batch(([b"call", b"Call", b"calm"],)), 6)[0]

    assert not torch.equal(features[1], features[2])
    assert not torch.equal(features[1], features[3])


@pytest.mark.parametrize("autocast", [False, True])
def test_without_a_word_there_is_nothing_and_no_nan(spelling, autocast):
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        features = spelling(*batch(([], [])), 4)
        features.sum().backward()

    assert features.shape == (2, 4, D_MODEL)
    assert not features.any()
    assert all(p.grad is None or p.grad.isfinite().all() for p in spelling.parameters())


def test_in_bfloat16_it_is_nearly_the_same(spelling):
    with torch.autocast("cpu", torch.bfloat16):
        features = spelling(*batch(WORDS), 6)

    torch.testing.assert_close(features.float(), spelling(*batch(WORDS), 6), rtol=0.05, atol=0.05)
