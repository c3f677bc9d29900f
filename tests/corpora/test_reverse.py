from collections import Counter

import pytest

from lmexp.corpora.reverse import Reverse

DEFAULTS = {
    "size": 1000,
    "min_length": 3,
    "max_length": 12,
    "vocabulary": 20,
    "seed": 1,
    "val_size": 100,
    "test_size": 50,
}
SPLITS = ("train", "val", "test")


def corpus(**changes):
    return Reverse(**{**DEFAULTS, **changes})


def test_the_target_is_the_source_backwards():
    for source, target, references in corpus().pairs("train"):
        numbers = [int(word) for word in source.split(" ")]
        assert [int(word) for word in target.split(" ")] == numbers[::-1]
        assert source == " ".join(map(str, numbers))
        assert references == ()


def test_splits_have_their_sizes_and_nothing_in_common():
    parts = [{pair.source for pair in corpus().pairs(split)} for split in SPLITS]

    assert [len(part) for part in parts] == [1000, 100, 50]
    assert len(set.union(*parts)) == 1150


def test_lengths_and_integers_are_uniform():
    sources = [pair.source.split(" ") for pair in corpus(size=5000).pairs("train")]
    lengths = Counter(map(len, sources))
    integers = Counter(int(word) for source in sources for word in source)

    assert sorted(lengths) == list(range(3, 13))
    assert all(400 <= number <= 600 for number in lengths.values())  # 500, four sigmas of 21
    assert sorted(integers) == list(range(20))
    assert max(integers.values()) < 1.15 * min(integers.values())


def test_lengths_that_run_out_leave_more_of_the_others():
    sources = [p.source for p in corpus(size=300, min_length=1, vocabulary=2).pairs("train")]

    assert len(set(sources)) == 300


def test_the_pairs_are_a_function_of_the_arguments():
    assert list(corpus().pairs("train")) == list(corpus().pairs("train"))
    assert corpus().fingerprint() == corpus().fingerprint()
    for changes in ({"seed": 2}, {"size": 999}, {"val_size": 101, "size": 999}, {"max_length": 9}):
        assert corpus(**changes).fingerprint() != corpus().fingerprint()


def test_more_training_leaves_the_other_splits_alone():
    for split in ("val", "test"):
        assert list(corpus(size=5000).pairs(split)) == list(corpus().pairs(split))


def test_a_split_of_no_size_is_missing():
    reverse = corpus(test_size=0)

    assert reverse.splits == ("train", "val")
    assert list(reverse.pairs("test")) == []
    assert reverse.languages == (None, None)
    assert not reverse.counts


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"root": "/x"}, r"data\.root=/x: data=reverse is made by a program and has no files"),
        ({"min_length": 13}, r"min_length=13 is more than max_length=12: write data\.max_l"),
        (
            {"vocabulary": 2, "max_length": 11},
            r"1150 different sequences .*max_length=11 integers out of vocabulary=2 there are 2048",
        ),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        corpus(**changes)
