import copy

import pytest
import torch
from torch import nn

from lmexp.decoding.prepacked import PrepackedLinear, can_prepack, prepack

needs_onednn = pytest.mark.skipif(not can_prepack(nn.Linear(1, 1)), reason="torch has no oneDNN")


@needs_onednn
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(30,), (1, 30), (3, 4, 30), (2, 70, 30)])
def test_a_prepacked_layer_computes_what_the_layer_does(bias, shape):
    linear = nn.Linear(30, 50, bias=bias)
    x = torch.randn(shape)

    with torch.no_grad():
        torch.testing.assert_close(PrepackedLinear(linear)(x), linear(x))


@needs_onednn
def test_prepack_replaces_every_linear_layer_and_shares_its_weights():
    network = nn.Sequential(nn.Linear(4, 8), nn.Sequential(nn.Tanh(), nn.Linear(8, 4, bias=False)))
    before = copy.deepcopy(network)
    weights = list(network.parameters())

    prepack(network)

    assert isinstance(network[0], PrepackedLinear)
    assert isinstance(network[1][1], PrepackedLinear)
    assert all(a is b for a, b in zip(weights, network.parameters(), strict=True))
    assert network.state_dict().keys() == before.state_dict().keys()
    with torch.no_grad():
        torch.testing.assert_close(network(torch.ones(2, 4)), before(torch.ones(2, 4)))


def test_a_dtype_that_onednn_does_not_multiply_is_left_alone():
    network = nn.Sequential(nn.Linear(4, 8)).double()

    prepack(network)

    assert type(network[0]) is nn.Linear
