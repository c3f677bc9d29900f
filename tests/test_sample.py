"""What is done with a sentence VAE: samples, interpolations, figures, refusals."""

import json

import pytest
import torch

from lmexp.__main__ import main
from lmexp.interpolate import encoded
from lmexp.loading import load

LINES = ["the import statement binds a name", "a class is made by its statement", "it ends here"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on three sentences, which it knows by heart."""
    folder = tmp_path_factory.mktemp("sample")
    text = folder / "text.txt"
    text.write_text("\n".join(LINES * 80) + "\n")
    status = main(
        [
            *("train", "model=vae", "model.d_model=32", "model.dropout=0.0"),
            *("data=text", f"data.files={text}", "data.corpus.document=line"),
            *("data.max_length=16", "data.batch_size=24", "tokenizer=word"),
            *("task.latent_size=4", "task.kl_steps=2000", "eval.sample_sentences=3"),
            *("optimizer.lr=0.02", "schedule.warmup_steps=5"),
            *("trainer=debug", "trainer.max_steps=300", "trainer.validate_every_steps=150"),
            *("logger=none", f"hydra.run.dir={folder / 'run'}"),
        ]
    )
    assert status == 0
    return folder / "run"


def out(capsys):
    return capsys.readouterr().out.splitlines()


def test_interpolation_begins_and_ends_with_the_two_sentences(run, capsys):
    assert main(["interpolate", str(run), LINES[0], LINES[2], "--steps", "6"]) == 0

    lines = out(capsys)
    assert len(lines) == 6
    assert (lines[0], lines[-1]) == (LINES[0], LINES[2])


def test_samples_are_a_function_of_the_seed_and_of_their_number_alone(run, capsys):
    assert main(["sample", str(run), "--count", "70", "--seed", "3"]) == 0
    many = out(capsys)
    assert main(["sample", str(run), "--count", "5", "--seed", "3"]) == 0
    few = out(capsys)
    assert main(["sample", str(run), "--count", "5", "--seed", "4"]) == 0
    others = out(capsys)

    assert len(many) == 70
    assert many[:5] == few
    assert others != few
    words = {word for line in LINES for word in line.split()}
    assert {word for line in many for word in line.split()} <= words | {"<unk>"}


def test_greedy_samples_differ_by_their_points(run, capsys):
    assert main(["sample", str(run), "--count", "40", "--temperature", "0"]) == 0

    assert len(set(out(capsys))) > 2


def test_evaluate_scores_what_training_scored(run, tmp_path, capsys):
    json_file = tmp_path / "out.json"

    assert main(["evaluate", str(run), "--batch-size", "7", "--json", str(json_file)]) == 0

    found, summary = (json.loads(file.read_text()) for file in (json_file, run / "summary.json"))
    names = [name for name in summary if name.startswith("test/")]
    assert {"test/perplexity", "test/sentence_kl", "test/active_units"} < set(names)
    assert {"test/importance_perplexity", "test/mutual_information"} < set(names)
    for name in names:
        assert found[name] == pytest.approx(summary[name], rel=1e-4), name
    assert found["test/importance_perplexity"] <= found["test/perplexity"]
    assert found["signature"]["eval.importance_samples"] == 10


def test_samples_during_training_show_the_prior_and_what_comes_back(run):
    lines = [json.loads(line) for line in (run / "samples.jsonl").read_text().splitlines()]

    shown = lines[-1]["text"].splitlines()
    assert len(shown) == 6
    assert all(line.startswith("[") and " -> " in line for line in shown[3:])


def test_unknown_words_are_told(run, capsys):
    loaded = load(run)

    ids = encoded(loaded, "the zebra statement")

    assert ids[-1] == loaded.vocab.eos_id
    told = "1 of the 3 tokens of 'the zebra statement' are not in the model's vocabulary"
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["sample", "RUN", "--count", "0"], "--count 0: at least 1"),
        (["sample", "RUN", "--temperature", "-1"], "temperature=-1.0 must be a number from 0"),
        (["interpolate", "RUN", "it", "ends", "--steps", "1"], "--steps 1: at least 2"),
        (["interpolate", "RUN", " ", "ends"], "' ' has no word: give two sentences"),
        (["interpolate", "RUN", "it " * 16, "ends"], "takes 17 tokens, and the model was trained"),
        (["generate", "RUN", "--prompt", "a"], "is of a sentence VAE: lmexp sample RUN"),
        (["fill", "RUN", "a [MASK]"], "is of a sentence VAE: lmexp sample RUN"),
        (["attend", "RUN", "a name"], "is of a sentence VAE: lmexp sample RUN"),
        (["translate", "RUN"], "is of a sentence VAE: lmexp sample RUN"),
        (["evaluate", "RUN", "--stride", "8"], "of a sentence VAE, which has no --stride"),
        (["evaluate", "RUN", "--beam", "2"], "of a sentence VAE, which has no --beam"),
    ],
)
def test_a_mistake_is_one_line(arguments, told, run, capsys):
    typed = [part.replace("RUN", str(run)) for part in arguments]

    assert main(typed) == 2

    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert told.replace("RUN", str(run)) in error


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("model=bert task=vae_lm", "needs an autoencoder; model=bert builds: encoder."),
        ("model=vae task.latent_size=0", "task.latent_size"),
        ("model=vae task.kl_schedule=sigmoid", "task.kl_schedule"),
        ("model=vae task.free_bits=-1", "task.free_bits"),
        ("model=vae data.word_dropout=1.0", "data.word_dropout"),
        ("model=vae task.kl_step=10", "did you mean 'kl_steps'?"),
        ("task=vae_lm data=reverse model=gru", "reads sentences; data=reverse is of pairs"),
        ("model=vae data.corpus.document=split", "this task reads documents: write"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused_in_one_line(typed, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = tmp_path / "text.txt"
    text.write_text("\n".join(LINES * 80) + "\n")
    data = [] if "data=" in typed else ["data=text", f"data.files={text}"]

    assert main(["train", *typed.split(" ")[:1], *data, *typed.split(" ")[1:]]) == 2

    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert told in error


def test_any_model_that_builds_an_autoencoder_can_be_planned(tmp_path, capsys):
    text = tmp_path / "text.txt"
    text.write_text("\n".join(LINES * 80) + "\n")
    own = ["data=text", f"data.files={text}", "data.corpus.document=line", "tokenizer=word"]

    for model in ("transformer", "gru"):
        typed = [f"model={model}", "model.d_model=32", "task=vae_lm", "data.max_length=16"]
        assert main(["plan", *typed, *own]) == 0

        said = capsys.readouterr().out
        assert "16 sequences at most" in said
        assert "tokens on average" in said


def test_the_network_is_the_one_that_was_trained(run):
    network = load(run).network
    ids = torch.tensor([[8, 9, 3]])

    logits = network(torch.zeros(1, network.latent_size), ids)

    assert logits.shape == (1, 3, network.encoder.embed.num_embeddings)
