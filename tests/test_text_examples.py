"""Documents and lines as examples of a language model's test, whatever its windows are."""

from typing import NamedTuple

import numpy as np

from lmexp.batch_plan import ScoringPlan
from lmexp.packing import Frame, write_store
from lmexp.text_examples import FEWEST_DOCUMENTS, text_examples

BOS, EOS, UNK = 2, 3, 1


class Line(NamedTuple):
    text: str
    document: int


class Bytes:
    """Bytes after seven reserved ids."""

    vocab_size = 263

    def encode_many(self, texts):
        return [np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int64) + 7 for text in texts]


def examples(folder, lines, *, context=4, stride=3, batch_size=2, ranks=1):
    """Of each rank."""
    frame = Frame(BOS, EOS, UNK, keeps_lines=True)
    store = write_store(folder / "store", lambda _: lines, Bytes(), frame)
    cut = store.document_starts, store.num_tokens, context, stride
    plan = ScoringPlan(*cut, batch_size=batch_size, carry=False)
    counts = [len(plan.batches(rank, ranks)) for rank in range(ranks)]
    found = [text_examples(store, plan, (rank, ranks)) for rank in range(ranks)]
    owners = [
        np.concatenate([own.of_batch(n) for n in range(count)])
        for own, count in zip(found, counts, strict=True)
    ]
    return found[0], np.concatenate(owners)


def test_of_few_documents_each_line_is_an_example_with_the_blank_ones_after_it(tmp_path):
    lines = [Line("\n", 0), Line("ab\n", 0), Line("\n", 0), Line("c\n", 0), Line("d", 1)]

    found, owners = examples(tmp_path, lines)

    # predicted: \n a b \n \n of the first, c \n eos of the second, d eos of the third
    assert found.unit == "line"
    assert np.bincount(owners).tolist() == [5, 3, 2]
    assert found.known["bytes"].tolist() == [5, 2, 1]


def test_of_many_documents_each_is_an_example_on_any_number_of_ranks(tmp_path):
    sizes = [1 + n % 9 for n in range(FEWEST_DOCUMENTS)]
    lines = [Line("x" * size, number) for number, size in enumerate(sizes)]

    for ranks in (1, 3, 7):
        found, owners = examples(tmp_path / str(ranks), lines, ranks=ranks)
        assert found.unit == "document"
        assert np.bincount(owners).tolist() == [size + 1 for size in sizes]  # and the end
        assert found.known["bytes"].tolist() == sizes
