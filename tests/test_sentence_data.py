"""The data module of sentences: what is read, what is dropped, what is counted and refused."""

import numpy as np
import pytest
import torch

from lmexp.batch import IGNORE
from lmexp.cleaning import Cleaning
from lmexp.corpora.text import TextFiles
from lmexp.sentence_data import EvalSentences, SentenceDataModule
from lmexp.tokenizers import BOS_ID, EOS_ID, PAD_ID, UNK_ID, Words

CLEANING = Cleaning(
    unescape_html=False,
    strip_control=False,
    nfc=False,
    drop_blank=False,
    max_bytes=None,
    drop_duplicates=False,
)


def write(folder, lengths):
    """Documents of one line of so many words each."""
    draw = np.random.default_rng(0)
    lines = [" ".join(f"w{number}" for number in draw.integers(30, size=size)) for size in lengths]
    file = folder / "text.txt"
    file.write_text("\n".join(lines) + "\n")
    return file


def module(file, document="line", documents=None, **changes):
    corpus = TextFiles(
        files=str(file),
        val_files=str(file),
        test_files=None,
        val_fraction=0.0,
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
        "word_dropout": 0.0,
        "num_workers": 0,
        "root": None,
        "seed": 0,
        "micro_batches": 2,
        "evaluation": EvalSentences(
            batch_size=5, importance_samples=2, information_sentences=10, sample_sentences=1
        ),
    } | changes
    return SentenceDataModule(corpus, Words(vocab_size=None, min_count=1), CLEANING, **options)


LENGTHS = [*range(1, 20), *range(5, 15)] * 2


def prepared(folder, lengths=LENGTHS, **changes):
    data = module(write(folder, lengths), **changes)
    data.prepare(splits=("train", "val"))
    return data


def epoch_of(data, epoch=0):
    """The micro-batches of an epoch, flat."""
    data.start_at((epoch, 0))
    steps = iter(data.train_dataloader())
    return [batch for _ in range(data.steps_per_epoch) for batch in next(steps).micro_batches]


def rows(batch, name="input_ids"):
    return [
        own[mask].tolist()
        for own, mask in zip(getattr(batch, name), batch.attention_mask, strict=True)
    ]


def test_the_encoder_reads_what_is_predicted_and_the_decoder_the_same_one_later(tmp_path):
    data = prepared(tmp_path)
    lines = (tmp_path / "text.txt").read_text().splitlines()

    for batch in data.val_dataloader():
        for own, read, number in zip(
            rows(batch), rows(batch, "target_ids"), batch.numbers.tolist(), strict=True
        ):
            assert data.tokenizer.decode(own[:-1]) == lines[number]  # no line break at its end
            assert own[-1] == EOS_ID
            assert read == [BOS_ID, *own[:-1]]
        assert torch.equal(
            batch.labels[batch.attention_mask], batch.input_ids[batch.attention_mask]
        )
        for part, fill in ((batch.input_ids, PAD_ID), (batch.target_ids, PAD_ID)):
            assert (part[~batch.attention_mask] == fill).all()
        assert (batch.labels[~batch.attention_mask] == IGNORE).all()


def test_every_sentence_is_read_once_an_epoch(tmp_path):
    data = prepared(tmp_path)

    read = [tuple(own) for batch in epoch_of(data) for own in rows(batch) if own != [PAD_ID]]
    scored = [tuple(own) for batch in data.val_dataloader() for own in rows(batch)]

    assert sorted(read) == sorted(scored)
    assert len(read) == len(LENGTHS)


def test_words_are_dropped_at_the_rate_anew_each_epoch_and_again_on_resume(tmp_path):
    data = prepared(tmp_path, lengths=LENGTHS * 20, word_dropout=0.3)

    first, again, later = epoch_of(data), epoch_of(data), epoch_of(data, 1)

    for mine, its in zip(first, again, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(mine, its, strict=True))
    assert sorted(map(tuple, (row for b in first for row in rows(b, "target_ids")))) != sorted(
        map(tuple, (row for b in later for row in rows(b, "target_ids")))
    )
    drops = sum(int((batch.target_ids == UNK_ID).sum()) for batch in first)
    words = 20 * sum(LENGTHS)
    assert abs(drops - 0.3 * words) < 3 * (words * 0.3 * 0.7) ** 0.5
    assert all((batch.target_ids[batch.attention_mask][0] == BOS_ID) for batch in first)
    assert not any((batch.input_ids == UNK_ID).any() for batch in first)
    assert not any((batch.target_ids == UNK_ID).any() for batch in data.val_dataloader())


def test_what_is_dropped_of_a_sentence_does_not_depend_on_how_a_step_is_cut(tmp_path):
    found = []
    for parts in (1, 4):
        batches = epoch_of(prepared(tmp_path, word_dropout=0.3, micro_batches=parts))
        found.append(sorted(own for batch in batches for own in rows(batch, "target_ids")))

    assert found[0] == [own for own in found[1] if own != [PAD_ID]]


def test_long_sentences_are_cut_evenly_and_counted_and_empty_ones_left_out(tmp_path):
    file = write(tmp_path, [19, 20, 45, 3])
    file.write_text("\n\n" + file.read_text())
    data = module(file)
    data.prepare(splits=("train", "val"))

    lengths = sorted(len(own) - 1 for batch in data.val_dataloader() for own in rows(batch))

    assert lengths == [3, 10, 10, 15, 15, 15, 19]
    assert data.facts()["val"]["dropped"] == {
        "documents without a token": 2,
        "documents longer than data.max_length, cut": 2,
    }


def test_a_rank_with_nothing_left_gets_a_row_without_a_label(tmp_path):
    batches = epoch_of(prepared(tmp_path, lengths=[3] * 9, micro_batches=2))

    (nothing,) = [batch for batch in batches if not (batch.labels != IGNORE).any()]
    assert nothing.input_ids.shape == (1, 1)
    assert all(len(part) == 1 for part in nothing)


def test_a_continuous_text_is_read_by_the_documents_that_its_file_names(tmp_path):
    data = prepared(tmp_path, document="split", documents="line")

    assert data.reader("train").num_sequences == len(LENGTHS)


def test_a_continuous_text_without_documents_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"write data\.corpus\.document=line, blank_line"):
        module(write(tmp_path, [3]), document="split")


def test_a_split_of_empty_lines_is_refused(tmp_path):
    file = tmp_path / "text.txt"
    file.write_text("\n\n\n")
    data = module(file)

    with pytest.raises(ValueError, match="the train split has no sentence"):
        data.prepare(splits=("train", "val"))
