"""Words as tokens one by one, and a tokenizer that knows labels."""

import random

import numpy as np
import pytest

from lmexp.labelled_preparation import label_order
from lmexp.tokenizers import (
    UNK_ID,
    Bytes,
    Chars,
    LabelledTokenizer,
    SentencePiece,
    Words,
    encode_words,
    from_state,
)

SENTENCES = [["the", "quick", "brown", "fox"], ["quick", "foxes", "jump"], ["New", "York", "."]]
CHINESE = list("上海的天空")
MADE = {
    "bpe": lambda: SentencePiece("bpe", vocab_size=360, sample_bytes=100_000),
    "unigram": lambda: SentencePiece("unigram", vocab_size=360, sample_bytes=100_000),
    "word": lambda: Words(vocab_size=None, min_count=1),
    "char": lambda: Chars(vocab_size=None, min_count=1, byte_fallback=True),
    "byte": Bytes,
}


def texts():
    rng = random.Random(0)
    syllables = [a + b + c for a in "bdfgk" for b in "aeiou" for c in "lmnr"]
    for _ in range(300):
        yield " ".join("".join(rng.choices(syllables, k=rng.randint(1, 3))) for _ in range(6))
        yield from (" ".join(words) for words in [*SENTENCES, CHINESE])


@pytest.fixture(params=MADE)
def tokenizer(request):
    made = MADE[request.param]()
    if request.param != "byte":
        made.fit(texts)
    return made


@pytest.mark.parametrize("words", [*SENTENCES, ["the"], ["unseen", "quick", "wörds"]])
def test_words_one_by_one_are_the_tokens_of_their_text(words, tokenizer):
    parts = encode_words(tokenizer, words, is_joined=False)

    assert len(parts) == len(words)
    assert min(map(len, parts)) >= 1
    (whole,) = tokenizer.encode_many([" ".join(words)])
    assert np.concatenate(parts).tolist() == whole.tolist()


@pytest.mark.parametrize("name", ["char", "byte"])
def test_characters_that_stand_without_spaces_have_tokens_without(name):
    tokenizer = MADE[name]()
    if name == "char":
        tokenizer.fit(texts)

    parts = encode_words(tokenizer, CHINESE, is_joined=True)

    (whole,) = tokenizer.encode_many(["".join(CHINESE)])
    assert np.concatenate(parts).tolist() == whole.tolist()
    assert {len(part) for part in parts} == {1 if name == "char" else 3}


def test_a_word_without_a_token_is_unknown():
    parts = encode_words(Bytes(), ["", "a"], is_joined=True)

    assert parts[0].tolist() == [UNK_ID]


def test_labels_are_saved_with_the_tokenizer_and_are_part_of_its_hash():
    one, other = (LabelledTokenizer(Bytes(), labels) for labels in (["O", "B-A"], ["B-A", "O"]))

    again = from_state(one.state())

    assert (again.labels, again.hash()) == (("O", "B-A"), one.hash())
    assert one.hash() != other.hash() != Bytes().hash()
    assert again.vocab_size == Bytes().vocab_size


def test_o_comes_first_then_types_with_beginnings_before_insides():
    labels = ["I-PER", "B-PER", "O", "I-LOC", "B-LOC"]

    assert sorted(labels, key=label_order) == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
    assert sorted(["b", "B-", "a", "non-A"], key=label_order)[0] == "B-"
