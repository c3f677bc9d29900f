"""What every encoder has to satisfy, whatever its architecture."""

import pytest
import torch
from architectures import ENCODERS, FIRST_ID, VOCAB

from lmexp.networks.interface import Encoder

EXACT = {"rtol": 0, "atol": 0}
CLOSE = {"rtol": 1e-5, "atol": 1e-5}  # float32 sums in another order


@pytest.fixture(params=ENCODERS)
def network(request):
    torch.manual_seed(0)
    network = ENCODERS[request.param].encoder(VOCAB).eval()
    for parameter in network.parameters():  # initial weights are too small to show a leak
        if parameter.dim() == 2:
            parameter.data.mul_(0.1 / parameter.data.std())
    return network


def random_ids(*shape):
    return torch.randint(FIRST_ID, VOCAB.size, shape)


def test_it_is_an_encoder(network):
    assert isinstance(network, Encoder)
    assert network(random_ids(2, 5)).shape == (2, 5, network.d_model)
    assert network.embed.weight.shape == (VOCAB.size, network.d_model)


def test_every_token_sees_all_others(network):
    embedded = []
    network.embed.register_forward_hook(lambda _module, _ids, x: embedded.append(x) or x)

    network(random_ids(1, 9))[0, 4].logsumexp(-1).backward(inputs=embedded)

    assert (embedded[0].grad.norm(dim=-1) > 0).all()


def padded(ids, columns):
    """The ids with padding on the right, and where they are real."""
    wide = torch.cat([ids, random_ids(len(ids), columns)], dim=1)
    mask = torch.ones_like(wide, dtype=torch.bool)
    mask[:, ids.shape[1] :] = False
    return wide, mask


def test_padding_changes_nothing_whatever_stands_there(network):
    ids = random_ids(3, 7)

    alone = network(ids, torch.ones_like(ids, dtype=torch.bool))
    with_padding = network(*padded(ids, 5))[:, :7]

    torch.testing.assert_close(alone, with_padding, **CLOSE)


def test_rows_of_a_batch_do_not_mix(network):
    ids = random_ids(4, 6)

    together = network(ids)

    for row in range(4):
        torch.testing.assert_close(network(ids[row : row + 1])[0], together[row], **CLOSE)


@pytest.mark.parametrize("is_training", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_of_padding_alone_gives_no_nan(network, is_training, dtype):
    ids = random_ids(3, 6)
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[1] = False

    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        hidden = network.train(is_training)(ids, mask)
        hidden.float().sum().backward()

    assert hidden.isfinite().all()
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)


def test_segments_are_told_apart_by_those_that_have_an_embedding_of_them(network):
    ids = random_ids(2, 8)
    segments = (torch.arange(8) >= 4).long().expand(2, 8)

    alone, with_segments = network(ids), network(ids, None, segments)

    knows = getattr(network, "segments", None) is not None
    assert torch.equal(alone, with_segments) != knows


def test_a_checkpoint_restores_it_bit_for_bit(network):
    ids = random_ids(2, 8)
    before = network(ids)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    for parameter in network.parameters():
        parameter.data.zero_()

    network.load_state_dict(state)

    torch.testing.assert_close(network(ids), before, **EXACT)
