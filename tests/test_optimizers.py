"""Decay groups, and Muon beside AdamW."""

import copy

import pytest
import torch
from torch import nn

from lmexp.optimizers import Muon, parameter_groups


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
