"""What every encoder has to satisfy under a model that answers questions."""

import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from architectures import ENCODERS, FIRST_ID, VOCAB

from lmexp.batch import IGNORE
from lmexp.collate_labels import QuestionRow, collate_questions
from lmexp.tasks.question_answering import QuestionAnswering

EXACT = {"rtol": 0, "atol": 0}
CLOSE = {"rtol": 1e-5, "atol": 1e-5}  # float32 sums in another order
STEPS = 60
ANSWERS = [(1, 3), (0, 0), None, (4, 5)]  # first and last word


class LabelVocab(NamedTuple):
    text: object
    labels: tuple[str, ...] = ()


def task_of(name: str) -> QuestionAnswering:
    torch.manual_seed(0)
    options = {"max_answer": 4, "no_answer_margin": 0.0, "by_character": False, "dropout": 0.0}
    return QuestionAnswering(
        ENCODERS[name], LabelVocab(VOCAB), clip_norm=None, ema_decay=None, **options
    )


def batch_of(rows=slice(None)):
    """Four questions about contexts of six, one, three and seven words."""
    rng = np.random.default_rng(0)
    found = []
    for number, (words, answer) in enumerate(zip([6, 1, 3, 7], ANSWERS, strict=True)):
        lengths = rng.integers(1, 4, words)
        question = rng.integers(FIRST_ID, VOCAB.size, 2 + number)
        ids = rng.integers(FIRST_ID, VOCAB.size, lengths.sum())
        found.append(QuestionRow(number, question, ids, lengths, 0, answer))
    return collate_questions(found[rows])


@pytest.fixture(params=ENCODERS)
def name(request):
    return request.param


def test_four_questions_can_be_memorised(name):
    task, batch = task_of(name).train(), batch_of()
    optimizer = torch.optim.Adam(task.parameters(), lr=0.01)

    for _ in range(STEPS):
        optimizer.zero_grad()
        sums, _ = task.sums(batch, None)
        (sums.objective / sums.tokens).backward()
        optimizer.step()

    found = task.eval().answered(task.network(batch), batch)
    given = [(answer.first, answer.last) if task.is_given(answer) else None for answer in found]
    assert given == ANSWERS


def test_an_untrained_network_guesses(name):
    task, batch = task_of(name).eval(), batch_of()

    sums, _ = task.sums(batch, None)

    expected = sum(math.log(1 + words) for words in (6, 1, 3, 7)) / 4
    assert (sums.nll / sums.tokens).item() == pytest.approx(expected, rel=0.35)


def test_a_checkpoint_restores_it_bit_for_bit(name):
    task, batch = task_of(name).eval(), batch_of()
    for parameter in task.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    before = task.network(batch)
    state = {key: value.clone() for key, value in task.state_dict().items()}
    for parameter in task.parameters():
        parameter.data.zero_()

    task.load_state_dict(state)

    torch.testing.assert_close(task.network(batch), before, **EXACT)


def padded(batch, columns: int = 5):
    """Tokens and words of padding on the right, with whatever stands there."""
    wider = {
        key: torch.nn.functional.pad(getattr(batch, key), (0, columns))
        for key in ("input_ids", "attention_mask", "segment_ids", "places", "is_place")
    }
    wider["input_ids"][:, -columns:] = FIRST_ID
    wider["places"][:, -columns:] = 1
    return batch._replace(**wider)


def strengthened(task):
    """Initial weights are too small to show a leak."""
    for parameter in task.parameters():
        if parameter.dim() == 2:
            parameter.data.normal_(std=0.1)
    return task.eval()


def test_padding_changes_nothing_whatever_stands_there(name):
    task, batch = strengthened(task_of(name)), batch_of()

    scores, with_padding = task.network(batch), task.network(padded(batch))

    places = scores.shape[2]
    torch.testing.assert_close(with_padding[..., :places], scores, **CLOSE)
    assert (with_padding[..., places:] == -math.inf).all()
    losses = [task.sums(own, None)[0].nll for own in (batch, padded(batch))]
    torch.testing.assert_close(losses[0], losses[1], **CLOSE)
    found = [task.answered(task.network(own), own) for own in (batch, padded(batch))]
    assert [answer[:3] for answer in found[0]] == [answer[:3] for answer in found[1]]


def test_questions_of_a_batch_do_not_mix(name):
    task, batch = strengthened(task_of(name)), batch_of()
    alone = [batch_of(slice(n, n + 1)) for n in range(4)]

    together, _ = task.sums(batch, None)
    found = task.answered(task.network(batch), batch)

    each = [task.sums(own, None)[0] for own in alone]
    torch.testing.assert_close(sum(own.nll for own in each), together.nll, **CLOSE)
    assert sum(own.tokens for own in each) == together.tokens
    by_itself = [task.answered(task.network(own), own)[0] for own in alone]
    assert [answer[:3] for answer in by_itself] == [answer[:3] for answer in found]


@pytest.mark.parametrize("is_training", [False, True])
@pytest.mark.parametrize("is_bf16", [False, True])
def test_a_row_of_padding_alone_gives_no_nan(name, is_bf16, is_training):
    task, batch = task_of(name).train(is_training), batch_of()
    batch.attention_mask[1] = False
    batch.is_place[1, 1:] = False
    batch.answers[1] = IGNORE

    with torch.autocast("cpu", torch.bfloat16, enabled=is_bf16):
        scores = task.network(batch)
        sums, _ = task.sums(batch, None)
        sums.objective.backward()

    assert not scores.isnan().any()
    assert sums.objective.isfinite()
    assert sums.objective.dtype == torch.float32
    assert sums.tokens == 3
    assert all(p.grad.isfinite().all() for p in task.parameters() if p.grad is not None)


def test_a_batch_of_nothing_adds_nothing_and_has_gradients_of_zero(name):
    task, nothing = task_of(name), batch_of(slice(0, 0))

    sums, _ = task.sums(nothing, None)
    sums.objective.backward()

    assert (sums.objective, sums.tokens) == (0, 0)
    assert all((p.grad == 0).all() for p in task.parameters() if p.grad is not None)
