"""Questions in SQuAD's format: answers not where they are said to be, and what is wrong."""

import gzip
import json

import pytest

from lmexp.corpora.piece import Answer
from lmexp.corpora.questions import Questions, nearest

DEFAULTS = {
    "train": "*",
    "val": None,
    "test": None,
    "val_fraction": 0.0,
    "test_fraction": 0.0,
    "language": None,
    "on_invalid": "error",
}


def qa(*answers, **changes):
    listed = [{"text": text, "answer_start": start} for text, start in answers]
    return {"id": "1", "question": "who?", "answers": listed} | changes


def article(context, *asked, **changes):
    return {"paragraphs": [{"context": context, "qas": list(asked)}]} | changes


def write(path, *articles):
    path.write_text(json.dumps({"version": "1.1", "data": list(articles)}, indent=1))


def corpus(root, **changes):
    return Questions(**DEFAULTS | changes, root=str(root))


def test_questions_have_their_context_and_answers(tmp_path):
    write(tmp_path / "a.json", article("Ann met Bob", qa(("Bob", 8), ("Ann", 0)), qa(id="2")))

    first, second = corpus(tmp_path).questions("train")

    answers = (Answer("Bob", 8), Answer("Ann", 0))
    assert first == ("1", "who?", "Ann met Bob", answers)
    assert second == ("2", "who?", "Ann met Bob", ())


def test_what_is_impossible_has_no_answers_whatever_is_plausible(tmp_path):
    asked = qa(("Bob", 8), is_impossible=True, plausible_answers=[{"text": "Ann"}])
    write(tmp_path / "a.json", article("Ann met Bob", asked, qa(("Ann", 0), is_impossible=False)))

    found = list(corpus(tmp_path).questions("train"))

    assert [question.answers for question in found] == [(), (Answer("Ann", 0),)]


@pytest.mark.parametrize(
    ("start", "place"), [(0, 0), (1, 0), (2, 0), (3, 4), (5, 4), (99, 8), (-1, 0)]
)
def test_the_nearest_place_of_a_text_is_found(start, place):
    assert nearest("Bob", "Bob Bob Bob", start) == place


def test_texts_that_are_nowhere_have_no_nearest_place():
    assert nearest("Ann", "Bob", 0) is None
    assert nearest("", "Bob", 0) is None
    assert nearest("aa", "aaaa", 2) == 2  # places may overlap


def test_answers_elsewhere_are_moved_and_those_nowhere_dropped(tmp_path):
    asked = qa(("Bob", 9), ("Bobby", 8), ("Ann", -8))
    lost = qa(("Carl", 0), ("", 0), id="2")
    write(tmp_path / "a.json", article("Ann met Bob", asked, lost))
    files = corpus(tmp_path)

    (found,) = files.questions("train")

    assert found.answers == (Answer("Bob", 8), Answer("Ann", 0))
    assert files.counts == {
        "answer moved to where its text is": 2,
        "answer that is not in its context": 3,
        "question none of whose answers is in its context": 1,
    }


def test_a_file_of_which_no_answer_is_in_its_context_is_refused(tmp_path):
    write(tmp_path / "a.json", article("Ann met Bob", qa(("Carl", 0)), qa(("Dora", 0))))

    with pytest.raises(
        ValueError, match=r"a\.json: none of the 2 questions of train has an answer"
    ):
        list(corpus(tmp_path).questions("train"))


def test_articles_are_cut_whole_and_by_title_in_every_language(tmp_path):
    for language in ("en", "de"):
        articles = [
            article(f"{language} {number}", qa(), qa(), title=f"t{number % 40}")
            for number in range(80)
        ]
        write(tmp_path / f"a.{language}.json", *articles)
    cut = {"train": "a.{language}.json", "val_fraction": 0.2, "test_fraction": 0.2}

    parts = {
        language: [
            [q.context.split()[1] for q in corpus(tmp_path, language=language, **cut).questions(s)]
            for s in ("train", "val", "test")
        ]
        for language in ("en", "de")
    }

    assert parts["en"] == parts["de"]
    assert sum(map(len, parts["en"])) == 160
    titles = [{int(number) % 40 for number in part} for part in parts["en"]]
    assert all(titles)
    assert not titles[0] & titles[1] | titles[0] & titles[2] | titles[1] & titles[2]


def test_a_packed_file_is_read_likewise(tmp_path):
    write(tmp_path / "a.json", article("Bob", qa(("Bob", 0))))
    (tmp_path / "b.json.gz").write_bytes(gzip.compress((tmp_path / "a.json").read_bytes()))

    plain, packed = (corpus(tmp_path, train=name) for name in ("a.json", "b.json"))

    assert list(plain.questions("train")) == list(packed.questions("train"))
    assert plain.fingerprint() == packed.fingerprint()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[]", r"a\.json has no list 'data' \(list instead\): write SQuAD's format"),
        (b'{"data": {}}', r"a\.json has no list 'data' \(data instead\)"),
        (b'{"data": [', r"a\.json is no JSON"),
        (b'{"data": ["\xff"]}', r"a\.json is not UTF-8: byte 0xFF at offset 11"),
        (b'{"data": []}', r"a\.json has no questions: name files with text in them"),
        (b'{"data": [{"title": "t"}]}', r"a\.json, article 1 has no list 'paragraphs' \(title i"),
        (b'{"data": [{"paragraphs": [{"context": "c"}]}]}', "paragraph 1 has no list 'qas'"),
        (
            b'{"data": [{"paragraphs": [{"qas": []}]}]}',
            "article 1, paragraph 1: 'context' is NoneType, not text",
        ),
    ],
)
def test_files_of_another_form_are_refused(data, message, tmp_path):
    (tmp_path / "a.json").write_bytes(data)

    with pytest.raises(ValueError, match=message):
        list(corpus(tmp_path).questions("train"))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"id": "1", "question": "who?"}, r"question 1 has no list 'answers' \(id, question ins"),
        (qa(question=None), "question 1: 'question' is NoneType, not text"),
        (qa(answers=[{"text": "Bob"}]), "question 1: an answer is {'text': 'Bob'}, not"),
        (qa(answers=["Bob"]), "question 1: an answer is 'Bob', not"),
        (qa(("Bob", "0")), "question 1: an answer is .* answer_start counts characters from 0"),
        (3, r"question 1 has no list 'answers' \(int instead\)"),
    ],
)
def test_questions_of_another_form_are_refused(asked, message, tmp_path):
    write(tmp_path / "a.json", article("Ann met Bob", asked))

    with pytest.raises(ValueError, match=message):
        list(corpus(tmp_path).questions("train"))


def test_what_utf8_cannot_hold_is_dropped_and_counted(tmp_path):
    write(tmp_path / "a.json", article("Bob \ud800", qa(("Bob", 0))), article("Bob", qa()))
    files = corpus(tmp_path, on_invalid="drop")

    assert [question.context for question in files.questions("train")] == ["Bob"]
    assert files.counts == {"invalid UTF-8": 1}
    with pytest.raises(ValueError, match="article 1, paragraph 1: 'context': the surrogate"):
        list(corpus(tmp_path).questions("train"))
