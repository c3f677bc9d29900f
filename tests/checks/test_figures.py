"""What checks count and say, on batches and texts that are made by hand."""

from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import torch

from lmexp.batch import IGNORE, SegmentBatch
from lmexp.checks import text_checks
from lmexp.checks.alignment import label_alignment
from lmexp.checks.text_checks import round_trip
from lmexp.tokenizers import MASK_ID, UNK_ID


class Halves:
    """Two tokens a text; as many of them are unknown as it has question marks."""

    is_lossless = False

    def encode_many(self, texts):
        return [np.array(([UNK_ID] * text.count("?") + [9, 9])[:2]) for text in texts]

    def decode(self, ids):
        return "<unk>"


def split(monkeypatch, **texts):
    """What the round trip says of the texts of some splits."""

    def of_split(_, name) -> Iterator[tuple[Halves, str]]:
        return ((Halves(), text) for text in texts[name])

    monkeypatch.setattr(text_checks, "texts", of_split)
    corpus = SimpleNamespace(splits=tuple(texts))
    return round_trip(SimpleNamespace(data=SimpleNamespace(corpus=corpus), start=None))


def test_unknown_tokens_of_the_training_split_count_where_there_is_another(monkeypatch):
    found = split(monkeypatch, train=["?", "?", "a"], val=["a", "a"])

    assert found.verdict == "failed"
    assert found.says.startswith("2 of 6 tokens of the training split are unknown, 0 of 4 of the v")
    assert found.figures == {"train_unknown": [2, 6], "val_unknown": [0, 4]}


def test_unknown_tokens_of_another_split_count_too(monkeypatch):
    assert split(monkeypatch, train=["a"] * 8, val=["??", "a"]).verdict == "failed"
    assert split(monkeypatch, train=["?", "a"], val=["?", "a"]).verdict == "passed"  # 25% each


def test_tokens_that_were_replaced_at_random_are_labelled_too():
    """Of 100 tokens 40 are labelled: 32 hidden, 4 shown, 4 replaced."""
    ids = torch.arange(10, 110)[None]
    labels = ids.clone()
    labels[:, 40:] = IGNORE
    ids[:, :32], ids[:, 32:36] = MASK_ID, 5
    real, nothing = torch.ones(1, 100, dtype=torch.bool), torch.zeros(1, 100, dtype=torch.int64)
    batch = SegmentBatch(ids, real, nothing, labels, torch.tensor([IGNORE]))
    subject = SimpleNamespace(
        kind="segments",
        is_readable=True,
        steps=[SimpleNamespace(micro_batches=[batch])],
        data=SimpleNamespace(masking=SimpleNamespace(rate=0.15)),
    )

    found = label_alignment(subject)

    assert found.says == "40% of the tokens are labelled, and data.mask_rate=0.15."
