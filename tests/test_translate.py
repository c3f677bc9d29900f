"""Text to text through the commands: train, resume, translate; what does not go together."""

import io
import json
from types import SimpleNamespace

import pytest

from lmexp import checkpoint as checkpoints
from lmexp.__main__ import main
from lmexp.decoding.beam import Hypothesis
from lmexp.translate import as_line

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


@pytest.mark.parametrize("options", [[], ["--coverage-penalty", "0.2"]])
def test_n_best_gives_n_ranked_lines_for_every_line(options, run, monkeypatch, capfdbinary):
    feed(monkeypatch, b"3 4 5\n\n7 8\n")

    assert main(["translate", str(run), "--n-best", "2", *options]) == 0

    fields = [line.split(b"\t") for line in capfdbinary.readouterr().out.splitlines()]
    assert [field[0] for field in fields] == [b"0", b"0", b"1", b"1", b"2", b"2"]
    assert fields[2][1:] == fields[3][1:] == [b"-inf", b""]
    for first, second in (fields[:2], fields[4:]):
        assert float(first[1]) >= float(second[1])
        assert first[2] != second[2]


def test_the_first_of_n_best_is_the_line_without(run, monkeypatch, capfdbinary):
    outputs = []
    for options in ([], ["--n-best", "2"]):
        feed(monkeypatch, b"3 4 5\n9 9 1\n")
        assert main(["translate", str(run), *options]) == 0
        outputs.append(capfdbinary.readouterr().out.splitlines())

    assert [line.split(b"\t")[2] for line in outputs[1][::2]] == outputs[0]


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["--n-best", "3"], "--n-best 3: from 1 to the 2 hypotheses of the beam; write --beam 3"),
        (["--n-best", "0"], "--n-best 0: from 1 to the 2 hypotheses"),
        (["--coverage-penalty", "-0.5"], "--coverage-penalty -0.5: a number from 0 up"),
        (["--to", "fr"], "no tag <2fr>: it has none, for want of data.language_tags"),
    ],
)
def test_options_that_make_no_sense_are_refused(typed, told, run, monkeypatch, capsys):
    feed(monkeypatch, b"3\n")
    assert main(["translate", str(run), *typed]) == 2
    assert told in capsys.readouterr().err


def test_a_negative_coverage_penalty_of_a_recipe_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "data=reverse", "eval.coverage_penalty=-0.2"]) == 2
    assert "eval.coverage_penalty=-0.2: coverage_penalty " in capsys.readouterr().err


def test_sources_are_tagged_with_the_language_of_training_or_the_one_asked_for(
    tmp_path, monkeypatch, capfdbinary
):
    folder, seen = tmp_path / "run", []
    options = ["data=dates", "data.size=400", "data.pair=en-de", "data.language_tags=[de,fr]"]
    few = ["trainer.max_steps=2", "eval.sample_pairs=2", "eval.max_extra=0", *TINY["gru"]]
    rest = ["model=gru", "trainer=debug", "logger=none", f"hydra.run.dir={folder}"]
    assert main(["train", *options, *few, *rest]) == 0

    def translate(network, sources, beam, **_):
        seen.append(sources)
        return [[Hypothesis([], 0.0, 0.0)] for _ in sources]

    monkeypatch.setattr("lmexp.decoding.translate.translate", translate)
    for to in ([], ["--to", "fr"], ["--to", "de"]):
        feed(monkeypatch, b"<2de>\n" + b"9" * 500 + b"\n")
        assert main(["translate", str(folder), *to]) == 0

    german, french, again = seen
    assert german == again
    for one, other in zip(german, french, strict=True):
        assert (one[0], other[0]) == (7, 8)
        assert one[1:] == other[1:]
        assert {7, 8}.isdisjoint(one[1:])
    assert len(german[1]) == 128
    capfdbinary.readouterr()
    assert main(["translate", str(folder), "--to", "es"]) == 2
    assert b"no tag <2es>: it has those of de, fr" in capfdbinary.readouterr().err


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


def test_a_command_of_language_models_names_the_right_one(run, capsys):
    assert main(["generate", str(run), "--prompt", "a"]) == 2
    assert (
        f"is of a text-to-text model: lmexp translate {run} < input.txt: puts out"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("task=causal_lm data=reverse", "task=causal_lm reads text; data=reverse is of pairs"),
        ("task=translation", "task=translation reads pairs; data=python_docs is of text"),
        ("data=reverse task=masked_lm model=bert", "reads segments; data=reverse is of pairs"),
        ("reading=segments", "task=causal_lm reads text; reading=segments is of segments"),
        ("eval=segments", "task=causal_lm reads text; eval=segments is of segments"),
        ("data=reverse eval=windows", "data=reverse"),
        ("data=reverse model=bert", "needs an encoder_decoder; model=bert builds: encoder."),
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


@pytest.mark.parametrize("command", ["translate", "chat"])
def test_a_closed_standard_input_is_one_line(command, run, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", None)

    assert main([command, str(run)]) == 2

    error = capsys.readouterr().err
    assert error.count("\n") == 1


@pytest.mark.parametrize("end", ["\n", "\r", "\t", "\x85", "\u2028"])
def test_a_text_is_one_line_for_every_program(end):
    assert as_line(f"a{end}b") == "a b"


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true"])
def test_every_precision_puts_out_a_line_for_every_line(precision, run, monkeypatch, capsysbinary):
    feed(monkeypatch, b"1 2 3\n\n4 5\n")

    assert main(["translate", str(run), "--precision", precision]) == 0

    assert capsysbinary.readouterr().out.count(b"\n") == 3
