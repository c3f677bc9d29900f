"""What `label` says of a text is what `evaluate` counts; what is cut is said."""

import io
import json
from collections import Counter
from types import SimpleNamespace

import labelled_runs
import pytest
import torch

from lmexp.__main__ import main
from lmexp.batch import LabelBatch
from lmexp.label import labelled

SHARES = torch.tensor([[0.49997, 0.50003]])  # equal in four places


@pytest.mark.parametrize("multiple", [False, True])
def test_shares_that_are_shown_as_equal_are_none_to_the_decision(multiple):
    one = torch.ones(1, 1, dtype=torch.long)
    batch = LabelBatch(one, one.bool(), one, one[0])
    task = SimpleNamespace(
        device="cpu",
        multiple=multiple,
        network=lambda _: SHARES,
        probabilities=lambda scores: scores,
        vocab=SimpleNamespace(labels=("negative", "positive")),
    )
    data = SimpleNamespace(
        corpus=SimpleNamespace(has_pairs=False),
        batches_of=lambda texts, _: [(batch, texts)],
    )

    (record,) = labelled(task, data, ["so so"], Counter())

    assert record["probabilities"] == {"negative": 0.5, "positive": 0.5}
    assert record["labels"] == ["positive"] if multiple else record["label"] == "positive"


def test_a_text_that_is_too_long_is_said_to_be_cut(tmp_path, capsys):
    labelled_runs.write_labelled(tmp_path, (20, 5, 5))
    typed = labelled_runs.classifier(tmp_path, "trainer.max_steps=1", "tokenizer=word")
    assert main(["train", *typed, f"hydra.run.dir={tmp_path / 'run'}"]) == 0

    assert main(["label", str(tmp_path / "run"), "--text", "fine " * 99, "--text", "poor"]) == 0

    assert "1 texts cut at 24 tokens" in capsys.readouterr().err


def test_a_byte_order_mark_is_no_word(tmp_path, capfdbinary, monkeypatch):
    labelled_runs.write_tagged(tmp_path, (20, 5, 5))
    typed = labelled_runs.tagger(tmp_path, "trainer.max_steps=1")
    assert main(["train", *typed, f"hydra.run.dir={tmp_path / 'run'}"]) == 0
    capfdbinary.readouterr()
    stdin = SimpleNamespace(buffer=io.BytesIO(b"\xef\xbb\xbfAnn went\r\n"))
    monkeypatch.setattr("sys.stdin", stdin)

    assert main(["label", str(tmp_path / "run")]) == 0

    assert json.loads(capfdbinary.readouterr().out)["words"] == ["Ann", "went"]


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("task.class_weights=3", "should be a mapping such as {name: value}"),
        ("task.entity_groups={a: 'ZZZ*'}", "a=ZZZ* fits none of the types of the training split"),
    ],
)
def test_what_does_not_fit_is_refused(option, told, tmp_path, capsys):
    is_of_tags = "entity" in option
    write = labelled_runs.write_tagged if is_of_tags else labelled_runs.write_labelled
    write(tmp_path, (20, 5, 5))
    make = labelled_runs.tagger if is_of_tags else labelled_runs.classifier

    assert main(["train", *make(tmp_path, option)]) == 2

    assert told in capsys.readouterr().err


def test_a_label_that_is_null_is_said_to_be(tmp_path, capsys):
    labelled_runs.write_labelled(tmp_path, (20, 5, 5))
    file = tmp_path / "train.jsonl"
    file.write_text('{"text": null, "label": "good"}\n' + file.read_text())

    assert main(["train", *labelled_runs.classifier(tmp_path)]) == 2

    assert "line 1: 'text' is null: give it a value" in capsys.readouterr().err
