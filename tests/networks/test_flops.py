import pytest
import torch
from architectures import VOCAB, recurrent, transformer
from torch.utils.flop_counter import FlopCounterMode

from lmexp.losses import token_nll
from lmexp.networks.flops import flops_per_token


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_kv_heads": 1, "tied": False},
        {"activation": "gelu", "norm": "layer", "positions": "learned", "bias": True},
    ],
)
def test_the_count_is_that_of_torch(changes):
    network = transformer(**changes).decoder(VOCAB).bfloat16()  # explicit attention: torch counts
    ids = torch.randint(VOCAB.size, (3, 16))

    with FlopCounterMode(display=False) as counter:
        token_nll(network(ids), ids).backward()

    assert flops_per_token(network, 16) * ids.numel() == counter.get_total_flops()


def test_a_recurrent_network_costs_6_a_weight():
    network = recurrent("lstm").decoder(VOCAB)
    layers = 2 * (4 * 32 * 32 + 4 * 32 * 32)
    assert flops_per_token(network, 256) == 6 * (layers + VOCAB.size * 32)


@pytest.mark.parametrize("changes", [{}, {"num_kv_heads": 1, "bias": True, "norm_first": False}])
def test_the_count_of_an_encoder_decoder_is_that_of_torch(changes):
    network = transformer(**changes).encoder_decoder(VOCAB, VOCAB).bfloat16()
    ids = torch.randint(VOCAB.size, (3, 16))

    with FlopCounterMode(display=False) as counter:
        token_nll(network(ids, ids > -1, ids), ids).backward()

    assert flops_per_token(network, 16) * ids.numel() == counter.get_total_flops()


@pytest.mark.parametrize(("attention", "matrices"), [("dot", 1), ("additive", 2)])
def test_attention_of_a_recurrent_encoder_decoder_costs_4_d_a_pair_of_tokens(attention, matrices):
    network = recurrent("gru", attention=attention, num_layers=1).encoder_decoder(VOCAB, VOCAB)

    encoder = 2 * (3 * 16 * 32 + 3 * 16 * 16)
    decoder = 2 * 3 * 32 * 32 + 32 * 32  # and the bridge, counted as if once a token
    weights = encoder + decoder + (matrices + 2) * 32 * 32 + VOCAB.size * 32
    assert flops_per_token(network, 10) == 6 * weights + 3 * 4 * 32 * 10
