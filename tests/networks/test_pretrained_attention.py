"""Dropout of attention's weights in models of the Transformers library, on a CPU."""

from types import SimpleNamespace

import pytest
import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from lmexp.networks.pretrained_attention import attention

B, H, T, K = 2, 3, 5, 8
MASK = (torch.arange(T) < torch.tensor([[T], [3]]))[:, None, None]


def inputs():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(B, H, T, K, generator=generator, requires_grad=True) for _ in range(3)]


@pytest.mark.parametrize("mask", [None, MASK, torch.where(MASK, 0.0, -1e9)])
def test_what_little_is_dropped_changes_little(mask):
    layer = SimpleNamespace(is_causal=False)
    ours, theirs = inputs(), inputs()

    found, _ = attention(layer, *ours, mask, dropout=1e-9)
    expected, _ = sdpa_attention_forward(layer, *theirs, mask, dropout=0.0)
    found.square().sum().backward()
    expected.square().sum().backward()

    torch.testing.assert_close(found, expected)
    for own, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own.grad, other.grad)


def test_the_mean_over_what_is_dropped_is_what_nothing_dropped_gives():
    layer = SimpleNamespace(is_causal=False)
    given = [x.detach() for x in inputs()]
    torch.manual_seed(0)

    draws = torch.stack([attention(layer, *given, MASK, dropout=0.25)[0] for _ in range(4000)])

    error = (draws.mean(0) - attention(layer, *given, MASK)[0]).abs()
    assert (error < 5 * draws.std(0) / 4000**0.5 + 1e-6).all()
    assert draws.std(0).min() > 0


@pytest.mark.parametrize("changes", [{"dropout": 0.0}, {"is_causal": True}])
def test_all_else_is_the_librarys(changes):
    given = inputs()
    layer = SimpleNamespace(is_causal=False)
    options = {"dropout": 0.5} | changes

    torch.manual_seed(0)
    found, _ = attention(layer, *given, None, **options)
    torch.manual_seed(0)
    expected, _ = sdpa_attention_forward(layer, *given, None, **options)

    assert found.equal(expected)
