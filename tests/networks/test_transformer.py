import math

import pytest
import torch
import torch.nn.functional as F
from architectures import VOCAB, transformer

from lmexp.networks.attention import attend, causal_bias
from lmexp.networks.explicit_attention import EXPLICIT_LENGTH
from lmexp.networks.layers import document_positions, rotate, rotation, sinusoids


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d_model": 30}, r"d_model=30 does not split into num_heads=4 .* try d_model=32"),
        ({"num_kv_heads": 3}, r"num_kv_heads=3: try num_kv_heads=1 or 2 or 4"),
        ({"d_model": 12}, r"heads of odd width 3: try d_model=8"),
        ({"d_model": 33, "num_heads": 1, "num_kv_heads": 1, "positions": "sinusoidal"}, "34"),
        ({"positions": "learned", "max_length": None}, r"max_length=null.*positions=rotary"),
    ],
)
def test_sizes_that_do_not_fit_together_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        transformer(**changes)


def test_the_parameters_are_those_of_the_formula():
    sizes = transformer(d_model=64, num_layers=3, d_ff=160, num_kv_heads=2)

    network = sizes.decoder(VOCAB)

    attention = 64 * 64 + 2 * 32 * 64 + 64 * 64
    layer = attention + 3 * 64 * 160 + 2 * 64
    assert sum(p.numel() for p in network.parameters()) == VOCAB.size * 64 + 3 * layer + 64


@pytest.mark.parametrize("width", [64, 768])
def test_the_first_weights_are_gpt2s_carried_to_any_width(width):
    network = transformer(d_model=width, num_heads=4, num_layers=2, d_ff=2 * width).decoder(VOCAB)
    layer = network.layers[0]
    x = torch.randn(256, width)  # as a norm gives it
    kept = 0.02 * math.sqrt(768)  # of the standard deviation: 0.55

    assert layer.attention.qkv(x).std().item() == pytest.approx(kept, rel=0.05)
    assert layer.feed_forward.up(x).std().item() == pytest.approx(kept, rel=0.05)
    assert layer.attention.out(x).std().item() == pytest.approx(kept / math.sqrt(2 * 2), rel=0.05)
    if width == 768:
        assert network.embed.weight.std().item() == pytest.approx(0.02, rel=0.05)


def test_learned_positions_refuse_longer_sequences():
    network = transformer(positions="learned", max_length=8).decoder(VOCAB)
    with pytest.raises(ValueError, match=r"9 tokens are more than max_length=8"):
        network(torch.zeros(1, 9, dtype=torch.int64))
    _, state = network.step(torch.zeros(1, 8, dtype=torch.int64), network.start())
    with pytest.raises(ValueError, match=r"9 tokens are more than max_length=8"):
        network.step(torch.zeros(1, 1, dtype=torch.int64), state)


def test_positions_count_from_0_in_each_document():
    documents = torch.tensor([[3, 3, 3, 5, 5, 6], [0, 0, 0, 0, 0, 0]])
    assert document_positions(documents).tolist() == [[0, 1, 2, 0, 1, 0], [0, 1, 2, 3, 4, 5]]


def test_sinusoids_are_those_of_the_paper():
    table = sinusoids(torch.arange(50), 8)
    for position, pair in [(0, 0), (3, 1), (49, 3)]:
        angle = position / 10_000 ** (2 * pair / 8)
        assert table[position, pair].item() == pytest.approx(math.sin(angle), abs=1e-5)
        assert table[position, 4 + pair].item() == pytest.approx(math.cos(angle), abs=1e-5)


def test_rotation_depends_on_the_difference_of_positions_only():
    query, key = torch.randn(2, 1, 1, 1, 16)
    positions = torch.tensor([5, 2, 105, 102])

    turn = rotation(positions, 16, torch.float32)
    turned = [rotate(x.expand(1, 4, 1, 16), turn)[0, :, 0] for x in (query, key)]

    near, far = turned[0][0] @ turned[1][1], turned[0][2] @ turned[1][3]
    torch.testing.assert_close(near, far, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(turned[0].norm(dim=-1), query.norm().expand(4))


@pytest.mark.parametrize("groups", [6, 2, 1])
@pytest.mark.parametrize("with_documents", [False, True])
def test_explicit_attention_in_bfloat16_is_the_softmax_of_the_paper(groups, with_documents):
    query = torch.randn(2, 6, 10, 8)
    key, value = torch.randn(2, 2, groups, 10, 8)
    documents = torch.tensor([[0] * 10, [0] * 4 + [1] * 6]) if with_documents else None
    bias = causal_bias(10, documents, query.device, torch.float32)
    parts = [x.repeat_interleave(6 // groups, dim=1) for x in (key, value)]
    scores = query @ parts[0].transpose(-1, -2) / math.sqrt(8) + bias
    expected = scores.softmax(-1) @ parts[1]

    low = [x.bfloat16() for x in (query, key, value, bias)]
    torch.testing.assert_close(
        attend(*low, is_causal=False).float(), expected, rtol=0.05, atol=0.05
    )
    torch.testing.assert_close(attend(query, key, value, bias, is_causal=False), expected)


def test_long_sequences_in_bfloat16_go_through_sdpa(monkeypatch):
    calls = []
    sdpa = F.scaled_dot_product_attention
    monkeypatch.setattr(
        F, "scaled_dot_product_attention", lambda *a, **k: calls.append(a) or sdpa(*a, **k)
    )
    network = transformer().decoder(VOCAB).bfloat16()

    network(torch.zeros(1, EXPLICIT_LENGTH, dtype=torch.int64))
    assert not calls
    network(torch.zeros(1, EXPLICIT_LENGTH + 1, dtype=torch.int64))
    assert len(calls) == 2


def test_rotary_angles_stay_float32_in_a_bfloat16_network():
    low = rotation(torch.tensor([4001]), 4, torch.bfloat16)
    assert low.cos[0, 0, 0].item() == pytest.approx(math.cos(4001), abs=0.004)


def test_the_cache_doubles():
    network = transformer().decoder(VOCAB).eval()
    ids = torch.randint(VOCAB.size, (2, 600))
    state, columns = network.start(), set()

    for new in ids.split([250] + [50] * 7, dim=1):
        logits, state = network.step(new, state)
        columns.add(state.keys[0].shape[2])

    assert columns == {256, 512, 1024}
    torch.testing.assert_close(logits, network(ids)[:, -1], rtol=1e-4, atol=1e-5)
