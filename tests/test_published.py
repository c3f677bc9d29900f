"""Runs to the end, against figures that others published or that a count gives. Minutes each."""

import json
import math
import time
from pathlib import Path

import numpy as np
import pytest

from lmexp import tokenizers
from lmexp.breakdown import Breakdown
from lmexp.cache import cache_folder
from lmexp.packing import TokenStore
from lmexp.recipe import main

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


UNIGRAM_PERPLEXITY = 639.3  # of PTB's test split, by the counts of its training split


def run(folder: Path, *overrides: str) -> dict:
    """The summary of a run."""
    assert main([*overrides, f"hydra.run.dir={folder}"]) == 0
    return json.loads((folder / "summary.json").read_text())


def unigram_nll(folder: Path) -> float:
    """Nats per token of the test split under the frequencies of the training split, plus one."""
    facts = json.loads((folder / "environment.json").read_text())["data"]
    stores = [TokenStore(path.parent) for path in (cache_folder() / "tokens").glob("*/store.json")]
    train, test = (
        next(
            store
            for store in stores
            if store.counts["tokens"] == facts[split]["tokens"]
            and store.counts["bytes"] == facts[split]["bytes"]
        )
        for split in ("train", "test")
    )
    counts = np.bincount(train.tokens, minlength=facts["vocab_size"]) + 1.0
    predicted = test.tokens[test.tokens != tokenizers.BOS_ID]
    return float(-np.log(counts / counts.sum())[predicted].mean())


def test_the_default_run_learns_in_minutes_what_a_unigram_cannot(tmp_path):
    began = time.monotonic()

    summary = run(tmp_path / "run")

    assert time.monotonic() - began < 180
    assert summary["test/loss"] < unigram_nll(tmp_path / "run") - 1.5
    assert " the " in summary["sample"]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_shakespeare_by_characters_reaches_nanogpts_loss_and_does_not_leak(
    seed, data_folder, tmp_path
):
    data_folder("tinyshakespeare")
    typed = ("model=transformer", "data=shakespeare", "experiment=shakespeare_char_cpu")

    summary = run(tmp_path / "run", *typed, f"seed={seed}")

    # Karpathy 2022: 1.88
    assert 1.5 < summary["best/loss"] <= 1.90
    assert summary["best/tokens"] == 111_540  # the whole validation split


def test_an_epoch_of_zarembas_small_lstm_leaves_a_third_of_the_unigrams_perplexity(
    data_folder, tmp_path
):
    data_folder("ptb")

    summary = run(tmp_path / "run", "experiment=ptb_lstm_small", "trainer.max_epochs=1")

    assert math.exp(unigram_nll(tmp_path / "run")) == pytest.approx(UNIGRAM_PERPLEXITY, rel=0.01)
    assert summary["val/perplexity"] < UNIGRAM_PERPLEXITY / 3


def test_bert_restores_words_and_tells_pairs_apart(data_folder, tmp_path):
    data_folder("wikitext2")

    summary = run(tmp_path / "run", "experiment=bert_tiny_wikitext2_cpu")

    assert summary["test/loss"] < unigram_nll(tmp_path / "run") - 3
    # chance is 0.5, of a thousand pairs and more with a standard deviation of at most 0.016
    assert summary["test/tokens"] > 0.15 * 1_000 * 50
    assert summary["test/pair_accuracy"] > 0.5 + 5 * 0.016


@pytest.mark.parametrize("model", ["bert", "bert_tiny", "bert_modern"])
def test_bert_learns_from_nothing_at_its_own_rate(model, data_folder, tmp_path):
    data_folder("sst2")

    # without warm-up: with it, rates that break it down do so later, in some seeds alone
    overrides = [f"model={model}", "data=sst2", "schedule=constant", "trainer.max_steps=800"]
    summary = run(tmp_path / "run", *overrides)

    assert Breakdown.of(summary) is None
    # a naive Bayes of words has 0.818 (Socher et al. 2013, table 1), guessing 0.5
    assert summary["val/accuracy"] > 0.7
