"""The moving average against its recurrence."""

import torch
from torch import nn

from lmexp.ema import ParameterAverage


def test_the_average_follows_its_recurrence():
    net = nn.Linear(1, 1, bias=False)
    nn.init.constant_(net.weight, 1.0)
    average = ParameterAverage(net, decay=0.9)

    nn.init.constant_(net.weight, 2.0)
    average.update()  # decay (1 + 0) / (10 + 0) = 0.1: 0.1 * 1 + 0.9 * 2
    first = average.average["weight"].item()
    average.update()  # decay 2 / 11
    second = average.average["weight"].item()

    torch.testing.assert_close(first, 1.9)
    torch.testing.assert_close(second, 2 / 11 * 1.9 + 9 / 11 * 2.0)


def test_put_back_restores_the_weights_bitwise():
    net = nn.Linear(3, 3)
    average = ParameterAverage(net, decay=0.9)
    nn.init.normal_(net.weight)
    before = net.weight.detach().clone()

    average.put_in()
    inside = net.weight.detach().clone()
    average.put_back()

    assert torch.equal(net.weight, before)
    assert torch.equal(inside, average.average["weight"])
    assert not torch.equal(inside, before)
