"""Equality of encoder-decoders with Marian of the Transformers library and with plain loops over
torch.nn, weights copied."""

import pytest
import torch
import torch.nn.functional as F
from architectures import SOURCE, VOCAB, recurrent
from marian import from_marian, twins
from torch import nn

from lmexp.batch import IGNORE
from lmexp.losses import projected_nll
from lmexp.networks import recurrent_encoder_decoder_attention

TIGHT = {"rtol": 1e-5, "atol": 1e-5}
SIZES = {
    "small": {"d_model": 32, "num_layers": 2, "num_heads": 4, "d_ff": 48, "activation": "relu"},
    "wider": {"d_model": 72, "num_layers": 3, "num_heads": 6, "d_ff": 200, "activation": "gelu"},
}


@pytest.fixture(params=SIZES)
def pair(request):
    torch.manual_seed(0)
    sizes = SIZES[request.param]
    return *twins(sizes), lambda named: from_marian(named, sizes["num_layers"])


@pytest.fixture
def batch():
    """Ragged sources and targets, padded on the right, with labels aligned."""
    generator = torch.Generator().manual_seed(1)
    sources, targets = torch.randint(7, SOURCE.size, (2, 4, 17), generator=generator)
    targets[:, 0] = VOCAB.bos_id
    source_mask, target_mask = (
        torch.arange(17) < torch.tensor(lengths)[:, None]
        for lengths in ([17, 5, 11, 1], [9, 17, 3, 14])
    )
    labels = targets.roll(-1, dims=1).masked_fill(~target_mask.roll(-1, dims=1), IGNORE)
    labels[:, -1] = IGNORE
    sources = sources.masked_fill(~source_mask, VOCAB.pad_id)
    return sources, source_mask, targets.masked_fill(~target_mask, VOCAB.pad_id), labels


def test_logits_equal_those_of_marian(pair, batch):
    ours, theirs, _ = pair
    sources, mask, targets, labels = batch

    logits = ours(sources, mask, targets)

    expected = theirs(sources, mask, decoder_input_ids=targets).logits
    real = labels != IGNORE
    torch.testing.assert_close(logits[real], expected[real], **TIGHT)


def test_loss_and_every_gradient_equal_those_of_marian(pair, batch):
    ours, theirs, rename = pair
    sources, mask, targets, labels = batch
    logits = theirs(sources, mask, decoder_input_ids=targets).logits
    expected = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORE)
    expected.backward()

    sums = projected_nll(ours.hidden(sources, mask, targets), ours.output.weight, labels)
    loss = sums.nll / sums.count
    loss.backward()

    torch.testing.assert_close(loss, expected, **TIGHT)
    gradients = rename({name: weight.grad for name, weight in theirs.named_parameters()})
    ours_by_name = {name: weight.grad for name, weight in ours.named_parameters()}
    assert ours_by_name.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(ours_by_name[name], gradient, **TIGHT, msg=name)


def test_weights_of_the_source_equal_those_of_marian(pair, batch):
    ours, theirs, _ = pair
    sources, mask, targets, labels = batch
    theirs.set_attn_implementation("eager")

    weights = ours.cross_attention(sources, mask, targets)

    expected = theirs(sources, mask, decoder_input_ids=targets, output_attentions=True)
    real = labels != IGNORE
    for layer, theirs_of_layer in zip(weights, expected.cross_attentions, strict=True):
        torch.testing.assert_close(
            layer.transpose(1, 2)[real], theirs_of_layer.transpose(1, 2)[real], **TIGHT
        )


def read_alone(network, source, target):
    """One pair without padding, a token at a time as the papers write it: (T, V) logits."""
    x = network.source_embed(source)
    for layer in network.encoder_layers:
        ahead, back = layer.left_to_right(x)[0], layer.right_to_left(x.flip(0))[0].flip(0)
        x = torch.cat([ahead, back], dim=-1)  # (S, D)
    final = torch.cat([ahead[-1], back[0]])
    layers = network.decoder_layers
    states = network.bridge(final).tanh().view(-1, len(layers), 1, x.shape[-1])
    states = [states[:, index] for index in range(len(layers))]
    rows = []
    for token in network.target_embed(target):
        h = token[None]
        for index, layer in enumerate(layers):
            hidden, *cell = states[index]
            state = (hidden[None, 0], cell[0]) if cell else hidden
            h, after = layer(h, state)
            states[index] = torch.stack(after if cell else (after,))
        attention = network.attention
        if attention.query is None:
            scores = torch.stack([h[0] @ attention.key(s) for s in x])
        else:
            scores = torch.stack(
                [(attention.query(h[0]) + attention.key(s)).tanh() @ attention.score for s in x]
            )
        context = sum(weight * s for weight, s in zip(scores.softmax(0), x, strict=True))
        rows.append(network.output(attention.combine(torch.cat([context, h[0]])).tanh()))
    return torch.stack(rows)


@pytest.mark.parametrize("attention", ["dot", "additive"])
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_logits_and_gradients_equal_those_of_a_loop_over_pairs_and_tokens(cell, attention, batch):
    torch.manual_seed(0)
    network = recurrent(cell, attention=attention).encoder_decoder(SOURCE, VOCAB)
    sources, mask, targets, labels = batch
    real, parameters = labels != IGNORE, list(network.parameters())

    logits = network(sources, mask, targets)[real]
    expected = torch.cat(
        [
            read_alone(network, sources[row, mask[row]], targets[row, real[row]])
            for row in range(len(sources))
        ]
    )

    torch.testing.assert_close(logits, expected, **TIGHT)
    ours = torch.autograd.grad(logits.square().sum(), parameters)
    theirs = torch.autograd.grad(expected.square().sum(), parameters)
    for (name, _), our, their in zip(network.named_parameters(), ours, theirs, strict=True):
        torch.testing.assert_close(our, their, **TIGHT, msg=name)


def test_additive_scores_a_few_tokens_at_a_time_are_those_of_all(monkeypatch, batch):
    torch.manual_seed(0)
    network = recurrent("gru", attention="additive").encoder_decoder(SOURCE, VOCAB)
    sources, mask, targets, _ = batch
    products = []
    monkeypatch.setattr(
        torch, "tanh", lambda x, tanh=torch.tanh: products.append(x.numel()) or tanh(x)
    )

    def logits_and_gradients():
        logits = network(sources, mask, targets)
        return logits, torch.autograd.grad(logits.square().sum(), list(network.parameters()))

    expected = logits_and_gradients()
    products.clear()
    limit = 5 * sources.numel() * 32
    monkeypatch.setattr(recurrent_encoder_decoder_attention, "CHUNK_NUMBERS", limit)

    torch.testing.assert_close(logits_and_gradients(), expected, **TIGHT)
    assert max(products) == limit


def test_first_states_of_an_lstm_are_bounded_and_its_forget_gates_start_at_one():
    network = recurrent("lstm").encoder_decoder(SOURCE, VOCAB)
    memory = network.encode(torch.randint(7, SOURCE.size, (3, 5)), torch.ones(3, 5).bool())

    cells = network.start(memory).cells

    assert [part.shape for part in cells] == [(2, 3, 32)] * 2
    assert max(part.abs().max() for part in cells) < 1
    layers = [part for part in network.modules() if isinstance(part, nn.LSTM)]
    assert len(layers) == 6
    assert all((layer.bias_ih_l0.view(4, -1)[1] == 1).all() for layer in layers)
