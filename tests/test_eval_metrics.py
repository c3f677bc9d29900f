"""Which figures a text-to-text run reports, and programs that are run on tests."""

import json
from types import SimpleNamespace

import pytest

from lmexp.__main__ import main
from lmexp.tasks.text_to_text import TextToText

TINY = ["model=gru", "model.d_model=16", "model.num_layers=1", "trainer=debug", "logger=none"]
BRIEF = ["trainer.max_steps=2", "trainer.validate_every_steps=2", "schedule.warmup_steps=1"]
EVAL = ["eval.sample_pairs=4", "eval.beam_size=1", "eval.max_extra=2", "data.batch_tokens=256"]
SIZES = ["data.max_length=32", "data.val_fraction=0.2", "data.test_fraction=0.2", "tokenizer=byte"]


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Runs `train` on records in the current folder; gives the exit status."""
    monkeypatch.chdir(tmp_path)
    records = [
        {"text": f"add {n}", "code": f"x = {n}", "document": f"it is {n}", "summary": f"{n}"}
        | {"test_setup_code": "", "test_list": [f"assert x == {n}"]}
        for n in range(60)
    ]
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (tmp_path / "records.jsonl").write_text(lines)

    def command(*typed):
        return main(["train", *TINY, *BRIEF, *EVAL, *SIZES, "hydra.run.dir=run", *typed])

    return command


def summary(folder):
    found = json.loads((folder / "run" / "summary.json").read_text())
    figures = {key.removeprefix("test/"): found[key] for key in found if key.startswith("test/")}
    return found, figures


def test_summaries_are_scored_by_rouge(train, tmp_path):
    assert train("data=summaries", "data.files=records.jsonl") == 0

    found, figures = summary(tmp_path)
    assert {"rouge1", "rouge2", "rougeL", "rouge_signature", "exact_match"} <= set(figures)
    assert "bleu" not in figures
    assert "val/rougeL" in found
    assert found["text_kind"] == "pairs"


def test_programs_are_run_where_it_is_asked_for(train, tmp_path):
    assert train("data=code", "data.files=records.jsonl", "eval.execute=true") == 0

    figures = summary(tmp_path)[1]
    assert figures["pass_at_1"] == 0
    assert "seconds:" in figures["pass_at_1_signature"]
    assert "exact_match" in figures


def test_programs_are_not_run_unless_it_is_asked_for(train, tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError("something was run")

    monkeypatch.setattr("lmexp.execution.passes", refuse)
    assert train("data=code", "data.files=records.jsonl") == 0
    assert "pass_at_1" not in summary(tmp_path)[1]


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("data=summaries eval.metrics=[bleuu]", "'bleu'"),
        ("data=summaries eval.execute=yes", "eval.execute=yes: execute should be a valid boolean"),
        ("data=summaries eval.execute=true", "in val have none: name the fields"),
        ("data=code data.tests=asserts eval.execute=true", "in val have none: name the fields"),
    ],
)
def test_what_cannot_be_computed_is_refused_before_training(typed, told, train, capsys):
    assert train("data.files=records.jsonl", *typed.split()) == 2

    error = capsys.readouterr().err
    assert told in error
    assert error.splitlines()[-1].startswith("lmexp: ")


def test_pass_at_1_of_outputs_is_of_the_tests_of_their_pairs():
    store = SimpleNamespace(
        texts=lambda: [["a", "x = 1"], ["b", "x = 2"], ["c", "x = 3"]],
        tests=lambda: [["y = 1", "assert x == y"], ["assert x == 2"], ["assert x == 3"]],
    )
    data = SimpleNamespace(
        store=lambda split: store,
        evaluation=SimpleNamespace(metrics=("exact_match",), execute=True),
        corpus=SimpleNamespace(languages=("en", None), is_tokenised=False),
    )

    figures = TextToText.scored(None, data, "test", ["x = 1", "x = 1 + 1", "x = 2"])

    assert figures["pass_at_1"] == pytest.approx(200 / 3)
    assert figures["exact_match"] == pytest.approx(100 / 3)
