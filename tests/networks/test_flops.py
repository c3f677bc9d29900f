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
