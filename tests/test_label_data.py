"""What is left of texts that are too long, and which labels they have."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmexp.corpora.piece import Labelled
from lmexp.label_data import LabelForm, LabelReader, cut_lengths
from lmexp.ragged import write_ragged
from lmexp.tokenizers import Bytes

SIZES = st.integers(0, 300)


@given(SIZES, SIZES, st.integers(2, 300))
def test_a_pair_fits_and_the_longer_text_gives_first(first, second, room):
    left = cut_lengths([first, second], room)

    assert sum(left) == min(first + second, room)
    lost = first - left[0], second - left[1]
    assert min(lost) >= 0
    if first >= second and lost[1]:
        assert abs(left[0] - left[1]) <= 1
    if second >= first and lost[0]:
        assert abs(left[0] - left[1]) <= 1


@given(SIZES, st.integers(2, 300))
def test_one_text_has_all_the_room(length, room):
    assert cut_lengths([length], room) == [min(length, room)]


@pytest.mark.parametrize(
    ("lengths", "left"),
    [([10, 2], [5, 2]), ([2, 10], [2, 5]), ([10, 10], [4, 3]), ([3, 4], [3, 4]), ([0, 9], [0, 7])],
)
def test_of_seven_tokens(lengths, left):
    assert cut_lengths(lengths, 7) == left


def encoded(example, form, changed=None):
    names = ["good", "bad", "new"]
    counts = Counter() if changed is None else changed
    return form.encoded(example, Bytes(), names.index, counts)


def test_texts_that_are_cut_are_counted_and_others_are_not():
    form, changed = LabelForm(max_length=9, multiple=False), Counter()

    assert encoded(Labelled("abc", "def", ("bad",)), form, changed).columns["parts"] == [3, 3]
    assert not changed
    assert encoded(Labelled("abc", "defg", ("bad",)), form, changed).columns["parts"] == [3, 3]
    assert encoded(Labelled("abcdefgh", None, ("bad",)), form, changed).columns["parts"] == [7]
    assert changed == {"texts cut at 9 tokens": 2}


@pytest.mark.parametrize(("labels", "said"), [((), "none"), (("good", "bad"), "good, bad")])
def test_with_one_label_each_another_number_is_refused(labels, said):
    with pytest.raises(ValueError, match=rf"{len(labels)} labels \({said}\).*data.multiple=true"):
        encoded(Labelled("a text", None, labels), LabelForm(9, multiple=False))


def test_several_labels_are_sorted_and_said_once():
    row = encoded(Labelled("a", None, ("new", "good", "new")), LabelForm(9, multiple=True))

    assert row.columns["labels"] == [0, 2]


@pytest.mark.parametrize("multiple", [False, True])
def test_lengths_of_rows_are_those_of_their_batches(multiple, tmp_path):
    form = LabelForm(12, multiple)
    examples = [
        Labelled("abc", None, ("good",)),
        Labelled("abc", "d", ("bad",)),
        Labelled("a" * 20, "b" * 20, ("bad",)),
        Labelled("", None, ("good",)),
    ]
    rows = [encoded(example, form) for example in examples]
    facts = {"labels": ["good", "bad"]}
    store = write_ragged(tmp_path / "store", lambda _: rows, form.dtypes, lambda: facts)
    reader = LabelReader(store, multiple)

    batch = reader.batch(reader.rows_of(reader.lengths.argsort(kind="stable")))

    assert reader.lengths.tolist() == [5, 7, 12, 2]
    assert batch.attention_mask.sum(dim=1).tolist() == [2, 5, 7, 12]
    expected = [[1, 0], [1, 0], [0, 1], [0, 1]] if multiple else [0, 0, 1, 1]
    assert batch.labels.tolist() == expected
