import math
from collections import Counter

import numpy as np
import pytest

from lmexp.corpora.text import TextFiles
from lmexp.tokenizers import UNK_ID, Words, from_state


@pytest.fixture(scope="module")
def small():
    words = Words(None, 1)
    words.fit(lambda: [" b a  a \n", " a <unk> \n"])
    return words


def test_the_most_frequent_word_comes_first(small):
    assert small.encode("a \n <unk> b") == [7, 8, 9, 10]


def test_an_unk_in_the_text_is_not_the_reserved_one(small):
    assert UNK_ID not in small.encode("<unk>")
    assert small.encode("<pad>") == [UNK_ID]


def test_words_come_back_with_one_space_between_them(small):
    assert small.decode(small.encode(" a   b \n zebra a \n")) == "a b\n<unk> a\n"


def test_only_spaces_and_line_ends_split_words(small):
    assert small.encode("a\u2028a a\ta a\u00a0a") == [UNK_ID] * 3


@pytest.mark.parametrize(("vocab_size", "min_count", "known"), [(2, 1, 2), (None, 2, 2), (1, 2, 1)])
def test_rare_words_are_unknown(vocab_size, min_count, known):
    words = Words(vocab_size, min_count)

    words.fit(lambda: ["a a a b b c"])

    assert words.encode("a b c") == [7, 8, 1][:known] + [1] * (3 - known)
    assert words.num_types == known


def test_a_vocabulary_larger_than_the_text_is_refused():
    with pytest.raises(
        ValueError, match=r"vocab_size=4 is more .*: 3 words .*vocab_size=3 or less"
    ):
        Words(4, 1).fit(lambda: ["a b c"])


def test_the_order_of_the_text_does_not_change_the_types():
    one, other = Words(None, 1), Words(None, 1)

    one.fit(lambda: ["a b c c"])
    other.fit(lambda: ["c b", "a c"])

    assert one.hash() == other.hash()


@pytest.fixture(scope="module")
def ptb_ids(request):
    def read(folder):
        corpus = TextFiles(
            "ptb.train.txt",
            "ptb.valid.txt",
            "ptb.test.txt",
            0.0,
            0.0,
            cut="tail",
            document="split",
            text_field="text",
            on_invalid="error",
            root=str(folder),
        )
        words = Words(None, 1)
        words.fit(lambda: (piece.text for piece in corpus.pieces("train")))
        ids = {
            split: np.concatenate(words.encode_many([p.text for p in corpus.pieces(split)]))
            for split in ("train", "val", "test")
        }
        return words, ids

    return read


def test_ptb_has_its_published_counts_and_unigram_perplexity(data_folder, ptb_ids):
    words, ids = ptb_ids(data_folder("ptb"))

    assert words.num_types == 10_000
    assert [len(ids[split]) for split in ("train", "val", "test")] == [929_589, 73_760, 82_430]
    counts = Counter(ids["train"].tolist())
    nll = [math.log(len(ids["train"]) / counts[number]) for number in ids["test"].tolist()]
    assert math.exp(sum(nll) / len(nll)) == pytest.approx(639.3, abs=0.05)


def test_a_segmenter_finds_the_words_of_a_text_without_spaces():
    jieba = pytest.importorskip("jieba")
    text = "我来到北京清华大学\n他 来到了网易"
    words = Words(vocab_size=None, min_count=1, segmenter="jieba")

    words.fit(lambda: [text])

    found = [words.decode([number]) for number in words.encode(text)]
    assert found == [word for word in jieba.lcut(text) if word != " "]
    assert "清华大学" in found
    assert words.decode(words.encode(text)) == text.replace(" ", "")
    assert from_state(words.state()).encode(text) == words.encode(text)
