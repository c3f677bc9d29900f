"""What comes with lmexp passes all checks, and the command says so."""

import json

import pytest
import torch
from checking import OWN, TRANSFORMER, checked
from labelled_runs import classifier, tagger, write_labelled, write_tagged
from question_runs import answering, write_questions
from test_data_faults import of_pairs, of_text
from tiny_models import save_tiny

from lmexp.__main__ import main
from lmexp.checks.suite import CHECKS

SMALL = ["model.d_model=32", "model.num_layers=1"]
RECURRENT = {cell: [f"model={cell}", *SMALL] for cell in ("rnn", "lstm", "gru")}
BERT = ["model=bert", *SMALL, "model.num_heads=2", "model.d_ff=64"]
VAE = ["model=vae", "model.d_model=32", "task.latent_size=8"]


def without_model(overrides):
    return [word for word in overrides if not word.startswith("model")]


def recipe(kind, model, folder):
    """A small run of a task with a model."""
    if kind == "pairs":
        return [*without_model(of_pairs()), *model]
    if kind == "matches":
        return [*without_model(of_pairs("task=text_pairs")), *model]
    if kind in ("tags", "crf"):
        write_tagged(folder)
        more = ["data.max_length=60", f"task.crf={str(kind == 'crf').lower()}"]
        return [*without_model(tagger(folder, *more)), *model]
    if kind in ("labels", "two texts"):
        write_labelled(folder, pairs=kind == "two texts")
        more = ["data.second=second"] if kind == "two texts" else []
        return [*without_model(classifier(folder, *more)), *model]
    if kind == "questions":
        write_questions(folder)
        return [*without_model(answering(folder)), *model]
    task = {"segments": ["task=masked_lm"], "sentences": ["task=vae_lm", "task.latent_size=8"]}
    return [*without_model(of_text(folder)), *model, *task.get(kind, [])]


QUICK = [
    ("text", TRANSFORMER),
    ("text", RECURRENT["lstm"]),
    ("pairs", TRANSFORMER),
    ("segments", BERT),
    ("sentences", VAE),
    ("crf", RECURRENT["lstm"]),
    ("labels", TRANSFORMER),
    ("questions", BERT),
]
MODELS = [TRANSFORMER, *RECURRENT.values()]
ALL = [
    (kind, model)
    for kind in ("text", "pairs", "segments", "sentences", "tags", "crf", "labels", "two texts")
    for model in MODELS
]
ALL += [("questions", model) for model in MODELS] + [("matches", model) for model in MODELS]
ALL += [(kind, BERT) for kind in ("tags", "crf", "labels", "two texts", "matches")]
SLOW = [combination for combination in ALL if combination not in QUICK]

COMPILED = [(kind, TRANSFORMER) for kind in ("text", "pairs", "labels", "matches")]
COMPILED += [("tags", BERT), ("questions", BERT), ("segments", BERT), ("sentences", VAE)]
COMPILED += [("crf", RECURRENT["lstm"])]


def name_of(value):
    return value if isinstance(value, str) else value[0].partition("=")[2]


def assert_passes(kind, model, folder):
    found = checked(recipe(kind, model, folder), folder)

    assert [result.name for result in found] == list(CHECKS)
    assert not [result for result in found if result.outcome.verdict == "failed"]
    assert all(result.outcome.says.endswith(".") for result in found)


@pytest.mark.parametrize(("kind", "model"), QUICK, ids=name_of)
def test_a_shipped_model_passes(kind, model, tmp_path):
    assert_passes(kind, model, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "model"), SLOW, ids=name_of)
def test_every_shipped_model_passes_with_every_task(kind, model, tmp_path):
    assert_passes(kind, model, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "model"), COMPILED, ids=name_of)
def test_compiled_networks_give_the_same_outputs(kind, model, tmp_path, capsys):
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()

    assert main(["check", *recipe(kind, model, tmp_path), "--compile"]) == 0

    assert torch._dynamo.utils.counters["frames"]["ok"] > 0
    assert "torch.compile gives the outputs" in " ".join(capsys.readouterr().out.split())


def test_the_command_writes_what_it_shows_and_tells_by_its_status(tmp_path, capsys):
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "own.yaml").write_text(OWN)
    typed = ["check", *without_model(of_text(tmp_path)), "model=own"]
    typed += ["--config-dir", str(tmp_path / "conf"), "--allow-targets", "misbuilt"]

    assert main([*typed, "--json", str(tmp_path / "good.json")]) == 0
    good = capsys.readouterr().out
    bad = ["model.fault='looks ahead'", "--json", str(tmp_path / "bad.json")]
    assert main([*typed, *bad]) == 1

    assert "0 failed" in good
    assert "1 failed" in capsys.readouterr().out
    content = json.loads((tmp_path / "bad.json").read_text())
    assert content["failed"] == 1
    assert [check["name"] for check in content["checks"]] == list(CHECKS)
    (failed,) = [check for check in content["checks"] if check["verdict"] == "failed"]
    assert failed["name"] == "causality"
    assert failed["means"]
    assert json.loads((tmp_path / "good.json").read_text())["failed"] == 0


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["--seconds", "0"], "--seconds 0: more than 0"),
        (["--json", "nowhere/out.json"], "there is no folder nowhere"),
        (["resume=logs/runs"], "check is of a run that has not begun"),
        (["model.widths=3"], "Transformer takes no 'widths'"),
        (["model=own"], "model"),
    ],
)
def test_a_mistake_is_one_line(typed, told, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert main(["check", *typed]) == 2

    errors = capsys.readouterr().err
    assert told in errors
    assert errors.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "kind"),
    [
        *(("bert", kind) for kind in ("segments", "tags", "crf", "labels", "questions")),
        *((model, "labels") for model in ("albert", "distilbert", "modernbert", "roberta")),
        *((model, "text") for model in ("gpt2", "gpt_neox", "llama", "opt", "qwen3")),
        *((model, "pairs") for model in ("bart", "marian", "t5")),
    ],
)
def test_a_pretrained_model_passes(model, kind, tmp_path):
    save_tiny(tmp_path / "model", model)
    pretrained = ["model=pretrained", f"model.path={tmp_path / 'model'}"]
    typed = recipe(kind, pretrained, tmp_path)

    found = checked([word for word in typed if not word.startswith("tokenizer")], tmp_path)

    failed = {result.name: result.outcome.says for result in found if is_failed(result)}
    assert failed.keys() <= {"eight examples"}, failed  # with a width of 16


def is_failed(result):
    return result.outcome.verdict == "failed"
