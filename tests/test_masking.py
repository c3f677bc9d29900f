"""Which tokens are hidden, by count and by chance."""

import numpy as np
import pytest

from lmexp.batch import IGNORE
from lmexp.masking import Masking, WordEdges
from lmexp.tokenizers import BOS_ID, EOS_ID, MASK_ID, SPECIALS, Bytes, Words

RESERVED, TYPES = len(SPECIALS), 1000
EVERYWHERE = WordEdges(*(np.ones(RESERVED + TYPES, dtype=bool) for _ in range(2)))


def hidden(masking: Masking, ids, edges=EVERYWHERE, seed=0):
    """What is shown in the place of ids, and the labels."""
    shown = ids.copy()
    return shown, masking.hide(shown, edges, RESERVED, np.random.default_rng(seed))


def sequence(length: int):
    ids = np.random.default_rng(1).integers(RESERVED, RESERVED + TYPES, length + 2)
    ids[[0, -1]] = BOS_ID, EOS_ID
    return ids


@pytest.mark.parametrize(("length", "count"), [(1, 1), (3, 1), (20, 3), (100, 15), (10_000, 1500)])
def test_the_rate_is_of_the_ordinary_tokens_and_at_least_one_is_hidden(length, count):
    ids = sequence(length)

    shown, labels = hidden(Masking(0.15, whole_words=False), ids)

    is_hidden = labels != IGNORE
    assert is_hidden.sum() == count
    assert not is_hidden[[0, -1]].any()
    np.testing.assert_array_equal(labels[is_hidden], ids[is_hidden])
    np.testing.assert_array_equal(shown[~is_hidden], ids[~is_hidden])


def test_of_the_hidden_eight_in_ten_are_masked_and_one_is_another():
    ids = sequence(100_000)

    shown, labels = hidden(Masking(0.15, whole_words=False), ids)

    shown, ids = shown[labels != IGNORE], ids[labels != IGNORE]
    masked, same = shown == MASK_ID, shown == ids
    for share, expected in (
        (masked, 0.8),
        (same, 0.1 + 0.1 / TYPES),  # another token is sometimes the same
        (~masked & ~same, 0.1 - 0.1 / TYPES),
    ):
        sigma = (expected * (1 - expected) / len(ids)) ** 0.5
        assert abs(share.mean() - expected) < 3 * sigma
    assert (shown[~masked] >= RESERVED).all()


def test_a_sequence_of_reserved_ids_hides_nothing():
    _, labels = hidden(Masking(0.15, whole_words=False), np.array([BOS_ID, EOS_ID]))

    assert (labels == IGNORE).all()


def test_the_same_draws_hide_the_same_and_others_others():
    masking, ids = Masking(0.3, whole_words=False), sequence(50)

    again, other = (hidden(masking, ids, seed=seed)[1] for seed in (0, 1))

    np.testing.assert_array_equal(hidden(masking, ids)[1], again)
    assert (again != other).any()


def test_whole_words_are_hidden_or_shown():
    ids = sequence(300)
    begins = np.zeros(RESERVED + TYPES, dtype=bool)
    begins[::3] = True  # a third of the types begin a word
    edges = WordEdges(begins, np.arange(RESERVED + TYPES) < RESERVED)
    words = np.cumsum(edges.starts(ids))

    _, labels = hidden(Masking(0.15, whole_words=True), ids, edges)

    is_hidden = labels != IGNORE
    for word in np.unique(words[is_hidden]):
        assert is_hidden[(words == word) & (ids >= RESERVED)].all()
    assert 0.1 * 300 < is_hidden.sum() <= 45


def test_words_begin_after_and_with_white_space():
    tokenizer = Bytes()
    ids = np.array(tokenizer.encode("at  home\nnow"))

    starts = WordEdges.of(tokenizer).starts(ids)

    assert [bool(start) for start in starts] == [char in "a hn\n" for char in "a.  h...\nn.."]


def test_every_token_of_a_vocabulary_of_words_is_a_word():
    tokenizer = Words(vocab_size=None, min_count=1)
    tokenizer.fit(lambda: ["a name in scope"])

    assert WordEdges.of(tokenizer).starts(np.array(tokenizer.encode("name in a scope"))).all()


def test_a_chinese_character_is_a_word():
    tokenizer = Bytes()
    tokenizer.decode = lambda ids: "字"  # whatever the id

    assert WordEdges.of(tokenizer).begins.all()
