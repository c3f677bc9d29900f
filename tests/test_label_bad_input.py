"""Odd tags and labels through the real command: one line with a remedy, or a counted remark."""

import json
from collections.abc import Sequence
from pathlib import Path

import labelled_runs
import pytest

from lmexp.recipe import main

OTHER_TAG = "Kim B-NEW\nsees O\n"
TAGS = {
    "a tag missing": ({"train.txt": "Ann B-PER\nsees\n"}, [], ("train.txt, line 2 has 1 column",)),
    "one tag alone": (
        {"train.txt": "a O\nb O\n\nc O\n"},
        [],
        ("the training split of", "has the label O alone", "nothing to learn", "give it"),
    ),
    "no sentence": ({"train.txt": "\n\n"}, [], ("train.txt", "give it")),
    "a CRF and smoothing": (
        {},
        ["task.crf=true", "task.label_smoothing=0.1"],
        ("task.crf=true", "task.label_smoothing=0.1", "write task.crf=false, or 0 for both"),
    ),
    "no room for a token": ({}, ["data.max_length=2"], ("data.max_length=2", "greater than 2")),
    "too much spelling": ({}, ["data.spelling=300"], ("data.spelling=300", "less than or equal")),
    "no batch size": ({}, ["data.batch_size=null"], ("data.batch_size=null", "exactly one")),
    "labels of texts": (
        {},
        ["task=text_labels"],
        ("task=text_labels", "labelled_tokens"),
    ),
    "text": ({}, ["task=causal_lm"], ("task=causal_lm", "labelled_tokens")),
    "a decoder": ({}, ["model.cell=bert"], ("model.cell=bert",)),
    "more parts than rows": ({}, ["trainer.micro_batches=99"], ("micro_batches=99", "at most 32")),
}
GOOD, BAD = {"text": "fine", "label": "good"}, {"text": "poor", "label": "bad"}


def records(*own) -> str:
    return "".join(json.dumps(record) + "\n" for record in own)


LABELS = {
    "a label missing": (
        {"train.jsonl": records(GOOD, {"text": "poor"})},
        [],
        ("train.jsonl, line 2 has no 'label'",),
    ),
    "an empty label": (
        {"train.jsonl": records(GOOD, BAD | {"label": ""})},
        [],
        ("train.jsonl", "label"),
    ),
    "one label alone": (
        {"train.jsonl": records(GOOD, GOOD)},
        [],
        ("the training split of", "has the label good alone", "nothing to learn", "give it"),
    ),
    "two labels of a text": (
        {"train.jsonl": records(GOOD, BAD | {"label": ["bad", "good"]})},
        [],
        ("'poor' has 2 labels (bad, good)", "write data.multiple=true"),
    ),
    "no label of any text": (
        {"train.jsonl": records(GOOD | {"label": []}, BAD | {"label": []})},
        ["data.multiple=true"],
        ("label",),
    ),
    "no text": (
        {"train.jsonl": records(GOOD | {"text": ""})},
        [],
        ("train split", "1 empty text", "give it"),
    ),
    "a weight of no label": (
        {},
        ["task.class_weights={god: 2.0}"],
        ("task.class_weights names god", "bad, good"),
    ),
    "a weight of a number's label": ({}, ["task.class_weights={1: 2.0}"], ("names 1", "bad, good")),
    "a weight below zero": ({}, ["task.class_weights={good: -1}"], ("good=-1", "from 0 up")),
    "weights of several labels": (
        {},
        ["data.multiple=true", "task.class_weights={good: 2}"],
        ("data.multiple=true", "write 0 and null"),
    ),
    "unknown pooling": ({}, ["task.pooling=men"], ("task.pooling=men", "'mean'?")),
    "no room for two texts": ({}, ["data.max_length=4"], ("data.max_length=4", "greater than 4")),
    "tags of words": ({}, ["task=token_labels"], ("task=token_labels", "labelled_text")),
}
READ = {
    "a tag that training lacks": (
        {"val.txt": OTHER_TAG, "test.txt": OTHER_TAG},
        "labels of the val split that the training split lacks: B-NEW (1): none of them will ever",
    ),
    "a label that training lacks": (
        {"val.jsonl": records(GOOD, BAD | {"label": "new"}), "test.jsonl": records(GOOD)},
        "labels of the val split that the training split lacks: new (1): none of them will ever",
    ),
    "a word longer than a window": (
        {"train.txt": "Ann B-PER\n" + "x" * 99 + " O\n\na O\n"},
        "",
    ),
}


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs `train` on files beside good ones; gives the exit status."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LMEXP_CACHE", str(tmp_path / "cache"))

    def command(kind: str, files: dict[str, str], typed: Sequence[str]) -> int:
        write = labelled_runs.write_tagged if kind == "tags" else labelled_runs.write_labelled
        write(tmp_path, (40, 10, 10))
        for name, text in files.items():
            Path(name).write_text(text)
        make = labelled_runs.tagger if kind == "tags" else labelled_runs.classifier
        own = make(tmp_path, "trainer.max_steps=2", "hydra.run.dir=run", *typed)
        return main(own)

    return command


def check_refusal(status: int, error: str, expected: Sequence[str]) -> None:
    assert status == 2
    last = error.splitlines()[-1]
    assert last.startswith("lmexp: ")
    assert "Traceback" not in error
    for part in expected:
        assert part in last


@pytest.mark.parametrize("name", TAGS)
def test_tags_that_cannot_be_learnt_are_refused_in_one_line(name, train, capsys):
    files, typed, expected = TAGS[name]

    status = train("tags", files, typed)

    check_refusal(status, capsys.readouterr().err, expected)
    assert not Path("run").exists() or not list(Path("run").glob("checkpoints/*"))


@pytest.mark.parametrize("name", LABELS)
def test_labels_that_cannot_be_learnt_are_refused_in_one_line(name, train, capsys):
    files, typed, expected = LABELS[name]

    status = train("labels", files, typed)

    check_refusal(status, capsys.readouterr().err, expected)


@pytest.mark.parametrize("name", READ)
def test_what_is_unknown_or_cut_is_said_and_counted(name, train, capsys):
    files, remark = READ[name]
    kind = "tags" if any(file.endswith(".txt") for file in files) else "labels"
    options = ["tokenizer=byte"] if "longer" in name else []

    status = train(kind, files, options)

    said = " ".join(capsys.readouterr().err.split())
    assert status == 0, said
    assert remark in said
    facts = json.loads(Path("run/environment.json").read_text())["data"]
    if remark:
        assert sum(facts["val"]["unseen"].values()) == 1
    else:
        assert facts["train"]["dropped"] == {"words cut at 10 tokens": 1}


@pytest.mark.parametrize("kind", ["tags", "labels"])
def test_data_that_have_changed_are_refused_when_a_run_goes_on(kind, train, capsys):
    assert train(kind, {}, []) == 0
    name = {"tags": "train.txt", "labels": "train.jsonl"}[kind]
    Path(name).write_text(Path(name).read_text().replace("the", "thy"))

    status = main(["resume=run", "trainer.max_steps=4"])

    check_refusal(status, capsys.readouterr().err, ("have changed since the run began", "bring"))


@pytest.mark.parametrize("kind", ["tags", "labels"])
@pytest.mark.parametrize("more", [[], ["--no-data"], ["--find-batch"]])
def test_plan_says_what_labels_there_are(kind, more, train, capsys):
    from lmexp.__main__ import main as command

    train(kind, {}, ["trainer.max_steps=none"])  # writes the files, trains nothing
    make = labelled_runs.tagger if kind == "tags" else labelled_runs.classifier
    capsys.readouterr()

    assert command(["plan", *make(Path.cwd()), *more]) == 0

    out = " ".join(capsys.readouterr().out.split())
    if "--no-data" in more:
        assert "vocabulary known after reading the text" in out
    elif kind == "tags":
        assert "5 labels: O, B-LOC, I-LOC, B-PER, I-PER" in out
        assert "train 40 sentences" in out
        assert "words on average" in out
    else:
        assert "2 labels: bad, good" in out
        assert "train 40 texts" in out
        assert "texts on average" in out
