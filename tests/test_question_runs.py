"""Runs on questions: what is refused in one line, what is counted, what is planned."""

import json

import pytest
from question_runs import answering, paragraph, write, write_questions

from lmexp.__main__ import main

GOOD = paragraph("Ann went to Rome", ("who?", ["Ann"]), ("where?", ["Rome"]))
ABSENT = paragraph("Ann went to Rome", ("when?", []), ("why?", []))


@pytest.fixture
def folder(tmp_path):
    write_questions(tmp_path, sizes=(40, 8, 8))
    return tmp_path


def train(folder, *more):
    brief = ["trainer.max_steps=2", "trainer.validate_every_steps=2"]
    return main(["train", *answering(folder, *brief), f"hydra.run.dir={folder / 'run'}", *more])


def dropped(folder, split):
    return json.loads((folder / "run" / "environment.json").read_text())["data"][split]["dropped"]


@pytest.mark.parametrize(
    ("paragraphs", "more", "told"),
    [
        (
            [ABSENT],
            [],
            "test.json has an answer, and there is nothing to learn: give it questions that their "
            "context answers",
        ),
        (
            [paragraph("Ann went", ("who?", ["Bob"]))],
            [],
            "none of the 1 questions of train has an answer that is in its context",
        ),
        ([], [], "train.json has no questions: name files with text in them"),
        ([paragraph(" ", ("who?", []))], [], "1 questions about a context without a word"),
        (
            [GOOD],
            ["data.max_question=9"],
            "data.max_question=9 of data.max_length=20 tokens: a question may take half of what is "
            "left beside three reserved ids, at most 8",
        ),
        ([GOOD], ["data.max_length=4"], "data.max_length=4"),
        ([GOOD], ["task.max_answer=0"], "task.max_answer=0"),
        ([GOOD], ["data.max_questions=4"], "did you mean 'max_question'"),
        ([GOOD], ["data.train=trains.json"], "trains.json: there is no such file"),
    ],
)
def test_what_cannot_be_learnt_is_refused_in_one_line(folder, paragraphs, more, told, capsys):
    write(folder / "train.json", *paragraphs)

    assert train(folder, *more) == 2

    said = capsys.readouterr().err
    assert said.startswith(("lmexp: ", "conf/"))
    assert "Traceback" not in said
    assert told in " ".join(said.split())


def test_what_is_dropped_or_changed_is_counted(folder):
    long = " ".join(["Ann"] * 40)
    odd = [
        paragraph("Ann went to Rome", ("who?", ["Bob"])),
        paragraph("Annabel went", ("who?", ["Ann"])),
        paragraph("Kim", ("who is it who is it?", ["Kim"])),
        paragraph(long, ("who?", [long])),
    ]
    write(folder / "train.json", GOOD, *odd)

    assert train(folder) == 0

    assert dropped(folder, "train") == {
        "answer that is not in its context": 1,
        "answers longer than windows overlap, trained as absent": 1,
        "answers that begin or end within a word": 1,
        "question none of whose answers is in its context": 1,
        "questions cut at 5 tokens": 1,
    }
    assert dropped(folder, "val") == {}


def test_a_val_split_without_any_answer_has_figures(folder):
    write(folder / "val.json", ABSENT)

    assert train(folder) == 0

    summary = json.loads((folder / "run" / "summary.json").read_text())
    assert {"val/f1", "val/exact_match", "test/f1_with_answer"} <= summary.keys()
    assert "val/f1_with_answer" not in summary


def test_a_run_does_not_go_on_with_other_questions(folder, capsys):
    assert train(folder) == 0
    write(folder / "train.json", GOOD)

    assert main(["train", f"resume={folder / 'run'}", "trainer.max_steps=4"]) == 2

    said = capsys.readouterr().err
    assert "have changed since the run began" in said
    assert "Traceback" not in said


def test_a_plan_is_of_questions(folder, capsys):
    assert main(["plan", *answering(folder), f"hydra.run.dir={folder / 'run'}"]) == 0

    told = " ".join(capsys.readouterr().out.split())
    assert "40 questions" in told
    assert "QuestionNetwork by" in told
    assert "labels" not in told


def test_a_plan_without_reading_is_of_the_network(folder, capsys):
    assert main(["plan", "--no-data", *answering(folder, "tokenizer=byte")]) == 0

    assert "not read: --no-data" in capsys.readouterr().out
