import pickle
from types import SimpleNamespace

import numpy as np
import pytest

from lmexp.batch import IGNORE
from lmexp.collate import collate_pairs
from lmexp.packing import EmptyTextError
from lmexp.pair_store import PairFrame, write_pair_store
from lmexp.tokenizers import BOS_ID, EOS_ID, PAD_ID, SPECIALS, UNK_ID, Bytes, PairTokenizer

FRAME = PairFrame(EOS_ID, UNK_ID, max_length=6, drops_longer=True, keeps_texts=True)
FIRST = len(SPECIALS)  # id of byte 0


def pair(source, target, *references, tests=()):
    return SimpleNamespace(source=source, target=target, references=references, tests=tests)


def ids(text):
    return [FIRST + byte for byte in text.encode()]


@pytest.fixture
def write(tmp_path):
    def write(pairs, frame=FRAME):
        tokenizer = Bytes()
        pair_tokenizer = PairTokenizer(tokenizer, tokenizer)
        return write_pair_store(tmp_path / "store", lambda _: pairs, pair_tokenizer, frame)

    return write


def test_a_pair_is_stored_with_the_ends_of_both_sides(write):
    store = write([pair("ab", "c"), pair("", "de")])

    assert store.source.tolist() == [*ids("ab"), EOS_ID, EOS_ID]
    assert store.target.tolist() == [*ids("c"), EOS_ID, *ids("de"), EOS_ID]
    assert store.source_starts.tolist() == [0, 3]
    assert store.source_lengths.tolist() == [3, 1]
    assert store.target_lengths.tolist() == [2, 3]


def test_counts_are_of_the_targets(write):
    store = write([pair("aaa", "é"), pair("b", "c")])
    assert (store.num_pairs, store.num_bytes, store.num_chars, store.num_unk) == (2, 3, 2, 0)


def test_bytes_and_characters_are_of_what_is_scored(write):
    store = write([pair("a", "éfghij"), pair("b", "éf")], FRAME._replace(drops_longer=False))

    assert store.target.tolist()[:6] == [*ids("éfgh"), EOS_ID]  # five bytes and the end
    assert store.num_bytes == 5 + 3
    assert store.num_chars == 4 + 2


def test_longer_pairs_are_dropped_and_counted(write):
    store = write([pair("123456", "a"), pair("a", "12345"), pair("a", "123456")])

    assert store.num_pairs == 1
    assert store.counts["dropped"] == {"longer than 6 tokens": 2}


def test_longer_pairs_of_an_evaluation_are_cut_and_counted_but_their_texts_are_whole(write):
    store = write([pair("1234567", "a")], FRAME._replace(drops_longer=False))

    assert store.source.tolist() == [*ids("12345"), EOS_ID]
    assert store.counts["dropped"] == {"cut at 6 tokens": 1}
    assert store.texts() == [["1234567", "a"]]


def test_texts_come_back_as_they_were(write):
    store = write([pair("\u2028a", "b\x85", "c"), pair("", "")])
    assert store.texts() == [["\u2028a", "b\x85", "c"], ["", ""]]


def test_tests_of_a_program_come_back_as_they_were(write):
    store = write([pair("a", "b", tests=("x = 1\r\n", "assert x")), pair("a", "b")])
    assert store.tests() == [["x = 1\r\n", "assert x"], []]


def test_no_pair_is_an_error(write):
    with pytest.raises(EmptyTextError, match="nothing was read"):
        write([])


def test_a_store_is_pickled_as_its_path(write):
    store = write([pair("ab", "c")])
    assert pickle.loads(pickle.dumps(store)).source.tolist() == store.source.tolist()


def test_a_store_with_a_file_cut_short_is_refused(write, tmp_path):
    store = write([pair("ab", "c")])
    with (tmp_path / "store" / "source.bin").open("ab") as file:
        file.truncate(4)

    with pytest.raises(ValueError, match=r"source.bin has 4 bytes instead of 6: remove the folder"):
        type(store)(store.folder)


def test_the_decoder_reads_the_target_from_bos_and_predicts_it_to_eos(write):
    store = write([pair("ab", "c"), pair("d", "efg")])

    batch = collate_pairs(store, np.array([1, 0]))

    a, b, c, d, e, f, g = ids("abcdefg")
    assert batch.source_ids.tolist() == [[d, EOS_ID, PAD_ID], [a, b, EOS_ID]]
    assert batch.source_mask.tolist() == [[True, True, False], [True, True, True]]
    assert batch.target_ids.tolist() == [[BOS_ID, e, f, g], [BOS_ID, c, PAD_ID, PAD_ID]]
    assert batch.labels.tolist() == [[e, f, g, EOS_ID], [c, EOS_ID, IGNORE, IGNORE]]


def test_no_row_gives_one_that_predicts_nothing(write):
    batch = collate_pairs(write([pair("ab", "c")]), np.empty(0, dtype=np.int64))

    assert batch.labels.tolist() == [[IGNORE]]
    assert all(part.shape == (1, 1) for part in batch)


def test_the_tag_of_a_source_stays_when_it_is_cut(tmp_path):
    tokenizer = Bytes(extra=["<2de>"])
    frame = FRAME._replace(drops_longer=False)

    store = write_pair_store(
        tmp_path / "store",
        lambda _: [pair("123456", "a")],
        PairTokenizer(tokenizer, tokenizer, "de"),
        frame,
    )

    assert store.source.tolist() == [FIRST, *(own + 1 for own in ids("1234")), EOS_ID]
    assert store.counts["dropped"] == {"cut at 6 tokens": 1}
