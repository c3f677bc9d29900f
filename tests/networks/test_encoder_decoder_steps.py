"""What decoding asks of every encoder-decoder: steps, beams, attention weights, bfloat16."""

import copy

import pytest
import torch
from architectures import ENCODER_DECODERS
from random_pairs import (
    CLOSE,
    EXACT,
    MASK,
    encoder_decoder,
    mask_of,
    padded,
    source_ids,
    target_ids,
)

from lmexp.decoding.prepacked import prepack


@pytest.fixture(params=ENCODER_DECODERS)
def network(request):
    return encoder_decoder(request.param)


def test_steps_give_the_logits_of_a_forward_pass(network):
    sources, targets = source_ids(3, 9), target_ids(3, 12)
    state = network.start(network.encode(sources, MASK))
    logits = []
    for new in targets.split([4, 1, 1, 3, 1, 1, 1], dim=1):
        last, state = network.step(new, state)
        logits.append(last)

    expected = network(sources, MASK, targets)[:, [3, 4, 5, 8, 9, 10, 11]]

    torch.testing.assert_close(torch.stack(logits, dim=1), expected, **CLOSE)


def test_prefixes_of_unequal_length_step_as_they_would_alone(network):
    sources, targets, lengths = source_ids(3, 9), target_ids(3, 10), torch.tensor([6, 2, 4])
    rows, mask = torch.arange(3), mask_of(6, 2, 4)
    expected = network(sources, MASK, targets)

    state = network.start(network.encode(sources, MASK))
    logits, state = network.step(padded(targets[:, :6], mask), state, mask)
    torch.testing.assert_close(logits, expected[rows, lengths - 1], **CLOSE)
    for after in range(4):
        place = lengths + after
        logits, state = network.step(targets[rows, place][:, None], state)
        torch.testing.assert_close(logits, expected[rows, place], **CLOSE)


def test_a_prepacked_network_gives_the_same_logits(network):
    packed = copy.deepcopy(network)
    prepack(packed)
    sources, targets = source_ids(3, 9), target_ids(3, 4)

    logits, _ = packed.step(targets, packed.start(packed.encode(sources, MASK)))

    expected, _ = network.step(targets, network.start(network.encode(sources, MASK)))
    torch.testing.assert_close(logits, expected, **CLOSE)


@torch.no_grad()
def test_steps_without_a_reorder_after_one_go_on_as_before(network):
    sources, targets = source_ids(3, 9), target_ids(3, 6)
    state = network.start(network.encode(sources, MASK))
    _, state = network.step(targets[:, :3], state)
    state = network.reorder(state, torch.arange(3))
    for column in (3, 4, 5):
        logits, state = network.step(targets[:, column : column + 1], state)

    expected = network(sources, MASK, targets)[:, 5]
    torch.testing.assert_close(logits, expected, **CLOSE)


PARENTS = {  # rows of beams that swap within a sentence, that repeat, that leave
    "within": [1, 0, 3, 3],
    "across": [2, 0, 2, 1],
    "fewer": [2, 3],
    "more": [0, 0, 1, 3, 3],
}


@pytest.mark.parametrize("parents", PARENTS)
def test_reorder_is_reordering_the_inputs(network, parents):
    sources, mask = source_ids(2, 9).repeat_interleave(2, dim=0), mask_of(9, 9, 5, 5)
    targets, rows = target_ids(4, 8), torch.tensor(PARENTS[parents])
    memory = network.encode(sources[[0, 2]], mask[[0, 2]])
    state = network.reorder(network.start(memory), torch.tensor([0, 0, 1, 1]))
    prefix = mask_of(6, 4, 5, 6)
    _, state = network.step(targets[:, :6], state, prefix)

    state = network.reorder(state, rows)
    logits, _ = network.step(targets[rows, 6:7], state)

    state = network.start(network.encode(sources[rows], mask[rows]))
    _, state = network.step(targets[rows, :6], state, prefix[rows])
    expected, _ = network.step(targets[rows, 6:7], state)
    torch.testing.assert_close(logits, expected, **CLOSE)


def test_a_swap_within_a_sentence_copies_nothing_of_its_source(network):
    memory = network.encode(source_ids(2, 9), MASK[:2])
    state = network.reorder(network.start(memory), torch.tensor([0, 0, 1, 1]))

    swapped = network.reorder(state, torch.tensor([1, 1, 3, 2]))
    moved = network.reorder(state, torch.tensor([0, 2, 3, 2]))

    assert swapped.keys is state.keys
    assert moved.keys is not state.keys


def test_weights_of_the_source_are_a_distribution_over_its_real_tokens(network):
    arguments = (source_ids(3, 9), MASK, target_ids(3, 6))
    before = network(*arguments)

    weights = network.cross_attention(*arguments)

    layers, heads = (2, 4) if hasattr(network, "num_kv_heads") else (1, 1)
    assert weights.shape == (layers, 3, heads, 6, 9)
    torch.testing.assert_close(weights.sum(-1), torch.ones(layers, 3, heads, 6))
    assert (weights.masked_select(~MASK[None, :, None, None]) == 0).all()
    torch.testing.assert_close(network(*arguments), before, **EXACT)


def test_a_network_runs_in_bfloat16_weights(network):
    sources, targets = source_ids(3, 9), target_ids(3, 8)
    expected = network(sources, MASK, targets)
    network.bfloat16()

    logits, state = network.step(targets[:, :5], network.start(network.encode(sources, MASK)))
    last, _ = network.step(targets[:, 5:6], state)
    whole = network(sources, MASK, targets)

    assert {logits.dtype, last.dtype, whole.dtype} == {torch.bfloat16}
    limit = {"rtol": 0, "atol": 0.06 * expected.abs().max().item()}
    torch.testing.assert_close(logits.float(), expected[:, 4], **limit)
    torch.testing.assert_close(last.float(), expected[:, 5], **limit)
    torch.testing.assert_close(whole.float(), expected, **limit)
