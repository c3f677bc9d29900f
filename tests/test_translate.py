"""Text to text through the commands: train, resume, translate; what does not go together."""

import io
import json
from types import SimpleNamespace

import pytest

from lmexp import checkpoint as checkpoints
from lmexp.__main__ import main

TINY = {
    "transformer": ["model.d_model=16", "model.num_layers=1", "model.num_heads=2", "model.d_ff=32"],
    "gru": ["model.d_model=16", "model.num_layers=1"],
}
FEW = ["data.corpus.size=200", "data.corpus.val_size=20", "data.corpus.test_size=20"]
BRIEF = ["data.batch_tokens=256", "trainer=debug", "trainer.max_steps=6", "logger=none"]
CHECKED = ["trainer.validate_every_steps=3", "trainer.checkpoint_every_steps=3"]
EVAL = ["eval.sample_pairs=4", "eval.beam_size=2", "eval.max_extra=2", "schedule.warmup_steps=2"]


@pytest.fixture(scope="module", params=TINY)
def model(request):
    return request.param


@pytest.fixture(scope="module")
def run(model, tmp_path_factory):
    """A finished run of each encoder-decoder."""
    folder = tmp_path_factory.mktemp("pairs") / "run"
    assert main(["train", *typed(model), f"hydra.run.dir={folder}"]) == 0
    return folder


def typed(model):
    return [f"model={model}", *TINY[model], "data=reverse", *FEW, *BRIEF, *CHECKED, *EVAL]


def losses(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return {line["step"]: line["val/loss"] for line in map(json.loads, lines) if "val/loss" in line}


def feed(monkeypatch, data):
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(data)))


def test_a_run_tests_what_beam_search_finds_with_its_signature(run):
    summary = json.loads((run / "summary.json").read_text())

    assert 0 <= summary["test/bleu"] <= 100
    assert summary["test/tokens"] > 0
    assert summary["test/bleu_signature"].startswith("nrefs:1|case:mixed|")
    assert "val/bleu" in (run / "metrics.jsonl").read_text()
    assert summary["sample"].count("reference  ") == 4


def test_an_interrupted_run_goes_on_bit_for_bit(run, model, tmp_path):
    folder = tmp_path / "cut"
    assert (
        main(["train", *typed(model), "trainer.max_time=00:00:00", f"hydra.run.dir={folder}"]) == 0
    )
    began = checkpoints.read(folder / "checkpoints" / "last.ckpt")["training"]["steps_done"]

    assert main(["train", f"resume={folder}", "trainer.max_time=null"]) == 0

    assert began < 6
    whole = checkpoints.read(run / "checkpoints" / "last.ckpt")["state_dict"]
    resumed = checkpoints.read(folder / "checkpoints" / "last.ckpt")["state_dict"]
    assert all((resumed[name] == value).all() for name, value in whole.items())
    assert losses(folder)[6] == losses(run)[6]


def test_every_line_in_gives_one_line_out(run, monkeypatch, capfdbinary):
    lines = [
        b"3 4 5",
        b"",
        b"   ",
        b"\xff 3",
        b"7\r",
        "\ufffd".encode(),
        b"\xe2\x80\xa8 1",
        b"9 " * 200,
        b"2",
    ]
    feed(monkeypatch, b"\n".join(lines))

    assert main(["translate", str(run)]) == 0

    out, err = capfdbinary.readouterr()
    assert out.count(b"\n") == len(lines)
    assert out.split(b"\n")[1:3] == [b"", b""]
    assert b"1 lines are not UTF-8 throughout" in err
    assert b"1 lines are longer than 31 tokens" in err


def test_nothing_in_gives_nothing_out(run, monkeypatch, capfdbinary):
    feed(monkeypatch, b"")
    assert main(["translate", str(run), "--beam", "1"]) == 0
    assert capfdbinary.readouterr().out == b""


def test_the_order_and_number_of_lines_changes_no_output(run, monkeypatch, capfdbinary):
    lines = [b"3 4 5", b"1", b"9 9 2 4 1 3", b"5 5"]
    outputs = []
    for some in (lines, lines[::-1], [lines[2]]):
        feed(monkeypatch, b"\n".join(some) + b"\n")
        assert main(["translate", str(run)]) == 0
        outputs.append(capfdbinary.readouterr().out.splitlines())

    assert outputs[0] == outputs[1][::-1]
    assert outputs[2] == [outputs[0][2]]


@pytest.mark.parametrize("command", [["evaluate"], ["generate", "--prompt", "a"]])
def test_commands_of_language_models_name_the_right_one(command, run, capsys):
    assert main([*command, str(run)]) == 2
    assert "is of a text-to-text model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("task=causal_lm data=reverse", "task=causal_lm reads text; data=reverse is of pairs"),
        ("task=translation", "task=translation reads pairs; data=python_docs is of text"),
        ("data=reverse eval=windows", "data=reverse"),
        ("data=reverse model=bert", "there is no conf/model/bert.yaml"),
    ],
)
def test_text_and_pairs_do_not_mix(typed, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    assert main(["train", *typed.split()]) == 2

    error = capsys.readouterr().err
    assert error.count("\n") == 1
    if "eval=windows" in typed:
        assert "reads pairs; eval=windows is of text: choose another eval=" in error
    else:
        assert told in error


def test_plan_says_that_it_knows_no_pairs(capsys):
    assert main(["plan", "data=reverse"]) == 2
    assert "plan knows runs of language models only" in capsys.readouterr().err
