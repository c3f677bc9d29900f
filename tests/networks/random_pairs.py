"""Encoder-decoders with large random weights, and random pairs for them."""

import torch
from architectures import ENCODER_DECODERS, FIRST_ID, SOURCE, VOCAB

EXACT = {"rtol": 0, "atol": 0}
CLOSE = {"rtol": 1e-5, "atol": 1e-5}  # float32 sums in another order


def encoder_decoder(name):
    """The architecture of this name, built."""
    torch.manual_seed(0)
    network = ENCODER_DECODERS[name].encoder_decoder(SOURCE, VOCAB).eval()
    for parameter in network.parameters():  # initial weights are too small to show a leak
        if parameter.dim() == 2:
            parameter.data.mul_(0.1 / parameter.data.std())
    return network


def source_ids(*shape):
    return torch.randint(FIRST_ID, SOURCE.size, shape)


def target_ids(*shape):
    return torch.randint(FIRST_ID, VOCAB.size, shape)


def mask_of(*lengths):
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def padded(ids, mask):
    return ids.masked_fill(~mask, VOCAB.pad_id)


MASK = mask_of(9, 4, 7)
