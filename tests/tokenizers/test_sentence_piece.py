import subprocess
import sys
from collections import Counter
from pydoc_data.topics import topics

import pytest

from lmexp.tokenizers import SentencePiece
from lmexp.tokenizers.sentence_piece import draw

TEXT = [line + "\n" for line in topics["import"].split("\n")]
algorithms = pytest.mark.parametrize("algorithm", ["bpe", "unigram"])


def fitted(texts, algorithm="bpe", vocab_size=300, sample_bytes=10**6):
    tokenizer = SentencePiece(algorithm, vocab_size, sample_bytes)
    tokenizer.fit(lambda: texts)
    return tokenizer


@algorithms
def test_sizes_are_stated_without_the_reserved_ids(algorithm):
    tokenizer = fitted(TEXT, algorithm)

    assert (tokenizer.num_types, tokenizer.vocab_size) == (300, 307)


@algorithms
def test_the_end_of_a_line_is_one_type_and_bytes_follow_it(algorithm):
    tokenizer = fitted(TEXT, algorithm)

    assert tokenizer.encode("\n\n") == [7, 7]
    assert tokenizer.encode("\0") == [8]
    assert tokenizer.encode("\U0010ffff") == [8 + byte for byte in "\U0010ffff".encode()]


@algorithms
def test_a_frequent_word_is_one_piece(algorithm):
    tokenizer = fitted(TEXT, algorithm, vocab_size=400)

    assert len(tokenizer.encode(" module")) == 1


def test_indentation_is_one_piece():
    tokenizer = fitted(["    return x\n", "        return y\n"] * 100 + TEXT)

    assert len(tokenizer.encode("        ")) == 1


@algorithms
def test_a_vocabulary_larger_than_the_text_allows_names_the_largest(algorithm):
    with pytest.raises(ValueError, match=r"vocab_size=30000 is more than the .* or less$") as error:
        fitted(TEXT, algorithm, vocab_size=30_000)
    largest = int(str(error.value).split("vocab_size=")[-1].split()[0])

    assert "\n" not in str(error.value)
    assert fitted(TEXT, algorithm, vocab_size=largest).num_types == largest
    with pytest.raises(ValueError, match=f"{largest} or less"):
        fitted(TEXT, algorithm, vocab_size=largest + 1)


@pytest.mark.parametrize("texts", [[], [""], ["\n\n"]])
def test_no_text_is_refused(texts):
    with pytest.raises(ValueError, match=r"no text to fit the tokenizer on: look at data\.corpus"):
        fitted(texts)


@algorithms
def test_names_of_our_pieces_in_the_text_are_text(algorithm):
    text = "<unk> <s> <0x0A> \u2585unk \u2581 \0 <pad>\n"

    tokenizer = fitted([text * 5] * 200 + TEXT, algorithm, vocab_size=400)

    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert min(tokenizer.encode(text)) >= 7


@algorithms
def test_a_line_too_long_for_sentencepiece_is_trained_on(algorithm):
    tokenizer = fitted([*TEXT, "quagmire " * 100_000], algorithm, vocab_size=400)

    assert len(tokenizer.encode(" quagmire")) == 1


def test_half_of_the_types_at_most_are_single_characters():
    rare = "".join(chr(0x4E00 + number) for number in range(3000))

    tokenizer = fitted(["春眠不覺曉，處處聞啼鳥。\n"] * 500 + [rare, *TEXT])

    assert len(tokenizer.encode("\u4e00")) == 3  # bytes
    assert len(tokenizer.encode("春眠")) == 1
    assert tokenizer.decode(tokenizer.encode(rare)) == rare


def test_the_sample_decides_the_vocabulary_and_its_seed_is_fixed():
    texts = TEXT + [f"other words {number}\n" for number in range(2000)]

    assert fitted(texts, sample_bytes=9000).hash() == fitted(texts, sample_bytes=9000).hash()
    assert fitted(texts, sample_bytes=9000).state() != fitted(texts, sample_bytes=9001).state()


@algorithms
def test_another_process_learns_the_same_and_says_nothing(algorithm):
    program = f"""
from pydoc_data.topics import topics
from lmexp.tokenizers import SentencePiece
tokenizer = SentencePiece({algorithm!r}, 300, 10**6)
tokenizer.fit(lambda: [line + "\\n" for line in topics["import"].split("\\n")])
print(tokenizer.hash(), end="")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout == fitted(TEXT, algorithm).hash()
    assert done.stderr == ""


def test_draw_takes_everything_that_fits_in_order():
    assert draw(TEXT, sum(len(text.encode()) for text in TEXT)) == TEXT


def test_draw_is_a_uniform_sample():
    texts = [f"{number:03}\n" for number in range(1000)]

    sample = draw(texts, 400)

    assert len(sample) == 100
    assert sample == sorted(sample)
    quarters = Counter(int(text) // 250 for text in sample)
    assert all(12 <= quarters[quarter] <= 40 for quarter in range(4))  # 25, give or take 3 sigma


def test_draw_cuts_a_text_larger_than_the_sample_between_characters():
    assert draw(["é" * 100], 7) == ["é" * 3]
