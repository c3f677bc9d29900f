"""The data module of segments: what is read, by whom, and what is refused."""

import numpy as np
import pytest
import torch

from lmexp.batch import IGNORE
from lmexp.cleaning import Cleaning
from lmexp.corpora.text import TextFiles
from lmexp.segment_data import EvalSegments, SegmentDataModule
from lmexp.tokenizers import BOS_ID, EOS_ID, MASK_ID, PAD_ID, SPECIALS, Words

CLEANING = Cleaning(
    unescape_html=False,
    strip_control=False,
    nfc=False,
    drop_blank=False,
    max_bytes=None,
    drop_duplicates=False,
)


def write(folder, documents=60, seed=0):
    """Documents of one line of 1 to 40 words each."""
    draw = np.random.default_rng(seed)
    lines = [
        " ".join(f"w{number}" for number in draw.integers(30, size=draw.integers(1, 41)))
        for _ in range(documents)
    ]
    file = folder / "text.txt"
    file.write_text("\n".join(lines) + "\n")
    return file


def module(file, document="line", documents=None, **changes):
    corpus = TextFiles(
        files=str(file),
        val_files=None,
        test_files=None,
        val_fraction=0.2,
        test_fraction=0.0,
        cut="tail",
        document=document,
        text_field="text",
        on_invalid="error",
        documents=documents,
    )
    options = {
        "max_length": 20,
        "batch_size": 8,
        "batch_tokens": None,
        "mask_rate": 0.15,
        "whole_words": False,
        "pairs": "next_sentence",
        "num_workers": 0,
        "root": None,
        "seed": 0,
        "micro_batches": 2,
        "evaluation": EvalSegments(batch_size=5, sample_sequences=2, pseudo_sequences=3),
    } | changes
    tokenizer = Words(vocab_size=None, min_count=1)
    return SegmentDataModule(corpus, tokenizer, CLEANING, **options)


def prepared(folder, **changes):
    data = module(write(folder), **changes)
    data.prepare(splits=("train", "val"))
    return data


def epoch_of(data, epoch=0):
    """The micro-batches of an epoch, flat."""
    data.start_at((epoch, 0))
    steps = iter(data.train_dataloader())
    return [batch for _ in range(data.steps_per_epoch) for batch in next(steps).micro_batches]


def restored(batch):
    """The rows as they were before tokens were hidden, without padding."""
    ids = torch.where(batch.labels == IGNORE, batch.input_ids, batch.labels)
    return [row[mask].tolist() for row, mask in zip(ids, batch.attention_mask, strict=True)]


@pytest.mark.parametrize("pairs", ["next_sentence", "sentence_order", None])
def test_rows_are_framed_and_segments_numbered(pairs, tmp_path):
    for batch in epoch_of(prepared(tmp_path, pairs=pairs)):
        for row, segments, own, belongs in zip(
            restored(batch), batch.segment_ids, batch.attention_mask, batch.belongs, strict=True
        ):
            if row == [PAD_ID]:  # a micro-batch of nothing
                continue
            assert len(row) <= 20
            assert row[0] == BOS_ID
            assert row[-1] == EOS_ID
            assert row.count(EOS_ID) == (1 if pairs is None else 2)
            first = row.index(EOS_ID) + 1
            assert segments[own].tolist() == [0] * first + [1] * (len(row) - first)
            assert (belongs == IGNORE) == (pairs is None)
        assert (batch.input_ids[~batch.attention_mask] == PAD_ID).all()
        assert (batch.labels[~batch.attention_mask] == IGNORE).all()


def test_special_tokens_are_never_hidden(tmp_path):
    for batch in epoch_of(prepared(tmp_path)):
        assert (batch.labels[batch.labels != IGNORE] >= len(SPECIALS)).all()
        assert set(batch.input_ids[batch.labels == IGNORE].tolist()).isdisjoint({MASK_ID})


def test_every_token_of_a_document_is_read_once_an_epoch_without_pairs(tmp_path):
    data = prepared(tmp_path, pairs=None)
    store = data.store("train")
    words = np.asarray(store.tokens)[np.asarray(store.tokens) >= len(SPECIALS)]

    read = [
        token
        for batch in epoch_of(data)
        for row in restored(batch)
        for token in row
        if token >= len(SPECIALS)
    ]

    assert sorted(read) == sorted(words.tolist())


def test_what_is_hidden_is_drawn_anew_each_epoch_and_again_on_resume(tmp_path):
    data = prepared(tmp_path)

    first, again, later = epoch_of(data), epoch_of(data), epoch_of(data, 1)

    for mine, its in zip(first, again, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(mine, its, strict=True))
    assert sum(int((batch.labels != IGNORE).sum()) for batch in first) == pytest.approx(
        sum(int((batch.labels != IGNORE).sum()) for batch in later), rel=0.02
    )
    assert [restored(batch) for batch in first] != [restored(batch) for batch in later]


def test_a_step_reads_the_same_however_it_is_cut(tmp_path):
    parts = {count: prepared(tmp_path, micro_batches=count) for count in (1, 4)}

    rows = {
        count: sorted(row for batch in epoch_of(data) for row in restored(batch))
        for count, data in parts.items()
    }

    assert rows[1] == rows[4]


def test_the_evaluation_hides_the_same_whatever_the_seed(tmp_path):
    batches = [list(prepared(tmp_path, seed=seed).val_dataloader()) for seed in (0, 7)]

    for mine, its in zip(*batches, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(mine, its, strict=True))
    numbers = sum(len(batch.input_ids) for batch in batches[0])
    assert numbers == prepared(tmp_path).reader("val").num_sequences


def test_a_continuous_text_is_read_by_the_documents_that_its_file_names(tmp_path):
    data = prepared(tmp_path, document="split", documents="line")

    assert data.store("train").num_documents > 1


def test_one_document_has_no_other_to_take_a_segment_from(tmp_path):
    data = module(write(tmp_path), document="file")

    with pytest.raises(ValueError, match=r"text is one: write data\.corpus\.document=line or"):
        data.prepare(splits=("train", "val"))


def test_a_continuous_text_without_documents_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"write data\.corpus\.document=line, blank_line"):
        module(write(tmp_path), document="split")


def test_documents_too_short_for_two_segments_are_counted_as_left_out(tmp_path):
    file = write(tmp_path)
    file.write_text("\n\n\n" + file.read_text())
    data = module(file)
    data.prepare(splits=("train",))
    data.reader("train")

    assert data.facts()["train"]["dropped"] == {"documents of a token or none": 3}
