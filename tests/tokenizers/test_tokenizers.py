import json
from pydoc_data.topics import topics

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmexp import tokenizers
from lmexp.tokenizers import Bytes, Chars, SentencePiece, Words

TEXT = [line + "\n" for line in topics["import"].split("\n")]
TRICKY = (
    "a\0b \u2581\u2581 \u2585pad <pad> <unk> <0x0A>\r\n"
    "\x85\u2028 \ufeff  \té e\u0301 漢 🎉\U0010ffff\n"
)
ANY_TEXT = st.text(st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from(TRICKY)))


def fitted(tokenizer):
    tokenizer.fit(lambda: TEXT)
    return tokenizer


def lossless():
    return [
        Bytes(),
        fitted(Chars(None, 1, byte_fallback=True)),
        fitted(SentencePiece("bpe", 300, 10**6)),
        fitted(SentencePiece("unigram", 300, 10**6, extra=["<user>"])),
    ]


LOSSLESS = lossless()
ALL = [*LOSSLESS, fitted(Chars(None, 1, byte_fallback=False)), fitted(Words(None, 1))]


def names(tokenizer):
    return f"{type(tokenizer).__name__}-{getattr(tokenizer, 'algorithm', '')}"


lossless_ones = pytest.mark.parametrize("tokenizer", LOSSLESS, ids=names)
all_of_them = pytest.mark.parametrize("tokenizer", ALL, ids=names)


@lossless_ones
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(text=ANY_TEXT)
def test_any_text_comes_back(tokenizer, text):
    assert tokenizer.is_lossless
    assert tokenizer.decode(tokenizer.encode(text)) == text


@lossless_ones
@pytest.mark.parametrize("text", ["", " ", "\n\n", TRICKY, TRICKY * 100])
def test_tricky_texts_come_back(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


@lossless_ones
def test_text_encodes_to_no_reserved_id(tokenizer):
    ids = tokenizer.encode("".join(tokenizer.reserved) + TRICKY)

    assert min(ids) >= len(tokenizer.reserved)


@lossless_ones
def test_a_line_of_a_megabyte_comes_back(tokenizer):
    line = "x y" * 350_000 + "\n"

    assert tokenizer.decode(tokenizer.encode(line)) == line


@all_of_them
def test_encode_many_is_encode_of_each(tokenizer):
    texts = [*TEXT[:50], "", TRICKY]

    together = tokenizer.encode_many(texts)

    assert all(isinstance(ids, np.ndarray) for ids in together)
    assert [ids.tolist() for ids in together] == [tokenizer.encode(text) for text in texts]


@all_of_them
def test_reserved_ids_stand_in_the_same_order(tokenizer):
    assert tokenizer.reserved[:7] == (
        "<pad>",
        "<unk>",
        "<bos>",
        "<eos>",
        "<mask>",
        "<cls>",
        "<sep>",
    )
    assert [tokenizers.PAD_ID, tokenizers.UNK_ID, tokenizers.BOS_ID, tokenizers.EOS_ID] == [
        0,
        1,
        2,
        3,
    ]
    assert [tokenizers.MASK_ID, tokenizers.CLS_ID, tokenizers.SEP_ID] == [4, 5, 6]
    assert tokenizer.vocab_size == len(tokenizer.reserved) + tokenizer.num_types


@all_of_them
def test_every_id_decodes_and_none_beyond(tokenizer):
    tokenizer.decode(range(tokenizer.vocab_size))

    for number in (tokenizer.vocab_size, -1):
        with pytest.raises(ValueError, match=f"id {number} lies outside the vocabulary"):
            tokenizer.decode([number])


@all_of_them
def test_reserved_ids_vanish_but_for_unk(tokenizer):
    ids = [0, 2, *tokenizer.encode("module"), 3, 4, 5, 6, *range(7, len(tokenizer.reserved))]

    assert tokenizer.decode(ids) == "module"
    assert tokenizer.decode([1]) == "<unk>"


@all_of_them
def test_a_saved_tokenizer_gives_the_same_ids(tokenizer, tmp_path):
    tokenizers.save(tokenizer, tmp_path / "tokenizer.json")

    loaded = tokenizers.load(tmp_path / "tokenizer.json")

    assert loaded.hash() == tokenizer.hash()
    assert loaded.encode(TRICKY) == tokenizer.encode(TRICKY)
    assert json.loads(json.dumps(loaded.state())) == tokenizer.state()
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.json"]


def test_all_hashes_differ():
    assert len({tokenizer.hash() for tokenizer in ALL}) == len(ALL)


@pytest.mark.parametrize(
    "unfitted",
    [Chars(None, 1, byte_fallback=True), Words(None, 1), SentencePiece("bpe", 300, 10**6)],
    ids=names,
)
def test_a_tokenizer_has_to_be_fitted_first(unfitted):
    for use in (lambda: unfitted.encode("a"), lambda: unfitted.decode([7]), unfitted.state):
        with pytest.raises(ValueError, match="has no types yet: fit it on the training split"):
            use()


@pytest.mark.parametrize("extra", [["<pad>"], ["<a>", "<a>"], [""]])
def test_extra_names_have_to_be_new(extra):
    with pytest.raises(ValueError, match="is empty, given twice or one of"):
        Bytes(extra)


def test_extra_shifts_the_ordinary_types():
    assert Bytes(["<a>", "<b>"]).encode("\0") == [9]


def test_bytes_are_the_bytes_of_utf8():
    assert Bytes().encode("Aé") == [7 + 0x41, 7 + 0xC3, 7 + 0xA9]
    assert Bytes().num_types == 256


def test_bytes_that_form_no_character_are_replaced():
    assert Bytes().decode([7 + 0xC3, 7 + 0x41]) == "\ufffdA"


def test_chars_are_numbered_by_code_point():
    chars = Chars(None, 1, byte_fallback=False)
    chars.fit(lambda: ["cab\n", "ba"])

    assert chars.encode("\nabcz") == [7, 8, 9, 10, tokenizers.UNK_ID]
    assert chars.num_types == 4
    assert not chars.is_lossless


def test_chars_keep_the_most_frequent():
    chars = Chars(256 + 2, 1, byte_fallback=True)
    chars.fit(lambda: ["aaabbc"])

    assert chars.encode("abc") == [7 + 256, 7 + 257, 7 + ord("c")]


def test_chars_below_the_minimum_count_are_spelled_in_bytes():
    chars = Chars(None, 2, byte_fallback=True)
    chars.fit(lambda: ["aab"])

    assert chars.num_types == 256 + 1
    assert chars.decode(chars.encode("ab")) == "ab"


def test_chars_refuse_a_vocabulary_that_the_text_does_not_have():
    with pytest.raises(ValueError, match=r"vocab_size=9 is more .* 3 characters .*vocab_size=3"):
        Chars(9, 1, byte_fallback=False).fit(lambda: ["abc"])


def test_chars_refuse_a_vocabulary_without_room_for_characters():
    with pytest.raises(ValueError, match="vocab_size=256 leaves no room for characters"):
        Chars(256, 1, byte_fallback=True)


def test_a_state_of_no_tokenizer_is_refused():
    with pytest.raises(ValueError, match="class 'Syllables': it has to be one of Bytes, Chars"):
        tokenizers.from_state({"class": "Syllables"})


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"class": "Words"}', '{"class": "Bytes", "x": 1}']
)
def test_a_file_that_holds_no_tokenizer_is_named(text, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(text)

    with pytest.raises(ValueError, match=r"tokenizer.json holds no tokenizer of lmexp"):
        tokenizers.load(path)
