"""`evaluate` of text-to-text models: the figures of the run itself, and of lines of one's own."""

import json
import subprocess
import sys

import pytest

from lmexp.__main__ import main
from lmexp.corpora.reverse import Reverse
from lmexp.length_breakdown import by_length

MODEL = ["model=gru", "model.d_model=16", "model.num_layers=1"]
LENGTHS = ["data.corpus.min_length=4", "data.corpus.max_length=6", "data.corpus.vocabulary=8"]
SIZES = ["data.corpus.size=300", "data.corpus.val_size=20", "data.corpus.test_size=30"]
DATA = ["data=reverse", *LENGTHS, *SIZES, "data.batch_tokens=512"]
STEPS = ["trainer=debug", "trainer.max_steps=40", "trainer.validate_every_steps=40", "logger=none"]
SEARCH = ["eval.sample_pairs=0", "eval.beam_size=2", "eval.max_extra=2", "eval.min_ratio=1.0"]
SCORES = ["eval.metrics=[bleu,chrf,ter,exact_match]", "optimizer.lr=0.01"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated") / "run"
    assert main(["train", *MODEL, *DATA, *STEPS, *SEARCH, *SCORES, f"hydra.run.dir={folder}"]) == 0
    return folder


@pytest.fixture
def evaluate(run, tmp_path, capsys):
    """Runs the command; gives its exit status, the JSON and what it wrote."""

    def command(*arguments):
        out = tmp_path / "out.json"
        status = main(["evaluate", str(run), "--json", str(out), *map(str, arguments)])
        figures = json.loads(out.read_text()) if out.exists() else {}
        return status, figures, capsys.readouterr()

    return command


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    """The test split as two files."""
    folder = tmp_path_factory.mktemp("lines")
    corpus = Reverse(300, 4, 6, 8, 1, 20, 30)
    pairs = list(corpus.pairs("test"))
    for side in ("source", "target"):
        text = "".join(getattr(pair, side) + "\n" for pair in pairs)
        (folder / side).write_text(text)
    return folder


def test_the_test_split_has_the_figures_that_the_run_ended_with(evaluate, run):
    status, figures, captured = evaluate()
    summary = json.loads((run / "summary.json").read_text())

    assert status == 0
    assert figures["test/pairs"] == 30
    assert figures["test/bleu_signature"] == summary["test/bleu_signature"]
    for name in ("loss", "tokens", "bleu", "chrf", "ter", "exact_match"):
        assert figures[f"test/{name}"] == pytest.approx(summary[f"test/{name}"], rel=1e-6)
    assert "test/perplexity" in captured.out


def test_files_of_ones_own_score_as_the_split_that_holds_their_lines(evaluate, lines):
    _, of_split, _ = evaluate()
    _, of_files, _ = evaluate("--source", lines / "source", "--reference", lines / "target")

    for name in ("pairs", "loss", "bleu", "chrf", "ter"):
        assert of_files[f"file/{name}"] == of_split[f"test/{name}"]
    assert of_files["signature"]["split"] == str(lines / "source")


def test_scores_of_tokenised_lines_say_so(evaluate, lines):
    own = ["--source", lines / "source", "--reference", lines / "target"]
    _, plain, _ = evaluate(*own)
    _, tokenised, _ = evaluate(*own, "--tokenised")

    for name in ("bleu", "chrf", "ter"):
        signature = plain[f"file/{name}_signature"]
        assert tokenised[f"file/{name}_signature"] == f"{signature}, of tokenised text"


def test_scores_are_those_of_the_sacrebleu_command_on_the_written_outputs(
    evaluate, lines, tmp_path
):
    outputs = tmp_path / "outputs.txt"
    _, figures, _ = evaluate("--outputs", outputs)

    command = [sys.executable, "-m", "sacrebleu", str(lines / "target"), "-i", str(outputs)]
    names = ["bleu", "chrf", "ter"]
    printed = subprocess.run(
        [*command, "-m", *names, "-w", "9"], capture_output=True, text=True, check=True
    )
    scores = {entry["name"].lower()[:4]: entry["score"] for entry in json.loads(printed.stdout)}

    assert len(outputs.read_text().splitlines()) == 30
    assert scores["bleu"] > 0  # otherwise equality says nothing
    for name, own in zip(names, ("bleu", "chrf", "ter"), strict=True):
        assert figures[f"test/{own}"] == pytest.approx(scores[name], abs=1e-8)


def test_another_beam_is_another_signature(evaluate):
    _, wide, _ = evaluate("--beam", "3", "--length-penalty", "0")
    _, greedy, _ = evaluate("--beam", "1")

    assert wide["signature"]["eval.beam_size"] == 3
    assert wide["signature"]["eval.length_penalty"] == 0
    assert greedy["signature"]["eval.beam_size"] == 1
    assert wide["test/loss"] == greedy["test/loss"]
    assert "eval.batch_size" not in wide["signature"]


def test_shorter_and_longer_sources_are_told_apart(evaluate, tmp_path):
    picture = tmp_path / "lengths.png"
    _, _, captured = evaluate("--by-length", picture)

    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "characters of a source" in captured.out


def test_groups_by_length_have_the_scores_of_their_own_pairs():
    reference = "a b c d e f g h"
    texts = [["x" * n, reference] for n in (9, 1, 8, 2, 7, 3, 6, 4, 5, 10)]
    outputs = [reference if len(own[0]) <= 6 else reference[:-4] for own in texts]

    groups = by_length(texts, outputs, "en")

    assert [(group.shortest, group.longest) for group in groups] == [
        (1, 2),
        (3, 4),
        (5, 6),
        (7, 8),
        (9, 10),
    ]
    assert [group.pairs for group in groups] == [2] * 5
    assert [round(group.bleu) for group in groups[:3]] == [100] * 3
    # six of eight words, all n-grams right: the brevity penalty alone, exp(1 - 8 / 6)
    assert groups[4].bleu == pytest.approx(71.653, abs=1e-3)
    assert groups[4].length_ratio == 11 / 15


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--context", "4"], "is of a text-to-text model, which has no --context"),
        (["--carry"], "which has no --carry"),
        (["--split", "train"], "name its files with --source and --reference"),
        (["--source", __file__], "--reference is missing"),
        (["--reference", __file__], "--source is missing"),
        (["--source", "no.txt", "--reference", __file__], "--source no.txt: no such file"),
        (["--source", __file__, "--reference", __file__, "no.txt"], "no.txt: no such file"),
        (["--split", "val", "--source", __file__, "--reference", __file__], "exclude each other"),
        (["--execute"], "tests"),
        (["--tokenised"], "--tokenised is of the lines of --source"),
        (["--outputs", "."], "--outputs . is a folder"),
        (["--execute", "--source", __file__, "--reference", __file__], "lines have no tests"),
        (["--beam", "0"], "--beam 0: at least 1"),
        (["--length-penalty", "-1"], "--length-penalty -1.0: a number from 0 up"),
        (["--length-penalty", "nan"], "--length-penalty nan: a number from 0 up"),
        (["--batch-size", "0"], "--batch-size 0: at least 1"),
        (["--outputs", "nowhere/out.txt"], "there is no folder nowhere"),
        (["--outputs", "a", "--json", "a"], "--outputs a is --json too, and would be lost"),
        (["--by-length", "a.txt"], "--by-length a.txt: PNG is written"),
        (["--json", "last.ckpt"], "--json last.ckpt belongs to a run"),
        (
            ["--source", __file__, "--reference", __file__, "--outputs", __file__],
            "is --reference too, and would be lost",
        ),
    ],
)
def test_a_mistake_is_one_line_on_stderr(evaluate, arguments, message):
    status, figures, captured = evaluate(*arguments)

    assert (status, figures) == (2, {})
    assert message in captured.err
    assert "Traceback" not in captured.err


def test_references_that_are_not_as_many_as_sources_are_refused(evaluate, lines, tmp_path):
    short = tmp_path / "short.txt"
    short.write_text("1 2\n3 4\n")

    status, _, captured = evaluate("--source", lines / "source", "--reference", short)

    assert status == 2
    assert "30" in captured.err
    assert "2" in captured.err
