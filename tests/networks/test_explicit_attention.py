import math

import pytest
import torch
from architectures import FIRST_ID, VOCAB, transformer

from lmexp.networks.attention import attend, causal_bias, padding_bias
from lmexp.networks.explicit_attention import HALVED_LENGTH, explicit_attention


def heads(length, *, width=8, seed=0):
    """(2, 3, T, K), strided as SelfAttention's are."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, length, 3, width, generator=generator, dtype=torch.float64)
    return x.transpose(1, 2).requires_grad_()


def by_the_paper(query, key, value, bias):
    """Vaswani et al. 2017, equation 1."""
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1]) + bias
    return scores.softmax(-1) @ value


def triangle(length):
    return causal_bias(length, None, torch.device("cpu"), torch.float64)


def assert_same_mix_and_gradients(mixed, expected, inputs):
    generator = torch.Generator().manual_seed(3)
    weights = torch.randn(expected.shape, generator=generator, dtype=expected.dtype)

    torch.testing.assert_close(mixed, expected)
    ours = torch.autograd.grad((mixed * weights).sum(), inputs)
    theirs = torch.autograd.grad((expected * weights).sum(), inputs)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("length", [1, 7, HALVED_LENGTH - 1, HALVED_LENGTH, HALVED_LENGTH + 1])
def test_the_causal_mix_and_its_gradients_are_the_papers(length):
    inputs = [heads(length, seed=seed) for seed in range(3)]

    mixed = explicit_attention(*inputs, None, is_causal=True)

    assert_same_mix_and_gradients(mixed, by_the_paper(*inputs, triangle(length)), inputs)


@pytest.mark.parametrize("length", [7, HALVED_LENGTH + 1])
def test_documents_stay_apart_in_both_halves(length):
    inputs = [heads(length, seed=seed) for seed in range(3)]
    documents = torch.arange(length).div(5, rounding_mode="floor").expand(2, -1)
    bias = causal_bias(length, documents, torch.device("cpu"), torch.float64)

    mixed = explicit_attention(*inputs, bias, is_causal=True)

    assert_same_mix_and_gradients(mixed, by_the_paper(*inputs, bias), inputs)


def test_every_query_sees_all_of_another_sequence_but_its_padding():
    inputs = [heads(HALVED_LENGTH + 3), heads(5, seed=1), heads(5, seed=2)]
    bias = padding_bias(torch.tensor([[True] * 5, [True] * 2 + [False] * 3]), torch.float64)

    mixed = explicit_attention(*inputs, bias, is_causal=False)

    assert_same_mix_and_gradients(mixed, by_the_paper(*inputs, bias), inputs)


@pytest.mark.parametrize("length", [7, HALVED_LENGTH + 1])
def test_later_keys_change_nothing_bitwise(length):
    inputs = [heads(length, seed=seed).detach().bfloat16() for seed in range(3)]

    before = attend(*inputs, None, is_causal=True)
    for x in inputs[1:]:
        x[:, :, length - 2 :] += 1
    after = attend(*inputs, None, is_causal=True)

    assert torch.equal(before[:, :, : length - 2], after[:, :, : length - 2])
    assert not torch.equal(before, after)


@pytest.mark.parametrize("width", [32, 48, 64])
def test_the_gradient_in_bfloat16_is_as_exact_as_that_of_sdpa(width):
    inputs = [heads(256, width=width, seed=seed) for seed in range(3)]
    generator = torch.Generator().manual_seed(3)
    weights = torch.randn(2, 3, 256, width, generator=generator, dtype=torch.float64)
    exact = torch.autograd.grad((by_the_paper(*inputs, triangle(256)) * weights).sum(), inputs)

    def error(function):
        low = [x.detach().bfloat16().requires_grad_() for x in inputs]
        mixed = function(*low)
        found = torch.autograd.grad((mixed * weights.bfloat16()).sum(), low)
        return [
            ((a.double() - b).norm() / b.norm()).item() for a, b in zip(found, exact, strict=True)
        ]

    ours = error(lambda *x: explicit_attention(*x, None, is_causal=True))
    sdpa = error(lambda *x: torch.nn.functional.scaled_dot_product_attention(*x, is_causal=True))

    assert all(a < 1.5 * b for a, b in zip(ours, sdpa, strict=True)), (ours, sdpa)


@pytest.mark.parametrize("length", [7, HALVED_LENGTH + 8])
def test_a_decoder_under_bfloat16_has_the_gradient_of_float32(length):
    torch.manual_seed(0)
    network = transformer(num_layers=2, dropout=0.0).decoder(VOCAB)
    ids = torch.randint(FIRST_ID, VOCAB.size, (2, length))

    def gradient(is_mixed):
        with torch.autocast("cpu", torch.bfloat16, enabled=is_mixed):
            loss = network(ids[:, :-1]).float().logsumexp(-1).sum()
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, network.parameters())])

    exact, mixed = gradient(False), gradient(True)

    assert (mixed - exact).norm() < 0.03 * exact.norm()  # 8 significant bits, a dozen products
