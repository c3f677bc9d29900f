"""Losses of classes, by arithmetic and against torch."""

import math

import pytest
import torch
import torch.nn.functional as F

from lmexp.class_losses import class_nll, multilabel_nll

SCORES = torch.tensor([[0.0, math.log(3), 0.0], [math.log(2), 0.0, math.log(2)]])
LABELS = torch.tensor([1, 1])  # of probabilities 3/5 and 1/5


def test_it_is_minus_the_logarithm_of_the_probability():
    expected = torch.tensor([-math.log(3 / 5), -math.log(1 / 5)])
    torch.testing.assert_close(class_nll(SCORES, LABELS), expected)


def test_smoothing_spreads_its_share_over_all_classes():
    first = -(0.9 + 0.1 / 3) * math.log(3 / 5) - 2 * 0.1 / 3 * math.log(1 / 5)

    found = class_nll(SCORES, LABELS, smoothing=0.1)

    assert found[0].item() == pytest.approx(first)
    expected = F.cross_entropy(SCORES, LABELS, label_smoothing=0.1, reduction="none")
    torch.testing.assert_close(found, expected)


def test_focal_loss_weighs_by_the_probability_that_is_missing():
    expected = torch.tensor([-((2 / 5) ** 2) * math.log(3 / 5), -((4 / 5) ** 2) * math.log(1 / 5)])
    torch.testing.assert_close(class_nll(SCORES, LABELS, gamma=2.0), expected)


def test_weights_are_those_of_the_right_class():
    weights = torch.tensor([9.0, 4.0, 9.0])

    found = class_nll(SCORES, LABELS, weights=weights)

    torch.testing.assert_close(found, 4 * class_nll(SCORES, LABELS))


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_what_is_certain_has_a_finite_gradient(gamma):
    scores = torch.tensor([[100.0, 0.0], [0.0, 100.0]], requires_grad=True)

    class_nll(scores, torch.tensor([0, 0]), gamma=gamma).sum().backward()

    assert scores.grad.isfinite().all()
    assert scores.grad[1].abs().sum() > 1


def multilabel_case():
    torch.manual_seed(0)
    return torch.randn(5, 4), torch.randint(2, (5, 4))


def test_several_labels_are_a_coin_each():
    scores, labels = multilabel_case()

    found = multilabel_nll(scores, labels)

    expected = F.binary_cross_entropy_with_logits(scores, labels.float(), reduction="none")
    torch.testing.assert_close(found, expected.sum(dim=1))


def test_focal_loss_of_coins_weighs_each_by_itself():
    scores, labels = multilabel_case()
    p = torch.where(labels == 1, scores.sigmoid(), 1 - scores.sigmoid())

    found = multilabel_nll(scores, labels, gamma=2.0)

    torch.testing.assert_close(found, (-((1 - p) ** 2) * p.log()).sum(dim=1))


def test_gamma_of_zero_is_no_focal_loss():
    scores, labels = multilabel_case()

    assert torch.equal(multilabel_nll(scores, labels, gamma=0.0), multilabel_nll(scores, labels))
    assert torch.equal(class_nll(SCORES, LABELS, gamma=0.0), class_nll(SCORES, LABELS))
    close = class_nll(SCORES, LABELS, gamma=1e-6)
    torch.testing.assert_close(close, class_nll(SCORES, LABELS), rtol=1e-4, atol=0)


@pytest.mark.parametrize("loss", [class_nll, multilabel_nll])
def test_16_bits_are_summed_in_32(loss):
    scores, labels = multilabel_case()
    labels = labels[:, 0] if loss is class_nll else labels

    found = loss(scores.bfloat16(), labels)

    assert found.dtype == torch.float32
    torch.testing.assert_close(found, loss(scores.bfloat16().float(), labels))


@pytest.mark.parametrize("loss", [class_nll, multilabel_nll])
def test_of_nothing_there_is_nothing(loss):
    labels = torch.zeros(0, dtype=torch.int64) if loss is class_nll else torch.zeros(0, 4)
    assert loss(torch.zeros(0, 4), labels).sum() == 0
