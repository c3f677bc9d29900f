"""Scores of examples that other runs leave: of retrieval, of hidden tokens, of sentence VAEs."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from example_figures import assert_scores_sum_to_the_test

from lmexp.__main__ import main
from lmexp.example_scores import read_scores

ANSWERS = tuple(f"answer number {n}" for n in range(15))
WORDS = ("the", "a", "sees", "in", "went", "to", "and", "from", "with")
BRIEF = ["trainer=debug", "logger=none", "trainer.max_steps=6", "trainer.validate_every_steps=6"]
BERT = ["model=bert", "model.d_model=32", "model.num_layers=1", "model.num_heads=2"]
VAE = ["model=vae", "model.d_model=16", "task.latent_size=4", "eval.sample_sentences=0"]


def train(folder: Path, *typed: str) -> Path:
    assert main(["train", *BRIEF, *typed, f"hydra.run.dir={folder}"]) == 0
    return folder


def assert_evaluate_gives_the_signature(run: Path, out: Path) -> None:
    assert main(["evaluate", str(run), "--json", str(out)]) == 0
    assert json.loads(out.read_text())["signature"] == read_scores(run).signature


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    """Texts of a line each: some short, some of more tokens than a model reads."""
    folder = tmp_path_factory.mktemp("lines")
    rng = random.Random(0)
    for split, size in (("train", 120), ("val", 30), ("test", 40)):
        texts = [" ".join(rng.choices(WORDS, k=rng.randint(3, 30))) for _ in range(size)]
        (folder / f"{split}.txt").write_text("".join(f"{text}\n" for text in texts))
    return folder


def of_lines(folder: Path, *more: str) -> list[str]:
    files = [f"data.corpus.{name}_files={folder}/{name}.txt" for name in ("val", "test")]
    data = ["data=text", f"data.files={folder}/train.txt", *files, "data.corpus.document=line"]
    return [*data, "data.max_length=16", "data.batch_size=8", "schedule.warmup_steps=1", *more]


def test_queries_sum_to_the_test_of_retrieval(tmp_path):
    rows = [(f"about {answer} {n}", answer) for n in range(4) for answer in ANSWERS]
    text = "\n".join(["text,category", *(",".join(row) for row in rows)]) + "\n"
    for name in ("train", "test"):
        (tmp_path / f"{name}.csv").write_text(text)
    model = ["model=gru", "model.d_model=16", "model.num_layers=1", "tokenizer=word"]
    data = ["data=banking77_answers", f"data.root={tmp_path}", "data.batch_size=8"]
    run = train(tmp_path / "run", *model, *data, "schedule=constant")

    names = ("mrr", "recall_at_1", "recall_at_10", "mrr_of_all", "recall_at_1_of_all")
    scores = assert_scores_sum_to_the_test(run, *names).scores
    assert scores.unit == "query"
    assert len(scores.keys) == len(set(scores.keys.tolist())) == len(rows)
    assert 0 < scores.statistics["recall_at_1"].sum() < len(rows)
    # every query beside its own rank: the order is that of the split, not of the batches
    of_all = scores.statistics["mrr_of_all"]
    np.testing.assert_allclose(scores.statistics["mrr"], of_all)  # the candidates are the same
    assert_evaluate_gives_the_signature(run, tmp_path / "out.json")


@pytest.mark.parametrize("pairs", ["null", "next_sentence"])
def test_sequences_sum_to_the_test_of_a_masked_language_model(pairs, lines, tmp_path):
    run = train(tmp_path / "run", *BERT, *of_lines(lines, f"data.pairs={pairs}", "tokenizer=byte"))

    of_pairs = () if pairs == "null" else ("pair_loss", "pair_accuracy")
    names = ("loss", "perplexity", "accuracy", *of_pairs)
    scores = assert_scores_sum_to_the_test(run, *names).scores
    assert scores.unit == "sequence"
    assert len(scores.keys) == len(set(scores.keys.tolist())) > 40  # long lines are cut
    assert_evaluate_gives_the_signature(run, tmp_path / "out.json")


def test_sequences_of_another_tokenizer_are_others(lines, tmp_path):
    own = of_lines(lines, "data.pairs=null")
    first = train(tmp_path / "a", *BERT, *own, "tokenizer=word")
    second = train(tmp_path / "b", *BERT, *own, "tokenizer=char")
    again = train(tmp_path / "c", *BERT, *own, "tokenizer=word", "seed=5")

    keys = [read_scores(run).scores.keys for run in (first, second, again)]
    assert not set(keys[0].tolist()) & set(keys[1].tolist())
    np.testing.assert_array_equal(keys[0], keys[2])


def test_documents_sum_to_the_test_of_a_sentence_vae(lines, tmp_path):
    importance = ["eval.importance_samples=3", "eval.batch_size=7", "tokenizer=word"]
    run = train(tmp_path / "run", *VAE, *of_lines(lines, *importance))

    bounds = ("loss", "perplexity", "reconstruction", "kl", "sentence_loss")
    names = (*bounds, "importance_loss", "importance_perplexity")
    scores = assert_scores_sum_to_the_test(run, *names).scores
    assert scores.unit == "document"
    assert len(scores.keys) == 40
    assert scores.statistics["sentences"].max() > 1  # long lines are cut
    assert_evaluate_gives_the_signature(run, tmp_path / "out.json")


def test_documents_of_a_sentence_vae_are_the_same_whatever_the_tokenizer(lines, tmp_path):
    none = ["eval.importance_samples=0", "eval.information_sentences=0"]
    first = train(tmp_path / "a", *VAE, *of_lines(lines, *none, "tokenizer=word"))
    second = train(tmp_path / "b", *VAE, *of_lines(lines, *none, "tokenizer=byte"))

    found = [read_scores(run).scores for run in (first, second)]
    np.testing.assert_array_equal(found[0].keys, found[1].keys)
    assert "importance_loss" not in found[0].metrics
