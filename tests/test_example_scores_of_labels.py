"""Scores of examples that runs leave which label words or texts, or answer questions."""

import json
import random

import numpy as np
import pytest
from example_figures import assert_scores_sum_to_the_test
from labelled_runs import OTHER, classifier, tagger, write_labelled, write_tagged
from question_runs import answering, write_questions

from lmexp.__main__ import main
from lmexp.example_scores import read_scores

FEW = ["trainer.max_steps=25", "trainer.validate_every_steps=25"]


def train(typed, folder, *more):
    assert main(["train", *typed, *FEW, f"hydra.run.dir={folder}", *more]) == 0
    return folder


def evaluated(run, out):
    assert main(["evaluate", str(run), "--json", str(out)]) == 0
    return json.loads(out.read_text())


def assert_same_keys(first, second):
    np.testing.assert_array_equal(read_scores(first).scores.keys, read_scores(second).scores.keys)


def test_sentences_sum_to_the_test_of_a_tagger_and_of_its_groups(tmp_path):
    write_tagged(tmp_path)
    groups = "task.entity_groups={people: PER, places: LOC}"
    run = train(tagger(tmp_path), tmp_path / "run", groups)

    names = [f"{kind}_{share}" for kind in ("entity", "people", "places") for share in ("f1",)]
    scores = assert_scores_sum_to_the_test(run, *names, "token_accuracy").scores
    assert scores.unit == "sentence"
    assert len(scores.keys) == 20
    own = scores.statistics
    assert own["entity_right"].sum() > 0
    np.testing.assert_array_equal(own["entity_true"], own["people_true"] + own["places_true"])
    found = evaluated(run, tmp_path / "out.json")
    assert found["signature"] == read_scores(run).signature


def test_sentences_are_the_same_whatever_the_tokenizer(tmp_path):
    write_tagged(tmp_path)
    first = train(tagger(tmp_path), tmp_path / "a", "tokenizer=byte", "trainer.max_steps=2")
    second = train(tagger(tmp_path), tmp_path / "b", "tokenizer=word", "trainer.max_steps=2")

    assert_same_keys(first, second)


@pytest.mark.parametrize("pairs", [False, True])
def test_texts_sum_to_the_test_of_a_classifier(pairs, tmp_path):
    write_labelled(tmp_path, pairs=pairs)
    second = ["data.corpus.second=second"] if pairs else []
    run = train(classifier(tmp_path), tmp_path / "run", *second)

    scores = assert_scores_sum_to_the_test(run, "accuracy").scores
    assert scores.unit == "text"
    assert list(scores.statistics) == ["all_right"]
    assert len(scores.keys) == 20
    found = evaluated(run, tmp_path / "out.json")
    assert found["signature"] == read_scores(run).signature


def test_texts_with_several_labels_sum_to_micro_f1_too(tmp_path):
    rng = random.Random(0)
    for split, size in (("train", 80), ("val", 20), ("test", 20)):
        texts = [rng.choices(OTHER, k=5) for _ in range(size)]
        rows = [{"text": " ".join(t), "label": sorted({*t} & {"a", "the", "went"})} for t in texts]
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    run = train(classifier(tmp_path), tmp_path / "run", "data.multiple=true")

    scores = assert_scores_sum_to_the_test(run, "accuracy", "micro_f1").scores
    assert scores.statistics["true"].max() > 1


def test_questions_sum_to_the_test_in_exact_match_and_f1(tmp_path):
    write_questions(tmp_path)
    brief = ["trainer.max_steps=8", "trainer.validate_every_steps=8"]
    run = train(answering(tmp_path), tmp_path / "run", *brief)

    scores = assert_scores_sum_to_the_test(run, "exact_match", "f1").scores
    assert scores.unit == "question"
    assert len(scores.keys) == 30
    assert 0 < scores.statistics["exact"].sum() < 30
    found = evaluated(run, tmp_path / "out.json")
    assert found["signature"] == read_scores(run).signature
