import errno
import os
import pickle
from collections import Counter
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmexp import packing
from lmexp.packing import EmptyTextError, Frame, TokenStore, write_store

BOS, EOS, UNK = 2, 3, 1
DOCUMENTS = Frame(BOS, EOS, UNK)
STREAM = Frame(BOS, None, UNK)


class Line(NamedTuple):
    text: str
    document: int


class Bytes:
    """Bytes after seven reserved ids; '?' is unknown."""

    vocab_size = 263

    def encode_many(self, texts):
        ids = [np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int64) + 7 for text in texts]
        return [np.where(row == ord("?") + 7, UNK, row) for row in ids]


class Wide(Bytes):
    vocab_size = 65_537

    def encode_many(self, texts):
        return [np.full(len(text), 65_536) for text in texts]


def write(folder, lines, frame=DOCUMENTS, tokenizer=None, dropped=()):
    def pieces(drops):
        yield from lines
        drops.update(dropped)

    return write_store(folder / "store", pieces, tokenizer or Bytes(), frame)


def ids(text):
    return [byte + 7 for byte in text.encode()]


def test_documents_stand_between_bos_and_eos(tmp_path):
    lines = [Line("a\n", 0), Line("b", 0), Line("c", 4)]

    store = write(tmp_path, lines)

    assert store.tokens.tolist() == [BOS, *ids("a\nb"), EOS, BOS, *ids("c"), EOS]
    assert store.document_starts.tolist() == [0, 5]
    assert store.num_predicted == 6


def test_a_continuous_text_has_a_bos_and_no_eos(tmp_path):
    store = write(tmp_path, [Line("a\n", 0), Line("b", 0)], STREAM)

    assert store.tokens.tolist() == [BOS, *ids("a\nb")]


def test_totals_are_of_the_text(tmp_path):
    lines = [Line("é?\n", 0), Line("\n", 0), Line("東", 1)]

    store = write(tmp_path, lines, dropped=["blank", "blank", "long"])

    assert (store.num_bytes, store.num_chars, store.num_unk) == (4 + 1 + 3, 3 + 1 + 1, 1)
    assert store.document_bytes.tolist() == [5, 3]
    assert store.document_chars.tolist() == [4, 1]
    assert store.counts["lines"] == 3
    assert store.counts["dropped"] == {"blank": 2, "long": 1}


def test_where_lines_begin_is_kept_where_it_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "_BLOCK_CHARS", 3)  # more than one block
    lines = [Line("\n", 0), Line("é?\n", 0), Line("\n", 0), Line("b\n", 0), Line("c", 4)]

    kept = write(tmp_path / "kept", lines, DOCUMENTS._replace(keeps_lines=True))
    plain = write(tmp_path / "plain", lines)

    # bos \n é ? \n \n b \n eos bos c eos, é being two bytes
    assert kept.line_starts.tolist() == [2, 7, 11]
    assert kept.line_bytes.tolist() == [1, 6, 8]
    assert len(kept.line_hashes) == 3
    assert len(plain.line_starts) == len(plain.line_bytes) == 0


@given(lines=st.lists(st.tuples(st.text(max_size=5), st.booleans()), min_size=1, max_size=20))
def test_blocks_change_nothing(lines, tmp_path_factory):
    documents = np.cumsum([begins for _, begins in lines]).tolist()
    lines = [Line("x" + text, d) for (text, _), d in zip(lines, documents, strict=True)]
    expected = []
    for document in dict.fromkeys(documents):
        text = "".join(line.text for line in lines if line.document == document)
        expected += [BOS, *(UNK if i == ord("?") + 7 else i for i in ids(text)), EOS]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "_BLOCK_CHARS", 3)
        store = write(tmp_path_factory.mktemp("tokens"), lines)

    assert store.tokens.tolist() == expected
    assert [expected[start] for start in store.document_starts] == [BOS] * store.num_documents


def test_tokens_take_two_bytes_up_to_65536_types_and_four_above(tmp_path):
    narrow, wide = write(tmp_path / "a", [Line("a", 0)]), tmp_path / "b"

    assert narrow.tokens.dtype == np.uint16
    assert write(wide, [Line("a", 0)], tokenizer=Wide()).tokens.tolist() == [BOS, 65_536, EOS]


def test_a_store_is_pickled_as_its_path(tmp_path):
    store = write(tmp_path, [Line("a" * 100_000, 0)])

    pickled = pickle.dumps(store)

    assert len(pickled) < 1000
    np.testing.assert_array_equal(pickle.loads(pickled).tokens, store.tokens)


@pytest.mark.parametrize("lines", [[], [Line("", 0)]])
def test_no_text_is_refused_with_the_counts(tmp_path, lines):
    with pytest.raises(EmptyTextError, match="dropped: 2 blank"):
        write(tmp_path, lines, dropped=["blank", "blank"])


def test_a_damaged_store_is_refused_with_the_remedy(tmp_path):
    store = write(tmp_path, [Line("abc", 0)])
    os.truncate(store.folder / "tokens.bin", 4)

    with pytest.raises(ValueError, match=r"has 4 bytes instead of 10: remove the folder"):
        TokenStore(store.folder)


def test_a_full_disk_is_one_line_with_the_remedy(tmp_path):
    def pieces(_):
        yield Line("a", 0)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match=r"No space left on device while writing .* LMEXP_CACHE"):
        write_store(tmp_path / "store", pieces, Bytes(), DOCUMENTS)


def test_an_error_of_the_corpus_stays_what_it_is(tmp_path):
    def pieces(_):
        raise FileNotFoundError("no corpus here")
        yield

    with pytest.raises(FileNotFoundError, match=r"^no corpus here$"):
        write_store(tmp_path / "store", pieces, Bytes(), DOCUMENTS)


def test_lines_are_hashed_but_blank_ones(tmp_path):
    store = write(tmp_path, [Line("a\n", 0), Line(" \n", 0), Line("a", 0), Line("b\n", 0)])

    first, same, other = store.line_hashes

    assert first == same != other


def test_drops_are_counted_by_the_reader(tmp_path):
    seen = []

    def pieces(drops):
        seen.append(drops)
        yield Line("a", 0)

    write_store(tmp_path / "store", pieces, Bytes(), DOCUMENTS)

    assert seen == [Counter()]
