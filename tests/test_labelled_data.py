"""The data modules of tags and of labels: what is read, how it is cut, who reads what."""

import itertools

import labelled_runs
import numpy as np
import pytest
import torch

from lmexp.batch import IGNORE
from lmexp.build import build_data
from lmexp.recipe import compose
from lmexp.targets import build


def prepared(kind: str, folder, *more: str):
    write = labelled_runs.write_tagged if kind == "tags" else labelled_runs.write_labelled
    if not list(folder.glob("train.*")):
        write(folder, (40, 10, 10))
    make = labelled_runs.tagger if kind == "tags" else labelled_runs.classifier
    recipe = compose(make(folder, *more))
    data = build_data(recipe, build(recipe["tokenizer"]))
    data.prepare()
    return data


def first_steps(data, count: int):
    return list(itertools.islice(iter(data.train_dataloader()), count))


@pytest.fixture(params=["tags", "labels"])
def kind(request):
    return request.param


def test_every_row_is_read_once_an_epoch(kind, tmp_path):
    data = prepared(kind, tmp_path, "data.batch_size=7")

    for epoch in range(2):
        steps = [data.plan.step(epoch, step) for step in range(data.steps_per_epoch)]
        rows = np.concatenate([part for step in steps for part in step])
        assert sorted(rows.tolist()) == list(range(len(data.reader("train").lengths)))


def test_every_thing_is_predicted_once_an_epoch(kind, tmp_path):
    data = prepared(kind, tmp_path, "data.batch_size=7", "trainer.micro_batches=2")
    data.micro_batches = 2

    steps = first_steps(data, data.steps_per_epoch)

    predicted = sum(
        int((batch.labels != IGNORE).sum()) for step in steps for batch in step.micro_batches
    )
    assert predicted == data.reader("train").num_labels
    assert data.tokens_per_step == round(predicted / data.steps_per_epoch)


def test_a_step_is_a_function_of_its_place(kind, tmp_path):
    data = prepared(kind, tmp_path, "data.batch_size=7")
    whole = first_steps(data, data.steps_per_epoch + 2)
    data.start_at((1, 1))

    (later,) = first_steps(data, 1)

    same = whole[data.steps_per_epoch + 1]
    assert (later.epoch, later.step) == (same.epoch, same.step) == (1, 1)
    for ours, theirs in zip(later.micro_batches, same.micro_batches, strict=True):
        assert ours.input_ids.equal(theirs.input_ids)
        assert ours.labels.equal(theirs.labels)


def test_an_evaluation_reads_whole_examples_once(kind, tmp_path):
    data = prepared(kind, tmp_path, "eval.batch_size=3")

    batches = list(data.val_dataloader())

    count = sum(int((batch.labels != IGNORE).sum()) for batch in batches)
    assert count == data.reader("val").num_labels
    if kind == "tags":
        of_batches = [set(batch.sentences.tolist()) for batch in batches]
        assert sum(map(len, of_batches)) == len(set.union(*of_batches)) == 10


def test_words_read_back_are_those_of_the_file(tmp_path):
    data = prepared("tags", tmp_path)
    (words, *_), batch = data.first("train", 1)
    tokenizer = data.tokenizer.text

    first_line = (tmp_path / "train.txt").read_text().split("\n\n")[0].splitlines()
    assert words == [line.split(" ")[0] for line in first_line]
    tags = [data.tokenizer.labels[tag] for tag in batch.labels[batch.labels != IGNORE].tolist()]
    assert tags == [line.split(" ")[1] for line in first_line]
    of_words = [tokenizer.encode_many([word])[0].tolist() for word in words]
    firsts = batch.input_ids.gather(1, batch.firsts)[batch.labels != IGNORE]
    assert firsts.tolist() == [ids[0] for ids in of_words]


def test_labels_of_val_that_train_lacks_come_after_all_others(kind, tmp_path):
    said = []
    prepared(kind, tmp_path)
    if kind == "tags":
        (tmp_path / "val.txt").write_text("Kim B-AAA\nthe O\n")
    else:
        (tmp_path / "val.jsonl").write_text('{"text": "a", "label": "AAA"}\n')
    data = prepared(kind, tmp_path)
    data.prepare(announce=said.append)

    known = data.vocab.labels
    assert data.store("val").counts["labels"] == [*known, "B-AAA" if kind == "tags" else "AAA"]
    batch = next(iter(data.val_dataloader()))
    assert batch.labels.max() == len(known)
    assert data.facts()["val"]["unseen"] == {data.store("val").counts["labels"][-1]: 1}
    assert any("labels of the val split that the training split lacks" in text for text in said)


def test_batches_of_unlabelled_texts_cover_every_word(tmp_path):
    data = prepared("tags", tmp_path, "eval.batch_size=2")
    sentences = [["the"] * 25, ["Ann"], ["a", "b"] * 30]

    counts = {0: 0, 1: 0, 2: 0}
    for batch in data.batches_of(sentences):
        for number, row in zip(batch.sentences.tolist(), batch.labels, strict=True):
            counts[number] += int((row != IGNORE).sum())
        assert batch.attention_mask.sum(dim=1).max() <= data.max_length

    assert counts == {0: 25, 1: 1, 2: 60}


def test_ranks_share_the_micro_batches_of_a_step(kind, tmp_path, monkeypatch):
    data = prepared(kind, tmp_path, "data.batch_size=8", "trainer.micro_batches=4")
    (alone,) = first_steps(data, 1)
    shares = []
    for rank in range(2):
        monkeypatch.setattr("lmexp.buckets.current_rank", lambda rank=rank: (rank, 2))
        shares.append(first_steps(data, 1)[0].micro_batches)

    dealt = [batch for both in zip(*shares, strict=True) for batch in both]
    assert len(dealt) == len(alone.micro_batches) == 4
    for ours, theirs in zip(dealt, alone.micro_batches, strict=True):
        assert torch.equal(ours.input_ids, theirs.input_ids)


def test_the_cache_tells_one_label_from_several(tmp_path):
    labelled_runs.write_labelled(tmp_path, (40, 10, 10))
    for split in ("train", "val", "test"):
        file = tmp_path / f"{split}.jsonl"
        file.write_text(file.read_text().replace("bad", "good"))

    assert prepared("labels", tmp_path, "data.multiple=true").vocab.labels == ("good",)
    with pytest.raises(ValueError, match="the label good alone"):
        prepared("labels", tmp_path)
