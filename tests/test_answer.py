"""What is done with a model that answers questions: answers, figures, and what is refused."""

import io
import json
import re

import pytest
import torch
from bigram import checkpoint_content
from question_runs import answering, write_questions

from lmexp import checkpoint as checkpoints
from lmexp.__main__ import main
from lmexp.answer import answers
from lmexp.answer_scores import AnswerScores, score_answer
from lmexp.loading import load
from lmexp.run_data import data_of_run

PAGE = "then Kim went to Paris"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("questions")
    write_questions(folder)
    return folder


@pytest.fixture(scope="module")
def run(folder):
    """A run whose questions have an answer in two of three cases."""
    assert main(["train", *answering(folder), f"hydra.run.dir={folder / 'run'}"]) == 0
    return folder / "run"


@pytest.fixture
def answer(run, tmp_path, capsys):
    """Runs the command on a context; gives its exit status, records and messages."""
    page = tmp_path / "page.txt"

    def command(context, *questions, more=()):
        if context is not None:
            page.write_bytes(context if isinstance(context, bytes) else context.encode())
        asked = [part for text in questions for part in ("--question", text)]
        status = main(["answer", str(run), "--context", str(page), *asked, *more])
        told = capsys.readouterr()
        return status, [json.loads(line) for line in told.out.splitlines()], told.err

    return command


def test_each_question_has_its_answer_or_none(answer):
    status, records, said = answer(PAGE, "who is it?", "where is it?", "when is it?")

    assert (status, said) == (0, "")
    assert [(one["answer"], one["start"]) for one in records] == [
        ("Kim", 5),
        ("Paris", 17),
        ("", None),
    ]
    assert [one["question"] for one in records] == ["who is it?", "where is it?", "when is it?"]
    assert all(0.3 < one["confidence"] <= 1 for one in records)


def test_a_context_may_come_from_standard_input(answer, run, capsys, monkeypatch):
    expected = answer(PAGE, "who is it?")[1]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(PAGE.encode())))

    assert main(["answer", str(run), "--context", "-", "--question", "who is it?"]) == 0

    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == expected


@pytest.fixture(scope="module")
def loaded(run):
    """The model, which answers every question, and its data module."""
    found = load(run)
    found.task.no_answer_margin = None
    return found, data_of_run(found, [])


@pytest.mark.parametrize(
    "context",
    [
        "他说👍🏽 Kim 去了巴黎。\r\n然后 Paris",
        "\ufeff🙂🙂Bob🙂 Oslo",
        "e\u0301te\u0301 Ann\u3000Rome",
    ],
)
def test_start_counts_characters_whatever_they_are(loaded, context):
    found, data = loaded

    for one in answers(found.task, data, context, ["who is it?", "where is it?"]):
        start, text = one["start"], one["answer"]
        assert text
        assert context[start : start + len(text)] == text


@pytest.mark.parametrize("before", [0, 11, 57, 400])
def test_of_a_long_context_every_window_is_read(answer, before):
    context = " ".join(["then went to"] * before + ["Kim Paris"] + ["and from with"] * 100)

    _, records, said = answer(context, "who is it?", "where is it?")

    assert said == ""
    assert [one["answer"] for one in records] == ["Kim", "Paris"]
    assert records[0]["start"] == context.index("Kim")


def test_windows_may_be_read_in_any_batches(loaded, monkeypatch):
    found, data = loaded
    context = " ".join(["then Ann went to Rome and from with"] * 80 + ["Kim sees Oslo"])
    whole = list(answers(found.task, data, context, ["who is it?"]))

    asked = data.asked(context, "who is it?")
    assert len(asked.batches) == 2  # of at most eval.batch_size=32 windows
    monkeypatch.setattr(data, "evaluation", data.evaluation.__class__(1, 0))

    assert list(answers(found.task, data, context, ["who is it?"])) == whole


def test_a_question_or_a_word_that_is_cut_is_said(answer):
    question = "who is it then and from?"

    _, records, said = answer(PAGE, question, "who is it?")

    assert said == f"lmexp: {question!r}: 1 questions cut at 5 tokens\n"
    assert len(records) == 2


@pytest.mark.parametrize(
    ("context", "question", "told"),
    [
        (None, "who?", "page.txt: no such file"),
        ("", "who?", "page.txt has no text to answer from"),
        (" \n\u3000", "who?", "page.txt has no text to answer from"),
        (b"Ann\xff", "who?", "page.txt is not UTF-8: byte 0xFF at offset 3: save"),
        (PAGE, " ", "--question ' ' asks nothing: write a question"),
        (PAGE, "who\udcff?", "--question is not UTF-8: byte 0xFF at offset 3"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_one_line(answer, context, question, told):
    status, records, said = answer(context, "who is it?", question)

    assert (status, records) == (2, [])
    assert said.startswith("lmexp: ")
    assert said.count("\n") == 1
    assert told in said


def test_a_folder_and_a_closed_standard_input_are_refused(run, folder, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", None)

    for context, told in ((str(folder), "no such file"), ("-", "standard input is closed")):
        asked = ["answer", str(run), "--context", context, "--question", "who?"]
        assert main(asked) == 2
        assert told in capsys.readouterr().err


def test_models_of_another_kind_are_refused_with_their_command(run, tmp_path, capsys):
    other, page = tmp_path / "other.ckpt", tmp_path / "page.txt"
    checkpoints.save(checkpoint_content(tmp_path), other)
    page.write_text(PAGE)

    asked = ["answer", str(other), "--context", str(page), "--question", "who?"]
    assert main([*asked, "--allow-targets", "bigram"]) == 2
    assert "is of a language model: lmexp generate" in capsys.readouterr().err
    assert main(["generate", str(run), "--prompt", "who"]) == 2
    assert "a model that answers questions: lmexp answer" in capsys.readouterr().err


def figures_of(run, tmp_path, *more):
    out = tmp_path / "out.json"
    assert main(["evaluate", str(run), "--json", str(out), *more]) == 0
    return json.loads(out.read_text())


def test_figures_are_those_of_the_answers_one_by_one(run, folder, tmp_path, capsys):
    found = load(run)
    data = data_of_run(found, [])
    scores = {True: AnswerScores(), False: AnswerScores()}
    for article in json.loads((folder / "test.json").read_text())["data"]:
        (paragraph,) = article["paragraphs"]
        (qa,) = paragraph["qas"]
        (one,) = answers(found.task, data, paragraph["context"], [qa["question"]])
        right = [answer["text"] for answer in qa["answers"]]
        own = score_answer(one["answer"], right, by_character=False)
        scores[bool(right)] = scores[bool(right)].plus(own)
    total = scores[True].plus(scores[False])

    figures = figures_of(run, tmp_path)

    assert figures["test/exact_match"] == pytest.approx(total.exact_match)
    assert figures["test/f1"] == pytest.approx(total.mean_f1)
    assert figures["test/f1_with_answer"] == pytest.approx(scores[True].mean_f1)
    assert figures["test/f1_without_answer"] == pytest.approx(scores[False].mean_f1)
    assert figures["test/questions"] == 30
    assert min(scores[True].mean_f1, scores[False].mean_f1) > 0.8  # it has learnt what to do
    shown = " ".join(capsys.readouterr().out.split())
    assert re.search(r"test/loss │ \d\.\d+ nats per window", shown)
    assert re.search(r"test/questions │ 30 ", shown)


def test_figures_are_those_that_the_run_ended_with_whatever_the_batch_size(run, tmp_path):
    summary = json.loads((run / "summary.json").read_text())

    figures = [figures_of(run, tmp_path, "--batch-size", size) for size in ("1", "7", "64")]

    names = [name for name in figures[0] if name.startswith("test/")]
    assert len(names) == 6
    for found in figures:
        assert {n: found[n] for n in names} == pytest.approx({n: summary[n] for n in names})


def test_options_of_other_models_are_refused(run, tmp_path, capsys):
    assert main(["evaluate", str(run), "--confusion", str(tmp_path / "a.png")]) == 2
    assert "a model that answers questions, which has no --confusion" in capsys.readouterr().err


def test_samples_are_questions_answers_and_what_is_right(run, capsys):
    assert main(["show", str(run)]) == 0

    shown = capsys.readouterr().out
    assert re.search(r"(who|where|when) is it\?\n  .+; right: .+", shown)
    assert "val/f1" in shown


def test_the_average_of_checkpoints_answers_too(run, answer, capsys):
    for number, name in enumerate(("last.ckpt", "best.ckpt")):
        content = checkpoints.read(run / "checkpoints" / name)
        content["training"]["steps_done"] += number
        checkpoints.save(content, run / "checkpoints" / f"step-{1000 + number}.ckpt")

    assert main(["average", str(run), "--last", "2"]) == 0

    assert "python -m lmexp answer" in capsys.readouterr().out
    average = load(run / "checkpoints" / "average_last_2.ckpt")
    assert torch.isfinite(average.task.network.head.weight).all()
    (one,) = answers(average.task, data_of_run(average, []), PAGE, ["who is it?"])
    assert one["answer"] == "Kim"
