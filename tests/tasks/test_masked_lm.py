"""A masked language model's task: figures, pseudo-perplexity, and what it fills in."""

import math
from functools import partial

import pytest
import torch

from lmexp.batch import IGNORE, SegmentBatch
from lmexp.networks.interface import Vocab
from lmexp.networks.recurrent import Recurrent
from lmexp.schedules import Constant
from lmexp.tasks.masked_lm import MaskedLM, MaskedSums, one_at_a_time

VOCAB = Vocab(size=13, pad_id=0, bos_id=2, eos_id=3, mask_id=4)
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


def task(**changes) -> MaskedLM:
    torch.manual_seed(0)
    return MaskedLM(
        GRU,
        VOCAB,
        partial(torch.optim.SGD, lr=1.0),
        Constant(0),
        **({"pair_weight": 1.0, "clip_norm": None, "ema_decay": None} | changes),
    )


def batch(belongs=(1, 0)) -> SegmentBatch:
    ids = torch.tensor([[2, 7, 4, 3, 9, 3], [2, 8, 3, 4, 10, 3]])
    labels = torch.full_like(ids, IGNORE)
    labels[0, 2], labels[1, 3] = 11, 12
    segments = torch.tensor([[0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 1]])
    return SegmentBatch(
        ids, torch.ones_like(ids, dtype=torch.bool), segments, labels, torch.tensor(belongs)
    )


def test_an_untrained_network_knows_nothing_of_tokens_and_pairs():
    figures = task().evaluate([batch()]).figures()

    assert figures["loss"] == pytest.approx(math.log(VOCAB.size), abs=0.5)
    assert figures["pair_loss"] == pytest.approx(math.log(2), abs=0.2)


def test_both_classes_of_pairs_are_in_the_loss():
    model = task()

    objectives = [model.sums(batch(belongs), None)[0] for belongs in ((1, 1), (0, 0))]

    assert objectives[0].nll.item() == objectives[1].nll.item()
    assert objectives[0].objective.item() != objectives[1].objective.item()


def test_pairs_count_as_much_as_the_tokens_hidden_in_them():
    hidden = batch()
    hidden.labels[0, [1, 4]] = torch.tensor([7, 9])  # three in the first row, one in the second
    model = task()
    judged = model.network(*hidden[:3])[1].log_softmax(-1)
    expected = -(3 * judged[0, 1] + judged[1, 0])

    sums, _ = model.sums(hidden, None)

    torch.testing.assert_close(sums.objective - sums.nll, expected)
    assert sums.tokens == 4


def test_without_pairs_there_is_no_head_and_no_figure_of_them():
    model = task(has_pairs=False)
    alone = batch((IGNORE, IGNORE))

    sums, _ = model.sums(alone, None)

    assert not any("pair" in name or "pooler" in name for name, _ in model.named_parameters())
    assert sums.objective.item() == pytest.approx(sums.nll.item())
    assert model.evaluate([alone]).figures().keys() == {"loss", "perplexity", "accuracy", "tokens"}


def test_a_batch_of_nothing_adds_nothing_and_has_gradients_of_zero():
    model = task()
    nothing = batch((IGNORE, IGNORE))
    nothing.labels[:] = IGNORE

    sums, _ = model.sums(nothing, None)
    sums.objective.backward()

    assert sums.tokens == 0
    assert all((p.grad == 0).all() for p in model.parameters() if p.grad is not None)


def test_sums_add_up():
    total = MaskedSums().plus(torch.tensor([6.0, 3, 1, 0.5, 2, 1]))

    assert total.plus(torch.tensor([2.0, 1, 1, 1.5, 2, 2])).figures() == {
        "loss": 2.0,
        "perplexity": math.exp(2.0),
        "accuracy": 0.5,
        "tokens": 4.0,
        "pair_loss": 0.5,
        "pair_accuracy": 0.75,
    }


def test_pseudo_perplexity_hides_each_token_alone():
    rows = list(one_at_a_time(torch.tensor([7, 8, 9]), VOCAB, batch_size=2))

    assert [len(part.input_ids) for part in rows] == [2, 1]
    assert torch.cat([part.input_ids for part in rows]).tolist() == [
        [2, 4, 8, 9, 3],
        [2, 7, 4, 9, 3],
        [2, 7, 8, 4, 3],
    ]
    labels = torch.cat([part.labels for part in rows])
    assert labels[labels != IGNORE].tolist() == [7, 8, 9]
    assert (labels != IGNORE).sum(dim=1).tolist() == [1, 1, 1]
