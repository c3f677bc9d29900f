from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmexp.decoding.text_stream import TextStream
from lmexp.tokenizers import Bytes, Chars, SentencePiece, Words


def utf8(ids):
    return bytes(ids).decode("utf-8", errors="replace")


def utf8_by_byte(ids):
    """One replacement for every byte that is no part of a character, as SentencePiece decodes."""
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if "\udc80" <= part <= "\udcff" else part
        for part in bytes(ids).decode("utf-8", errors="surrogateescape")
    )


def words(ids):
    """Words joined by spaces: what a token adds depends on its left neighbour."""
    return " ".join(f"w{token_id}" for token_id in ids)


def streamed(ids, decode=utf8, prompt=(), stop=()):
    stream = TextStream(decode, prompt, stop)
    return [*(stream.push(token_id) for token_id in ids), stream.finish()]


@pytest.mark.parametrize("decode", [utf8, utf8_by_byte])
def test_the_bytes_of_a_character_are_held_back_until_it_is_complete(decode):
    pieces = streamed("aé中🙂".encode(), decode)

    assert pieces == ["a", "", "é", "", "", "中", "", "", "", "🙂", ""]


def test_bytes_that_never_become_a_character_come_out_in_the_end():
    assert "".join(streamed(b"a\xf0\x9f")) == "a\N{REPLACEMENT CHARACTER}"


@given(st.binary(max_size=120))
def test_the_joined_pieces_are_the_text_of_all_bytes_at_once(ids):
    assert "".join(streamed(ids)) == utf8(ids)


@given(st.text(max_size=80), st.text(max_size=20))
def test_after_a_prompt_the_pieces_are_the_text_after_it(text, prompt):
    ids, prompt_ids = text.encode(), prompt.encode()

    assert "".join(streamed(ids, prompt=prompt_ids)) == text


def test_a_space_between_words_is_kept_after_a_prompt_and_over_a_long_text():
    ids = list(range(200))

    pieces = streamed(ids[2:], words, prompt=ids[:2])

    assert "w0 w1" + "".join(pieces) == words(ids)


def test_a_token_costs_the_same_at_any_length():
    decoded = []

    def counting(ids):
        decoded.append(len(ids))
        return words(ids)

    streamed(range(500), counting)

    assert max(decoded) < 40


def test_text_ends_before_the_stop_string_and_nothing_of_it_is_shown_early():
    pieces = streamed(b"one\n\ntwo", stop=("\n\n",))

    assert pieces == ["o", "n", "e", "", "", "", "", "", ""]


def test_a_beginning_of_a_stop_string_comes_out_once_it_is_none():
    assert streamed(b"a\nb\n", stop=("\n\n",)) == ["a", "", "\nb", "", "\n"]


def test_the_first_of_several_stop_strings_counts():
    assert "".join(streamed(b"abcdef", stop=("de", "cd"))) == "ab"


@given(st.text("ab", max_size=30), st.lists(st.text("ab", min_size=1, max_size=4), max_size=3))
def test_streaming_cuts_where_a_search_in_the_whole_text_does(text, stop):
    ends = [at for at in (text.find(string) for string in stop) if at >= 0]
    first = min((text.find(s) + len(s) for s in stop if s in text), default=None)
    seen = text if first is None else text[:first]  # a stream stops at the first completed string
    expected = text
    if first is not None:
        expected = seen[: min(at for at in (seen.find(s) for s in stop) if at >= 0)]

    assert "".join(streamed(text.encode(), stop=stop)) == expected
    assert bool(ends) == (first is not None)


TEXT = "The cat sat on the mat.\nÉté: 中文, and a 🙂 on it.\n\nThe end\n" * 3


@pytest.mark.parametrize(
    "tokenizer",
    [
        Bytes(),
        Chars(vocab_size=None, min_count=1, byte_fallback=True),
        Words(vocab_size=None, min_count=1),
        SentencePiece(algorithm="bpe", vocab_size=300, sample_bytes=10_000),
        SentencePiece(algorithm="unigram", vocab_size=300, sample_bytes=10_000),
    ],
    ids=lambda tokenizer: getattr(tokenizer, "algorithm", type(tokenizer).__name__),
)
@pytest.mark.parametrize("prompt_length", [0, 1, 7, 20])
def test_with_every_tokenizer_prompt_and_pieces_are_the_decoded_whole(tokenizer, prompt_length):
    tokenizer.fit(lambda: [*TEXT.splitlines(keepends=True), Path(__file__).read_text("utf-8")])
    ids = tokenizer.encode(TEXT + "unseen: ü Ω 🎈 words\n")
    prompt = ids[:prompt_length]

    pieces = streamed(ids[prompt_length:], tokenizer.decode, prompt)

    assert tokenizer.decode(prompt) + "".join(pieces) == tokenizer.decode(ids)
