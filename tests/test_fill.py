"""What is done with a masked language model: filling masks, figures, refusals."""

import json
import math

import pytest
import torch

from lmexp.__main__ import main
from lmexp.fill import Filling, filled, fillings, masked_ids
from lmexp.loading import load

WORDS = ["the", "import", "statement", "binds", "a", "name", "in", "scope"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on lines that all are the same words in the same order."""
    folder = tmp_path_factory.mktemp("fill")
    text = folder / "text.txt"
    text.write_text((" ".join(WORDS) + "\n") * 200)
    sizes = ["model.d_model=32", "model.num_layers=1", "model.num_heads=2", "model.d_ff=32"]
    status = main(
        [
            *("train", "model=bert", *sizes, "model.dropout=0.0"),
            *("data=text", f"data.files={text}", "data.corpus.document=line"),
            *("data.max_length=16", "data.batch_size=32", "data.pairs=null", "data.mask_rate=0.2"),
            *("tokenizer=word", "optimizer.lr=0.01", "schedule.warmup_steps=5"),
            *("trainer=debug", "trainer.max_steps=60", "trainer.validate_every_steps=30"),
            *("logger=none", f"hydra.run.dir={folder / 'run'}"),
        ]
    )
    assert status == 0
    return folder / "run"


def test_each_mask_gets_the_likeliest_words(run, capsys):
    text = "the [MASK] statement binds a <mask> in scope"

    assert main(["fill", str(run), text, "--top", "2"]) == 0

    *table, last = capsys.readouterr().out.splitlines()
    assert last == "the import statement binds a name in scope"
    assert sum("0." in line for line in table) == 4


def test_probabilities_are_of_all_types_but_the_reserved(run):
    loaded = load(run)

    found = fillings(loaded, "the [MASK] statement", 100)[0]

    assert sum(one.probability for one in found) == pytest.approx(1.0, abs=1e-5)
    ordinary = [one for one in found if one.probability > 0]
    assert {one.token for one in ordinary} == {*WORDS, "\n"}
    assert found[0] == max(found, key=lambda one: one.probability)


def test_a_mask_stands_for_one_token(run):
    loaded = load(run)
    vocab = loaded.vocab

    ids = masked_ids(loaded, "the [MASK] statement [MASK]")

    own = loaded.tokenizer.encode
    middle = [*own("the"), vocab.mask_id, *own("statement"), vocab.mask_id]
    assert ids == [vocab.bos_id, *middle, vocab.eos_id]


def test_tokens_that_bring_their_space_get_no_second_one():
    assert filled("The [MASK] game", [" old"]) == "The old game"
    assert filled("The[MASK] game", [" old"]) == "The old game"
    assert filled("[MASK]", ["x"]) == "x"
    assert Filling("x", 0.5).token == "x"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["fill", "RUN", "no mask"], "'no mask' has no mask: write [MASK] in the place of a token"),
        (["fill", "RUN", "a [MASK]", "--top", "0"], "--top 0: at least 1"),
        (["fill", "RUN", "the " * 20 + "[MASK]"], "the text takes 23 tokens, and the model was"),
        (["generate", "RUN", "--prompt", "a"], "is of a masked language model: lmexp fill RUN"),
        (["attend", "RUN", "a name"], "is of a masked language model: lmexp fill RUN"),
        (["translate", "RUN"], "is of a masked language model: lmexp fill RUN"),
        (["evaluate", "RUN", "--context", "8"], "masked language model, which has no --context"),
        (["evaluate", "RUN", "--beam", "2"], "masked language model, which has no --beam"),
    ],
)
def test_a_mistake_is_one_line(arguments, told, run, capsys):
    typed = [part.replace("RUN", str(run)) for part in arguments]

    assert main(typed) == 2

    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert told.replace("RUN", str(run)) in error


def test_evaluate_scores_what_training_scored(run, tmp_path, capsys):
    out = tmp_path / "out.json"

    assert main(["evaluate", str(run), "--split", "test", "--json", str(out)]) == 0

    found, summary = (json.loads(file.read_text()) for file in (out, run / "summary.json"))
    for name in ("loss", "perplexity", "accuracy", "tokens", "pseudo_perplexity"):
        assert found[f"test/{name}"] == pytest.approx(summary[f"test/{name}"], rel=1e-5)
    assert found["test/loss"] < math.log(2)
    assert found["signature"]["data.mask_rate"] == 0.2


def test_a_sample_shows_what_is_put_in_the_place_of_hidden_tokens(run):
    lines = [json.loads(line) for line in (run / "samples.jsonl").read_text().splitlines()]

    assert len(lines) == 2
    assert " -> " in lines[-1]["text"]
    assert lines[-1]["text"].count("[") == lines[-1]["text"].count("]")


def test_the_network_is_the_one_that_was_trained(run):
    network = load(run).network
    ids = torch.tensor([[2, 8, 4, 9, 3]])
    mask = torch.ones_like(ids, dtype=torch.bool)

    tokens, judged = network(ids, mask, torch.zeros_like(ids))

    assert tokens.shape == (1, 5, network.encoder.embed.num_embeddings)
    assert judged is None


def test_plan_says_what_a_step_hides(run, tmp_path, capsys):
    text = tmp_path / "text.txt"
    text.write_text((" ".join(WORDS) + "\n") * 200)
    own = ["model=bert", "data=text", f"data.files={text}", "data.corpus.document=line"]

    assert main(["plan", *own, "tokenizer=word", "data.max_length=16", "--find-lr"]) == 0

    said = capsys.readouterr().out
    assert "32 sequences at most" in said
    assert "hidden tokens on average" in said
    assert "try optimizer.lr=" in said
