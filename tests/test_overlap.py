from typing import NamedTuple

import numpy as np
import pytest

from lmexp import overlap as module
from lmexp.overlap import Overlap, cached_overlap, overlap
from lmexp.packing import Frame, write_store


class Line(NamedTuple):
    text: str
    document: int


class Lengths:
    vocab_size = 100

    def encode_many(self, texts):
        return [np.array([10 + len(text)]) for text in texts]


@pytest.fixture
def store(tmp_path):
    def make(name, documents):
        lines = [Line(text, d) for d, texts in enumerate(documents) for text in texts]
        return write_store(tmp_path / name, lambda _: lines, Lengths(), Frame(2, 3, 1))

    return make


def test_lines_and_documents_of_a_split_that_occur_in_train_are_counted(store, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK_HASHES", 2)
    train = store("train", [["a\n", "b\n"], ["c\n"], ["\n"], ["d\n", "e\n"]])
    val = store("val", [["a\n", "a\n", "x\n"], ["d\n", "e\n"], ["y\n"], ["c\n"]])

    assert overlap(val, train) == Overlap(lines=5, documents=2)


def test_different_texts_do_not_overlap(store):
    assert overlap(store("val", [["a"]]), store("train", [["b"]])) == Overlap(0, 0)


def test_the_overlap_is_computed_once(store, monkeypatch):
    val, train = store("val", [["a"]]), store("train", [["a"]])
    first = cached_overlap(val, train)
    monkeypatch.delattr(module, "overlap")

    assert cached_overlap(val, train) == first == Overlap(1, 1)
