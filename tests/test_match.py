"""Retrieval through the commands: train, evaluate, match."""

import io
import json
from types import SimpleNamespace

import labelled_runs
import pytest

from lmexp.__main__ import main
from lmexp.loading import load
from lmexp.recipe import main as train

SIZES = ["model=gru", "model.d_model=16", "model.num_layers=1", "tokenizer=word"]
ANSWERS = ("card arrival", "lost phone", "exchange rate", "top up")
QUESTIONS = [(f"about {answer} number {n}", answer) for n in range(12) for answer in ANSWERS]


def typed(folder) -> list[str]:
    """A run on the files of a folder, but for where it goes."""
    overrides = ["data=banking77_answers", f"data.root={folder}", "data.batch_size=8"]
    short = ["trainer.max_steps=40", "trainer.accelerator=cpu", "optimizer.lr=0.01", "logger=none"]
    more = ["schedule=constant", "trainer.validate_every_steps=20", "trainer.devices=1"]
    return [*SIZES, *overrides, *short, *more]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("match")
    lines = ["text,category", *(f"{question},{answer}" for question, answer in QUESTIONS)]
    for name in ("train", "test"):
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    assert train([*typed(folder), f"hydra.run.dir={folder / 'run'}"]) == 0
    return folder / "run"


def test_questions_find_their_answers(run):
    summary = json.loads((run / "summary.json").read_text())

    assert summary["test/recall_at_1"] == summary["test/recall_at_1_of_all"] == 1.0
    assert summary["test/candidates"] == 4
    assert summary["test/popularity_recall_at_1_of_all"] == 0.25  # each answer a quarter


def test_evaluate_gives_the_figures_of_the_run(run, tmp_path):
    summary = json.loads((run / "summary.json").read_text())

    assert main(["evaluate", str(run), "--json", str(tmp_path / "out.json")]) == 0

    found = json.loads((tmp_path / "out.json").read_text())
    for name in ("test/mrr", "test/recall_at_10", "test/mrr_of_all"):
        assert found[name] == pytest.approx(summary[name])


def test_an_interrupted_run_goes_on_bit_for_bit(run, tmp_path):
    labelled_runs.assert_goes_on_bit_for_bit(run, typed(run.parent), tmp_path / "cut")


def test_match_puts_the_right_candidate_first(run, tmp_path, capsys):
    (tmp_path / "texts.txt").write_text("\n".join(ANSWERS) + "\n\n")
    text = ["--text", "about lost phone", "--text", "about top up"]

    assert main(["match", str(run), "--candidates", str(tmp_path / "texts.txt"), *text]) == 0

    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["matches"][0]["text"] for record in records] == ["lost phone", "top up"]
    cosines = [match["cosine"] for match in records[0]["matches"]]
    assert len(cosines) == 4
    assert cosines == sorted(cosines, reverse=True)


def test_a_checkpoint_restores_the_vectors_bit_for_bit(run):
    first, second = (load(run).task.read([(10, 3), (11, 12, 3)]) for _ in range(2))

    assert first.equal(second)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--candidates", "absent.txt"], "--candidates absent.txt: no such file"),
        (["--candidates", "empty.txt"], "empty.txt has no text: write one a line"),
        (["--candidates", "latin.txt"], "is not UTF-8: byte 0x"),
        (["--candidates", "a.txt", "--top", "0"], "--top 0: at least 1"),
    ],
)
def test_mistakes_are_one_line(arguments, message, run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").write_text("\n \n")
    (tmp_path / "latin.txt").write_bytes("é\n".encode("latin-1"))
    (tmp_path / "a.txt").write_text("a\n")

    assert main(["match", str(run), "--text", "a", *arguments]) != 0

    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_another_command_says_what_the_model_is_for(run, capsys):
    assert main(["generate", str(run), "--prompt", "a"]) != 0

    assert "lmexp match" in capsys.readouterr().err


def test_what_is_not_utf8_is_read_and_said(run, tmp_path, capfdbinary, monkeypatch):
    (tmp_path / "texts.txt").write_text("lost phone\ntop up\n")
    stdin = SimpleNamespace(buffer=io.BytesIO(b"about lost\xff phone\n"))
    monkeypatch.setattr("sys.stdin", stdin)

    assert main(["match", str(run), "--candidates", str(tmp_path / "texts.txt")]) == 0

    out, err = capfdbinary.readouterr()
    assert json.loads(out.splitlines()[-1])["text"] == "about lost\ufffd phone"
    assert b"1 lines are not UTF-8 throughout" in err


def test_texts_that_are_too_long_are_said_to_be_cut(run, tmp_path, capsys):
    (tmp_path / "texts.txt").write_text("lost phone\n" + "lost " * 300 + "\n")

    assert (
        main(["match", str(run), "--candidates", str(tmp_path / "texts.txt"), "--text", "a"]) == 0
    )

    assert "1 texts are longer than 127 tokens" in capsys.readouterr().err


def test_plan_counts_pairs(run, capsys):
    assert main(["plan", *typed(run.parent)]) == 0

    out = " ".join(capsys.readouterr().out.split())
    assert "8 pairs at most, 7 pairs on average" in out  # 43 or 44 in 6 steps


@pytest.mark.slow
def test_any_pairs_can_be_matched(tmp_path):
    (tmp_path / "pairs.tsv").write_text("".join(f"went {n}\tOslo {n}\n" for n in range(60)))
    asked = ["data=parallel", "task=text_pairs", f"data.train={tmp_path / 'pairs.tsv'}"]
    asked += ["data.fields=[0,1]", "data.batch_size=8", "trainer=debug", "logger=none"]

    assert train([*SIZES, *asked, f"hydra.run.dir={tmp_path / 'run'}"]) == 0

    assert "test/recall_at_10" in json.loads((tmp_path / "run" / "summary.json").read_text())


def test_sets_that_score_texts_say_how_they_are_matched(tmp_path, capsys):
    asked = ["data=dates", "task=text_pairs", "trainer=debug", "logger=none"]
    asked += ["trainer.max_steps=1", f"hydra.run.dir={tmp_path / 'run'}"]
    assert train([*SIZES, *asked]) == 2
    assert "'~eval.metrics' on the command line takes it out" in capsys.readouterr().err

    assert train([*SIZES, *asked, "~eval.metrics"]) == 0
