"""The task of answering: its loss, the answer that is given, and its figures."""

import math
from collections import Counter
from typing import NamedTuple

import numpy as np
import pytest
import torch

from lmexp.answer_scores import AnswerScores, score_answer
from lmexp.collate_labels import QuestionRow, collate_questions
from lmexp.corpora.piece import Answer, Question
from lmexp.networks.interface import Vocab
from lmexp.networks.recurrent import Recurrent
from lmexp.question_form import QuestionForm, QuestionReader
from lmexp.ragged import write_ragged
from lmexp.tasks.question_answering import (
    Answered,
    AnswerReport,
    QuestionAnswering,
    likeliest,
    mostly_han,
)
from lmexp.tokenizers import Bytes

TEXT = Vocab(size=263, pad_id=0, bos_id=2, eos_id=3, mask_id=4)
GRU = Recurrent(
    cell="gru",
    d_model=8,
    num_layers=1,
    dropout=0.0,
    variational=False,
    tied=True,
    attention="dot",
    shares_embeddings=True,
)


class LabelVocab(NamedTuple):
    text: Vocab
    labels: tuple[str, ...] = ()


def task(**changes) -> QuestionAnswering:
    torch.manual_seed(0)
    options = {"max_answer": 3, "no_answer_margin": None, "by_character": None, "dropout": 0.0}
    options |= {"clip_norm": None, "ema_decay": None}
    model = QuestionAnswering(GRU, LabelVocab(TEXT), **(options | changes)).eval()
    model.network.head.weight.data.normal_(std=2.0)
    return model


def window(example, lengths, answer=None, word_from=0, seed=0):
    """A row with words of the given numbers of tokens."""
    rng = np.random.default_rng([seed, example, word_from])
    ids = rng.integers(7, TEXT.size, sum(lengths))
    question = rng.integers(7, TEXT.size, 2 + example)
    return QuestionRow(example, question, ids, np.array(lengths), word_from, answer)


ROWS = [
    window(0, [1, 2, 1, 1, 3], (1, 2)),
    window(1, [1]),
    window(2, [2, 1, 1, 1], (3, 3)),
    window(2, [1, 1, 2, 1, 1, 1], (0, 0), word_from=3),
    window(2, [1, 1], word_from=8),
]


def logs_of(model, row):
    """(2, P) of a row alone, in numpy: by hand, out of the encoder's states."""
    batch = collate_questions([row])
    hidden = model.network.encoder(batch.input_ids, batch.attention_mask, batch.segment_ids)[0]
    first = 2 + len(row.question)
    places = [0, *(first + int(sum(row.word_lengths[:n])) for n in range(len(row.word_lengths)))]
    scores = model.network.head(hidden[places]).detach().double().numpy().T
    return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))


def test_the_loss_is_the_mean_of_beginning_and_end_over_windows():
    model = task()
    expected = 0.0
    for row in ROWS:
        begin, end = (0, 0) if row.answer is None else np.add(row.answer, 1)
        logs = logs_of(model, row)
        expected -= (logs[0, begin] + logs[1, end]) / 2

    sums, carried = model.sums(collate_questions(ROWS), None)

    assert sums.nll.item() == pytest.approx(expected, rel=1e-5)
    assert sums.objective is sums.nll
    assert (sums.tokens, carried) == (len(ROWS), None)


def searched(model, rows, most):
    """For each question the best span of all its windows, by trying each."""
    found = {}
    for row in rows:
        logs, words = logs_of(model, row), len(row.word_lengths)
        share, first, last, none = found.get(row.example, (-math.inf, 0, 0, math.inf))
        for begin in range(words):
            for end in range(begin, min(begin + most, words)):
                own = logs[0, 1 + begin] + logs[1, 1 + end]
                if own > share:
                    share, first, last = own, row.word_from + begin, row.word_from + end
        found[row.example] = share, first, last, min(none, logs[0, 0] + logs[1, 0])
    return found


def assert_equals_search(answers, expected):
    assert {answer.example for answer in answers} == expected.keys()
    assert len(answers) == len(expected)
    for answer in answers:
        share, first, last, none = expected[answer.example]
        assert (answer.first, answer.last) == (first, last)
        assert answer.log_share == pytest.approx(share, abs=1e-5)
        assert answer.log_none == pytest.approx(none, abs=1e-5)


@pytest.mark.parametrize("most", [1, 2, 3, 30])
@pytest.mark.parametrize("seed", range(8))
def test_the_answer_is_that_of_a_search_over_all_windows_and_spans(most, seed):
    rng, model = np.random.default_rng(seed), task(max_answer=most)
    model.network.head.weight.data.normal_(std=3.0)
    rows = []
    for example in range(4):
        for number in range(rng.integers(1, 4)):
            lengths = rng.integers(1, 4, rng.integers(1, 9)).tolist()
            rows.append(window(example, lengths, word_from=5 * number, seed=seed))
    batch = collate_questions(rows)

    answers = model.answered(model.network(batch), batch)

    assert_equals_search(answers, searched(model, rows, most))


def test_an_answer_never_ends_before_it_begins_nor_is_of_none():
    """Where the likeliest beginning is after the likeliest end, or is no place of a word."""
    model, batch = task(max_answer=2), collate_questions([window(0, [1, 1, 1])])
    scores = torch.tensor([[[9.0, 1.0, 2.0, 8.0], [9.0, 8.0, 1.0, 2.0]]])

    (answer,) = model.answered(scores, batch)

    assert (answer.first, answer.last) == (2, 2)  # 8 + 2; 1 + 8 of the first word is less
    assert answer.log_none > answer.log_share


def test_windows_of_a_question_may_come_in_several_batches():
    model = task()
    whole, parts = collate_questions(ROWS), [collate_questions([row]) for row in ROWS]

    together = model.answered(model.network(whole), whole)
    one_by_one = likeliest(
        answer for part in parts for answer in model.answered(model.network(part), part)
    )

    assert [answer[:3] for answer in one_by_one] == [answer[:3] for answer in together]
    for ours, theirs in zip(one_by_one, together, strict=True):
        assert ours[3:] == pytest.approx(theirs[3:], abs=1e-5)


def test_of_a_batch_of_nothing_there_is_no_answer():
    model, nothing = task(), collate_questions([])

    assert model.answered(model.network(nothing), nothing) == []


@pytest.mark.parametrize(
    ("margin", "share", "expected"),
    [
        (None, -9.0, True),
        (0.0, -1.0, True),
        (0.0, -3.0, False),
        (1.5, -1.0, False),
        (-1.5, -3.0, True),
    ],
)
def test_an_answer_is_given_if_it_is_likelier_than_none_by_the_margin(margin, share, expected):
    assert task(no_answer_margin=margin).is_given(Answered(0, 0, 0, share, -2.0)) is expected


FORM = QuestionForm(max_length=40, max_question=8)
QUESTIONS = [
    Question("a", "who?", "Ann met the Bob, in 🙂 Rome.", (Answer("Bob", 12), Answer("Ann", 0))),
    Question("b", "where?", "Ann met the Bob, in 🙂 Rome.", ()),
    Question("c", "what?", "ab " * 30 + "cd", (Answer("ab cd", 87),)),
    Question("d", "what?", "x", ()),
]


@pytest.fixture
def store(tmp_path):
    rows = [FORM.encoded(question, Bytes(), int, Counter()) for question in QUESTIONS]
    return write_ragged(tmp_path / "store", lambda _: rows, FORM.dtypes)


def batches(store, size):
    """Batches of so many questions, the last one first."""
    reader = QuestionReader(store, FORM.max_length)
    numbers = np.arange(store.num_examples)[::-1]
    for first in range(0, len(numbers), size):
        yield reader.batch(reader.rows_of(numbers[first : first + size]))


@pytest.mark.parametrize("margin", [None, 0.0, 3.0])
def test_figures_are_those_of_the_answers_whatever_batches_they_come_in(margin, store):
    model = task(no_answer_margin=margin)
    (batch,) = batches(store, 9)
    found = model.answered(model.network(batch), batch)
    scores = {True: AnswerScores(), False: AnswerScores()}
    for answer in found:
        own = QUESTIONS[answer.example]
        right = [one.text for one in own.answers]
        given = model.text(answer, store, store.kept())
        assert given in own.context
        assert (given == "") == (not model.is_given(answer))
        score = score_answer(given, right, by_character=False)
        scores[bool(right)] = scores[bool(right)].plus(score)

    reports = [model.evaluate(batches(store, size), store) for size in (1, 3, 9)]

    for report in reports:
        assert (report.with_answer, report.without_answer) == (scores[True], scores[False])
        assert report.figures() == pytest.approx(reports[0].figures())
    sums, _ = model.sums(batch, None)
    assert reports[0].loss == pytest.approx((sums.nll / sums.tokens).item(), rel=1e-5)
    figures = reports[0].figures()
    assert figures["questions"] == 4
    both = (figures["f1_with_answer"] + figures["f1_without_answer"]) / 2  # two of each
    assert figures["f1"] == pytest.approx(both)


def test_a_model_that_never_answers_is_right_where_there_is_no_answer(store):
    figures = task(no_answer_margin=1e9).evaluate(batches(store, 2), store).figures()

    assert (figures["f1_with_answer"], figures["f1_without_answer"]) == (0.0, 1.0)
    assert figures["exact_match"] == figures["f1"] == 0.5


@pytest.mark.parametrize(("with_answer", "without_answer"), [((1, 2, 3), ()), ((), (1, 2, 3))])
def test_questions_of_one_kind_have_no_figures_by_kind(with_answer, without_answer):
    report = AnswerReport(0.5, AnswerScores(*with_answer), AnswerScores(*without_answer))

    assert report.figures() == {
        "loss": 0.5,
        "exact_match": pytest.approx(1 / 3),
        "f1": pytest.approx(2 / 3),
        "questions": 3.0,
    }


def test_answers_are_compared_by_character_where_most_hold_han(store):
    assert mostly_han(["北京", "in 北京", "Rome"])
    assert not mostly_han(["北京", "Rome"])
    assert not mostly_han([])


def test_better_is_a_higher_f1():
    assert (QuestionAnswering.monitor, QuestionAnswering.greater_is_better) == ("val/f1", True)
