"""Decay groups, and Muon beside AdamW."""

import copy

import pytest
import torch
from torch import nn

from lmexp.optimizers import Muon, fuse, norm_and_factor, parameter_groups, rescale


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.norm = nn.LayerNorm(4)
        self.middle = nn.Linear(4, 4)
        self.output = nn.Linear(4, 7, bias=False)
        self.output.weight = self.embed.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.output(self.middle(self.norm(self.embed(ids))))


def test_vectors_do_not_decay_and_tied_weights_stand_once():
    net = Net()
    groups = parameter_groups(net)

    undecayed = [p for g in groups if g.get("weight_decay") == 0.0 for p in g["params"]]
    everything = [id(p) for g in groups for p in g["params"]]
    assert {id(p) for p in undecayed} == {
        id(net.norm.weight),
        id(net.norm.bias),
        id(net.middle.bias),
    }
    assert len(everything) == len(set(everything)) == 5


def test_only_hidden_matrices_are_muons():
    net = Net()
    hidden = [p for g in parameter_groups(net) if g["is_hidden_matrix"] for p in g["params"]]
    assert [id(p) for p in hidden] == [id(net.middle.weight)]


def test_muon_moves_a_hidden_matrix_along_an_orthogonal_matrix():
    net = Net()
    before = net.middle.weight.detach().clone()
    optimizer = Muon(parameter_groups(net), 0.1, 0.95, 0.0, (0.9, 0.95), 1e-8)
    net(torch.arange(7)).logsumexp(-1).sum().backward()

    optimizer.step()

    # match_rms_adamw: the step is lr * 0.2 * sqrt(max(rows, columns)) * (nearly) orthogonal
    singular = torch.linalg.svdvals(before - net.middle.weight.detach()) / (0.1 * 0.2 * 2)
    assert singular.max() < 1.3  # Newton-Schulz leaves them within 0.7 and 1.2 (Jordan 2024)


def test_muon_resumes_bitwise():
    torch.manual_seed(0)
    net = Net()
    optimizer = Muon(parameter_groups(net), 0.1, 0.95, 0.1, (0.9, 0.95), 1e-8)

    def step(network, opt):
        network(torch.arange(7)).logsumexp(-1).sum().backward()
        opt.step()
        opt.zero_grad()

    step(net, optimizer)
    twin = Net()
    twin.load_state_dict(net.state_dict())
    resumed = Muon(parameter_groups(twin), 0.1, 0.95, 0.1, (0.9, 0.95), 1e-8)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    step(net, optimizer)
    step(twin, resumed)

    for ours, theirs in zip(net.parameters(), twin.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_muon_without_hidden_matrices_is_refused():
    with pytest.raises(ValueError, match="use optimizer=adamw"):
        Muon(parameter_groups(nn.Embedding(3, 2)), 0.1, 0.95, 0.0, (0.9, 0.95), 1e-8)


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.Adam, torch.optim.SGD])
def test_a_fused_step_takes_gradients_times_the_factor(kind):
    torch.manual_seed(0)
    fused, plain = (nn.Parameter(torch.ones(100)) for _ in range(2))
    ours, theirs = kind([fused], lr=0.1), kind([plain], lr=0.1)
    fuse(ours)
    for factor in (0.37, 1.0, 2.5):
        fused.grad = torch.randn(100)
        plain.grad = fused.grad * factor
        rescale([fused.grad], factor, ours)
        ours.step()
        theirs.step()

    torch.testing.assert_close(fused, plain, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_gradients_of_other_precision_are_multiplied_at_once(dtype):
    parameter = nn.Parameter(torch.ones(4, dtype=dtype))
    optimizer = torch.optim.AdamW([parameter])
    fuse(optimizer)
    parameter.grad = torch.full((4,), 2.0, dtype=dtype)

    rescale([parameter.grad], 0.25, optimizer)

    assert parameter.grad.tolist() == [0.5] * 4
    assert not hasattr(optimizer, "grad_scale")


def test_the_norm_is_that_before_clipping_and_the_factor_clips():
    gradients = [torch.tensor([3.0]), torch.tensor([4.0])]

    assert norm_and_factor(gradients, 2.0, None) == (10.0, 2.0)
    assert norm_and_factor(gradients, 2.0, 20.0) == (10.0, 2.0)
    assert norm_and_factor(gradients, 2.0, 1.0) == (10.0, pytest.approx(0.2))
