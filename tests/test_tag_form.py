"""Windows of sentences, and words as tokens, bytes and tags."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmexp.corpora.piece import Tagged
from lmexp.ragged import write_ragged
from lmexp.tag_form import OVERLAP, TagForm, TagReader, windows
from lmexp.tokenizers import UNK_ID, Bytes


@st.composite
def cuts(draw):
    """Lengths of words, and the tokens of a window: of every word at least as many."""
    longest = draw(st.integers(1, 40))
    words = st.integers(1, longest) if draw(st.booleans()) else st.integers(1, min(3, longest))
    return draw(st.lists(words, min_size=1, max_size=60)), longest


@given(cuts())
def test_every_word_is_tagged_once_and_in_order(cut):
    lengths, longest = cut

    found = windows(lengths, longest)

    tagged = [word for *_, begin, end in found for word in range(begin, end)]
    assert tagged == list(range(len(lengths)))
    assert all(begin <= first <= last <= end for begin, end, first, last in found)


@given(cuts())
def test_no_window_is_longer_than_asked_for(cut):
    lengths, longest = cut

    assert all(sum(lengths[begin:end]) <= longest for begin, end, *_ in windows(lengths, longest))


@given(cuts())
def test_every_window_reads_words_that_none_before_it_read(cut):
    found = windows(*cut)

    for before, after in itertools.pairwise(found):
        assert before[0] < after[0]
        assert before[1] < after[1]


@given(cuts())
def test_of_an_overlap_every_word_has_the_window_with_more_of_its_neighbours(cut):
    for before, after in itertools.pairwise(windows(*cut)):
        for word in range(after[0], before[1]):
            on_the_left, on_the_right = word - after[0], before[1] - 1 - word
            if before[2] <= word < before[3]:
                assert on_the_right >= on_the_left
            elif after[2] <= word < after[3]:
                assert on_the_left >= on_the_right


@given(cuts())
def test_the_next_window_reads_again_at_most_a_quarter(cut):
    lengths, longest = cut
    found = windows(lengths, longest)

    for before, after in itertools.pairwise(found):
        assert sum(lengths[after[0] : before[1]]) <= longest * OVERLAP


def test_a_sentence_that_fits_is_one_window():
    assert windows([2, 1, 3], 6) == [(0, 3, 0, 3)]


def test_a_longer_one_is_cut_with_an_overlap_of_a_quarter():
    # eight words fit; two of them are read again, and each window tags one of the two
    assert windows([1] * 14, 8) == [(0, 8, 0, 7), (6, 14, 7, 14)]


def test_a_word_as_long_as_a_window_stands_alone():
    assert windows([1, 1, 8, 1], 8) == [(0, 2, 0, 2), (2, 3, 2, 3), (3, 4, 3, 4)]


FORM = TagForm(longest=4, spelling=3, is_joined=False)


def encoded(words, tags, form=FORM, changed=None):
    names = ["O", "B-X", "I-X"]
    counts = Counter() if changed is None else changed
    return form.encoded(Tagged(tuple(words), tuple(tags)), Bytes(), names.index, counts)


def test_a_word_has_its_tokens_its_first_bytes_and_its_tag():
    row = encoded(["EU", "Zürich"], ["O", "B-X"])

    first = 7  # of the ids of bytes
    assert row.columns["ids"].tolist() == [first + byte for byte in b"EU Z\xc3\xbc"]
    assert row.columns["word_lengths"] == [2, 4]  # the space is the second one's; it is cut
    assert row.columns["bytes"].tobytes() == b"EUZ\xc3\xbc"
    assert row.columns["sizes"] == [2, 3]
    assert row.columns["tags"] == [0, 1]
    assert (row.text, row.kept) == ("EU Zürich", ("EU", "Zürich"))


def test_words_that_are_cut_are_counted_and_others_are_not():
    changed = Counter()
    encoded(["a", "b"], ["O", "O"], changed=changed)
    assert not changed

    encoded(["a", "abcdefgh", "ijklmnop"], ["O", "O", "O"], changed=changed)
    assert changed == {"words cut at 4 tokens": 2}


def test_characters_that_stand_without_spaces_are_read_without_any():
    row = encoded("上海", ["B-X", "I-X"], TagForm(longest=9, spelling=0, is_joined=True))

    assert row.columns["word_lengths"] == [3, 3]
    assert row.columns["sizes"] == [0, 0]
    assert list(FORM.texts_of(Tagged(("上", "海"), ("O", "O")))) == ["上 海"]
    assert list(TagForm(9, 0, True).texts_of(Tagged(("上", "海"), ("O", "O")))) == ["上海"]


def test_a_word_of_no_token_is_an_unknown_one():
    assert encoded(["", "a"], ["O", "O"]).columns["ids"][0] == UNK_ID


def test_both_tags_of_a_type_are_labels_though_one_occurs():
    assert set(FORM.labels_of(Tagged(("a", "b"), ("O", "B-X")))) == {"O", "B-X", "I-X"}


@pytest.fixture
def reader(tmp_path):
    """Sentences of 2, 9 and 1 words of one byte: windows of at most four."""
    words = (("a", "b"), tuple("abcdefghi"), ("z",))
    form = TagForm(longest=4, spelling=2, is_joined=True)
    tags = [[n % 3 for n in range(len(own))] for own in words]
    names = ("O", "B-X", "I-X")
    rows = [
        encoded(own, [names[tag] for tag in given], form)
        for own, given in zip(words, tags, strict=True)
    ]
    store = write_ragged(tmp_path / "store", lambda _: rows, TagForm.dtypes)
    return TagReader(store, 4, 2)


def test_rows_of_sentences_are_their_windows_side_by_side(reader):
    assert reader.lengths.tolist() == [4, 6, 6, 5, 3]
    assert reader.windows.example.tolist() == [0, 1, 1, 1, 2]
    assert reader.rows_of(np.array([2, 1])).tolist() == [4, 1, 2, 3]
    assert reader.rows_of(np.array([], dtype=np.int64)).tolist() == []
    assert reader.num_labels == 12


def test_each_word_of_a_long_sentence_has_its_tag_in_one_window(reader):
    batch = reader.batch(reader.rows_of(np.array([1])))

    tagged = batch.labels[batch.labels >= 0].tolist()
    assert tagged == [0, 1, 2, 0, 1, 2, 0, 1, 2]
    assert batch.begins.tolist() == [True, False, False]
    assert batch.sentences.tolist() == [1, 1, 1]
    assert batch.attention_mask.sum(dim=1).tolist() == [6, 6, 5]
