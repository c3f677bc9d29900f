"""Stores of rows of numbers: what is written comes back."""

import json
import pickle

import pytest

from lmexp.packing import EmptyTextError
from lmexp.ragged import Row, write_ragged

ROWS = [
    Row({"ids": [7, 8, 9], "tags": [1]}, "a", ["a", "\u2028b\n", "\x85"]),
    Row({"ids": [], "tags": [2, 3]}, "b", None),
    Row({"ids": [70_000], "tags": []}, "a", {"c": 1}),
]
DTYPES = {"ids": "<u4", "tags": "u1"}


@pytest.fixture
def store(tmp_path):
    def rows(dropped):
        dropped["too long"] += 2
        return iter(ROWS)

    return write_ragged(tmp_path / "store", rows, DTYPES, lambda: {"labels": ["x"]})


def test_rows_come_back_as_they_were(store):
    for name in DTYPES:
        column = store.columns[name]
        assert [column.row(n).tolist() for n in range(3)] == [row.columns[name] for row in ROWS]
        assert column.lengths.tolist() == [len(row.columns[name]) for row in ROWS]
    assert store.kept() == [row.kept for row in ROWS]
    assert store.kept(1) == [ROWS[0].kept]


def test_what_is_known_of_a_store_is_counted(store):
    assert store.num_examples == 3
    assert store.counts["dropped"] == {"too long": 2}
    assert store.counts["labels"] == ["x"]
    assert store.nbytes == 4 * 4 + 3 + 2 * 3 * 8  # ids, tags, starts


def test_equal_texts_have_equal_hashes(store):
    assert store.hashes[0] == store.hashes[2] != store.hashes[1]


def test_a_pickled_store_is_its_path(store):
    again = pickle.loads(pickle.dumps(store))

    assert len(pickle.dumps(store)) < 500
    assert again.columns["ids"].row(0).tolist() == [7, 8, 9]


def test_without_an_example_what_was_dropped_is_said(tmp_path):
    def rows(dropped):
        dropped["empty text"] += 3
        return ()

    with pytest.raises(EmptyTextError, match="3 empty text"):
        write_ragged(tmp_path / "store", rows, DTYPES)


def test_a_store_that_was_cut_short_is_refused(store):
    path = store.folder / "ids.bin"
    path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises(ValueError, match=r"ids\.bin"):
        type(store)(store.folder)


def test_columns_of_nothing_are_columns(tmp_path):
    store = write_ragged(tmp_path / "store", lambda _: [Row({"ids": []}, "a")], {"ids": "<u4"})

    assert store.columns["ids"].row(0).tolist() == []
    assert json.loads((tmp_path / "store" / "store.json").read_text())["examples"] == 1
