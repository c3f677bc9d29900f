"""Scores of examples that runs of language models and text-to-text models leave behind."""

import json
from pathlib import Path

import numpy as np
import pytest
from example_figures import assert_scores_sum_to_the_test

from lmexp.__main__ import main
from lmexp.example_scores import read_scores
from lmexp.text_examples import FEWEST_DOCUMENTS

TINY = ["model=gru", "model.d_model=16", "model.num_layers=1", "trainer=debug", "logger=none"]
BRIEF = ["trainer.max_steps=3", "trainer.validate_every_steps=3", "schedule.warmup_steps=1"]
TEXT = ["data=text", "data.max_length=32", "data.batch_size=4", "task.sample_tokens=0"]
LIKELIHOOD = ("loss", "perplexity", "bits_per_byte", "accuracy")


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """Text of a few lines, some of them blank, in three splits."""
    folder = tmp_path_factory.mktemp("text")
    for split, size in (("train", 200), ("val", 20), ("test", 50)):
        lines = [f"{n} times {n} is {n * n}\n" + "\n" * (n % 3 == 0) for n in range(size)]
        (folder / f"{split}.txt").write_text("\n" + "".join(lines))
    return folder


def train(folder: Path, *typed: str) -> Path:
    assert main(["train", *TINY, *BRIEF, f"hydra.run.dir={folder}", *typed]) == 0
    return folder


def of_text(text: Path, *more: str) -> list[str]:
    files = [
        f"data.files={text}/train.txt",
        f"data.corpus.val_files={text}/val.txt",
        f"data.corpus.test_files={text}/test.txt",
    ]
    return [*TEXT, *files, *more]


def evaluated(run: Path, out: Path, *more: str) -> dict:
    assert main(["evaluate", str(run), "--json", str(out), *more]) == 0
    return json.loads(out.read_text())


def test_lines_of_a_continuous_text_sum_to_its_test(text, tmp_path):
    run = train(tmp_path / "run", *of_text(text, "data.document=split", "tokenizer=byte"))

    scores = assert_scores_sum_to_the_test(run, *LIKELIHOOD).scores
    sizes = [len(line) for line in (text / "test.txt").read_bytes().splitlines(keepends=True)]
    assert scores.unit == "line"
    assert len(scores.keys) == len(set(scores.keys.tolist())) == 50
    np.testing.assert_array_equal(scores.statistics["bytes"], scores.statistics["tokens"])
    assert scores.statistics["bytes"].sum() == sum(sizes)
    assert scores.statistics["bytes"][:3].tolist() == [1 + 15 + 1, 15, 15]  # "0 times 0 is 0\n"


def test_documents_sum_to_the_test_where_there_are_many(text, tmp_path):
    run = train(tmp_path / "run", *of_text(text, "data.document=line", "tokenizer=byte"))

    scores = assert_scores_sum_to_the_test(run, *LIKELIHOOD).scores
    assert scores.unit == "document"
    assert len(scores.keys) >= FEWEST_DOCUMENTS
    np.testing.assert_array_equal(  # and its end
        scores.statistics["tokens"], scores.statistics["bytes"] + 1
    )


@pytest.mark.parametrize("document", ["split", "line"])
def test_examples_are_the_same_whatever_the_tokenizer_the_model_and_the_windows(
    document, text, tmp_path
):
    own = of_text(text, f"data.document={document}")
    bytes_ = train(tmp_path / "a", *own, "tokenizer=byte", "eval.context=7", "eval.stride=3")
    words = train(tmp_path / "b", *own, "tokenizer=char", "model=transformer", "eval.context=50")

    first = assert_scores_sum_to_the_test(bytes_, *LIKELIHOOD).scores
    second = assert_scores_sum_to_the_test(words, "loss").scores
    np.testing.assert_array_equal(first.keys, second.keys)
    assert first.unit == second.unit


def test_the_nats_of_a_line_are_those_of_its_text_alone(text, tmp_path):
    own = of_text(text, "data.document=split", "tokenizer=byte")
    whole = train(tmp_path / "a", *own, "eval.carry=true")
    scores = read_scores(whole).scores

    # a causal model: what comes after the tenth line says nothing of the first ten
    lines = (text / "test.txt").read_bytes().splitlines(keepends=True)
    begin = tmp_path / "begin.txt"
    begin.write_bytes(b"".join(lines[: 1 + 10 + 4]))  # lines 0 to 9, and the blank ones
    found = evaluated(whole, tmp_path / "out.json", "--file", str(begin))
    assert scores.statistics["nats"][:10].sum() / scores.statistics["tokens"][
        :10
    ].sum() == pytest.approx(found["file/loss"], rel=1e-5)


@pytest.mark.parametrize("more", [["eval.context=9", "eval.stride=4"], ["eval.carry=true"]])
def test_evaluate_gives_the_signature_of_the_test_of_a_language_model(more, text, tmp_path):
    run = train(tmp_path / "run", *of_text(text, "tokenizer=byte", *more))

    found = evaluated(run, tmp_path / "out.json")
    assert found["signature"] == read_scores(run).signature


@pytest.fixture(scope="module")
def translator(tmp_path_factory):
    """A run whose outputs are scored by all metrics, some of whose targets are cut."""
    sizes = ["data.corpus.size=300", "data.corpus.val_size=20", "data.corpus.test_size=30"]
    lengths = ["data.corpus.min_length=4", "data.corpus.max_length=6", "data.max_length=6"]
    search = ["eval.sample_pairs=0", "eval.beam_size=2", "eval.max_extra=2", "eval.min_ratio=1.0"]
    metrics = ["eval.metrics=[bleu,chrf,ter,rouge,exact_match]", "optimizer.lr=0.01"]
    typed = ["data=reverse", *sizes, *lengths, "data.corpus.vocabulary=8", *search, *metrics]
    folder = tmp_path_factory.mktemp("translator") / "run"
    return train(
        folder,
        *typed,
        "data.batch_tokens=512",
        "trainer.max_steps=40",
        "trainer.validate_every_steps=40",
    )


def test_pairs_sum_to_the_test_in_every_metric(translator):
    of_outputs = ("bleu", "chrf", "ter", "rouge1", "rouge2", "rougeL", "exact_match")

    scores = assert_scores_sum_to_the_test(translator, *LIKELIHOOD, *of_outputs).scores
    assert scores.unit == "pair"
    assert len(scores.keys) == 30
    assert scores.statistics["bleu"].shape == (30, 10)
    assert scores.statistics["bleu"].sum() > 0  # otherwise equality says nothing
    assert len(set(scores.statistics["bytes"].tolist())) > 1


def test_evaluate_gives_the_signature_of_the_test_of_a_text_to_text_model(translator, tmp_path):
    found = evaluated(translator, tmp_path / "out.json")

    assert found["signature"] == read_scores(translator).signature
    assert found["signature"]["bleu_signature"].startswith("nrefs:1|")
    assert found["signature"]["eval.beam_size"] == 2


def test_another_search_is_another_signature(translator, tmp_path):
    found = evaluated(translator, tmp_path / "out.json", "--beam", "3")

    own = read_scores(translator).signature
    differing = {key for key in own if own[key] != found["signature"][key]}
    assert differing == {"eval.beam_size"}


def test_programs_that_pass_sum_to_pass_at_1(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tests = {"test_setup_code": "", "test_list": ["assert True"]}
    records = [{"text": f"add {n}", "code": f"x = {n}", **tests} for n in range(60)]
    (tmp_path / "records.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    monkeypatch.setattr(
        "lmexp.execution.passes", lambda program, tests: not program or "a" in program
    )
    typed = ["data=code", "data.files=records.jsonl", "eval.execute=true", "tokenizer=byte"]
    sizes = ["data.max_length=32", "data.val_fraction=0.2", "data.test_fraction=0.2"]
    brief = ["eval.sample_pairs=0", "eval.beam_size=1", "eval.max_extra=2", "data.batch_tokens=256"]

    run = train(tmp_path / "run", *typed, *sizes, *brief)

    assert_scores_sum_to_the_test(run, "pass_at_1", "exact_match")
