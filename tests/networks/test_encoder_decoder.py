"""What every encoder-decoder has to satisfy, whatever its architecture."""

import math

import pytest
import torch
from architectures import ENCODER_DECODERS, FIRST_ID, SOURCE, VOCAB, recurrent, transformer
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

from lmexp.batch import IGNORE
from lmexp.losses import projected_nll, token_nll
from lmexp.networks.interface import EncoderDecoder


@pytest.fixture(params=ENCODER_DECODERS)
def network(request):
    return encoder_decoder(request.param)


def test_it_is_an_encoder_decoder(network):
    assert isinstance(network, EncoderDecoder)


@pytest.mark.parametrize("mixed", [False, True])
def test_a_position_never_sees_the_target_tokens_after_it(network, mixed):
    sources, targets = source_ids(3, 9), target_ids(3, 12)
    changed = targets.clone()
    changed[:, 7:] = FIRST_ID + (targets[:, 7:] + 1 - FIRST_ID) % (VOCAB.size - FIRST_ID)

    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        before, after = network(sources, MASK, targets), network(sources, MASK, changed)

    torch.testing.assert_close(before[:, :7], after[:, :7], **EXACT)
    assert not torch.equal(before[:, 7:], after[:, 7:])


def test_a_position_sees_every_real_token_of_its_source_and_of_the_target_before(network):
    embedded = {"source": [], "target": []}
    for side, kept in embedded.items():
        embed = getattr(network, f"{side}_embed")
        embed.register_forward_hook(lambda _module, _ids, x, kept=kept: kept.append(x) or x)

    logits = network(source_ids(1, 9), mask_of(9), target_ids(1, 7))[0, -1].logsumexp(-1)
    gradients = torch.autograd.grad(logits, [embedded["source"][0], embedded["target"][0]])

    assert all((gradient.norm(dim=-1) > 0).all() for gradient in gradients)


def test_a_changed_source_changes_every_position_of_its_own_row_alone(network):
    sources, targets = source_ids(3, 9), target_ids(3, 6)
    changed = sources.clone()
    changed[1, 2] = FIRST_ID + (sources[1, 2] + 1 - FIRST_ID) % (SOURCE.size - FIRST_ID)

    before, after = network(sources, MASK, targets), network(changed, MASK, targets)

    torch.testing.assert_close(before[[0, 2]], after[[0, 2]], **EXACT)
    assert (before[1] != after[1]).any(dim=-1).all()


@pytest.mark.parametrize("mixed", [False, True])
def test_what_stands_in_the_padding_changes_nothing(network, mixed):
    sources, targets, mask = source_ids(3, 9), target_ids(3, 8), mask_of(8, 3, 5)

    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        real = network(padded(sources, MASK), MASK, padded(targets, mask))
        other = network(sources, MASK, targets)

    torch.testing.assert_close(real[mask], other[mask], **EXACT)


def test_the_amount_of_padding_changes_nothing(network):
    sources, targets = source_ids(3, 5), target_ids(3, 6)
    long_sources = torch.cat([sources, torch.full((3, 8), VOCAB.pad_id)], dim=1)
    long_targets = torch.cat([targets, torch.full((3, 3), VOCAB.pad_id)], dim=1)
    mask = mask_of(5, 2, 4)

    short = network(sources, mask, targets)
    long = network(long_sources, torch.cat([mask, mask.new_zeros(3, 8)], dim=1), long_targets)

    torch.testing.assert_close(short, long[:, :6], **CLOSE)


def test_batch_mates_change_nothing(network):
    sources, targets = source_ids(3, 9), target_ids(3, 8)
    other_sources, other_targets = source_ids(3, 9), target_ids(3, 8)
    other_sources[1], other_targets[1] = sources[1], targets[1]

    together = network(sources, MASK, targets)[1]

    torch.testing.assert_close(network(other_sources, MASK, other_targets)[1], together, **EXACT)
    alone = network(sources[1:2, :4], MASK[1:2, :4], targets[1:2])[0]
    torch.testing.assert_close(alone, together, **CLOSE)


@pytest.mark.parametrize("mixed", [False, True])
def test_a_row_without_any_source_is_finite_and_leaves_the_others_alone(network, mixed):
    sources, targets = source_ids(3, 9), target_ids(3, 6)
    mask = MASK.clone()
    mask[1] = False

    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        logits, expected = network(sources, mask, targets), network(sources, MASK, targets)
    gradients = torch.autograd.grad(logits.float().logsumexp(-1).sum(), network.output.weight)

    assert logits.isfinite().all()
    assert gradients[0].isfinite().all()
    torch.testing.assert_close(logits[[0, 2]], expected[[0, 2]], **EXACT)


def test_ragged_micro_batches_give_the_gradient_of_one_batch(network):
    sources, targets, labels = source_ids(4, 9), target_ids(4, 8), target_ids(4, 8)
    source_mask, target_mask = mask_of(9, 4, 7, 2), mask_of(5, 8, 3, 6)
    labels[~target_mask] = IGNORE

    def gradients(*parts):
        total = 0
        for part in parts:
            far = int(source_mask[part].sum(1).max())
            wide = int(target_mask[part].sum(1).max())
            hidden = network.hidden(
                sources[part, :far], source_mask[part, :far], targets[part, :wide]
            )
            total += projected_nll(hidden, network.output.weight, labels[part, :wide]).nll
        return torch.autograd.grad(total / target_mask.sum(), list(network.parameters()))

    whole, ragged = gradients(slice(0, 4)), gradients(slice(0, 1), slice(1, 3), slice(3, 4))

    for ours, theirs in zip(ragged, whole, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "architecture",
    [
        *ENCODER_DECODERS.values(),
        transformer(
            d_model=512, norm="layer", norm_first=False, positions="sinusoidal", num_layers=3
        ),
        transformer(d_model=256, d_ff=704, num_layers=4),
        recurrent("lstm", d_model=512),
        recurrent("gru", d_model=512, attention="additive"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("is_one_vocab", [False, True])
def test_the_first_loss_is_within_5_percent_of_ln_v(architecture, is_one_vocab):
    torch.manual_seed(1)
    vocab = VOCAB._replace(size=2000)
    network = architecture.encoder_decoder(vocab if is_one_vocab else SOURCE, vocab)
    targets = torch.randint(vocab.size, (8, 17))

    logits = network(source_ids(8, 9), torch.ones(8, 9, dtype=torch.bool), targets[:, :-1])

    assert token_nll(logits, targets[:, 1:]).item() == pytest.approx(math.log(2000), rel=0.05)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if "_" in name or name == "gru" else ())
        for name in ENCODER_DECODERS
    ],
)
def test_eight_pairs_can_be_memorised(name):
    torch.manual_seed(0)
    network = ENCODER_DECODERS[name].encoder_decoder(SOURCE, VOCAB)
    sources, targets = source_ids(8, 7), target_ids(8, 10)
    sources[:, 0] = torch.arange(FIRST_ID, FIRST_ID + 8)  # tells the pairs apart
    targets[:, 0] = VOCAB.bos_id  # the source alone does
    mask = mask_of(7, 7, 3, 5, 6, 1, 4, 2)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=0.0)

    for _ in range(1_000):
        optimizer.zero_grad()
        hidden = network.hidden(sources, mask, targets[:, :-1])
        sums = projected_nll(hidden, network.output.weight, targets[:, 1:])
        (sums.nll / sums.count).backward()
        optimizer.step()
        if sums.nll / sums.count < 0.01:
            break

    hidden = network.eval().hidden(sources, mask, targets[:, :-1])
    known = projected_nll(hidden, network.output.weight, targets[:, 1:], counts_hits=True)
    assert known.correct == known.count
    assert known.nll / known.count < 0.05


def test_a_state_dict_restores_every_bit(network, tmp_path, request):
    torch.save(network.state_dict(), tmp_path / "network.pt")
    sources, targets = source_ids(3, 9), target_ids(3, 6)
    name = request.node.callspec.params["network"]

    other = ENCODER_DECODERS[name].encoder_decoder(SOURCE, VOCAB).eval()
    other.load_state_dict(torch.load(tmp_path / "network.pt", weights_only=True))

    expected = network(sources, MASK, targets)
    torch.testing.assert_close(other(sources, MASK, targets), expected, **EXACT)


@pytest.mark.parametrize("sizes", [transformer(), recurrent("gru")], ids=["transformer", "gru"])
def test_embeddings_are_one_matrix_if_both_sides_have_one_vocabulary(sizes):
    twin = VOCAB._replace()  # equal, and another tokenizer's

    one, two = sizes.encoder_decoder(VOCAB, VOCAB), sizes.encoder_decoder(twin, VOCAB)

    assert one.source_embed.weight is one.target_embed.weight is one.output.weight
    assert two.source_embed.weight is not two.target_embed.weight
    assert two.output.weight is two.target_embed.weight
    count = [sum(p.numel() for p in network.parameters()) for network in (one, two)]
    assert count[1] - count[0] == VOCAB.size * 32


@pytest.mark.parametrize("build", [transformer, lambda **changes: recurrent("gru", **changes)])
def test_embeddings_are_two_matrices_unless_they_are_shared(build):
    network = build(shares_embeddings=False, tied=False).encoder_decoder(VOCAB, VOCAB)

    matrices = {network.source_embed.weight, network.target_embed.weight, network.output.weight}

    assert len(matrices) == 3


@pytest.mark.parametrize("mixed", [False, True])
def test_dropout_is_drawn_in_training_only(mixed):
    for sizes in (transformer(dropout=0.5), recurrent("lstm", dropout=0.5, variational=True)):
        network = sizes.encoder_decoder(SOURCE, VOCAB)
        arguments = (source_ids(3, 9), MASK, target_ids(3, 6))

        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            assert not torch.equal(network(*arguments), network(*arguments))
            network.eval()
            assert torch.equal(network(*arguments), network(*arguments))


def test_the_parameters_are_those_of_the_formula():
    sizes = transformer(d_model=64, num_layers=3, d_ff=160, num_kv_heads=2)

    network = sizes.encoder_decoder(SOURCE, VOCAB)

    attention = 64 * 64 + 2 * 32 * 64 + 64 * 64
    encoder = 3 * (attention + 3 * 64 * 160 + 2 * 64) + 64
    decoder = 3 * (2 * attention + 3 * 64 * 160 + 3 * 64) + 64
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == (SOURCE.size + VOCAB.size) * 64 + encoder + decoder


@pytest.mark.parametrize(("attention", "matrices"), [("dot", 1), ("additive", 2)])
def test_the_parameters_of_an_lstm_are_those_of_the_formula(attention, matrices):
    network = recurrent("lstm", attention=attention).encoder_decoder(SOURCE, VOCAB)

    encoder = 2 * 2 * 4 * 16 * (32 + 16 + 2)  # layers, directions, gates, width, inputs
    decoder = 2 * 4 * 32 * (32 + 32 + 2)
    bridge = 2 * 2 * 32 * (32 + 1)
    attended = (matrices + 2) * 32 * 32 + (32 if attention == "additive" else 0)
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == (SOURCE.size + VOCAB.size) * 32 + encoder + decoder + bridge + attended


@pytest.mark.parametrize(
    ("sizes", "millions"),
    [
        ({"d_model": 512, "d_ff": 2048, "num_heads": 8, "num_kv_heads": 8}, 63),
        ({"d_model": 1024, "d_ff": 4096, "num_heads": 16, "num_kv_heads": 16}, 214),
    ],
    ids=["base", "big"],
)
def test_base_and_big_are_as_large_as_published(sizes, millions):
    kinds = {"activation": "relu", "norm": "layer", "norm_first": False, "bias": True}
    vocab = VOCAB._replace(size=37_000)

    with torch.device("meta"):
        network = transformer(
            **sizes, **kinds, num_layers=6, positions="sinusoidal"
        ).encoder_decoder(vocab, vocab)

    # table 3 of the paper says 65 and 213
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.5)


def test_learned_positions_refuse_longer_sources_and_targets():
    network = transformer(positions="learned", max_length=8).encoder_decoder(SOURCE, VOCAB)
    mask = torch.ones(1, 9, dtype=torch.bool)

    assert network.max_length == 8
    network(source_ids(1, 8), mask[:, :8], target_ids(1, 8))
    for source, target in ((9, 8), (8, 9)):
        with pytest.raises(ValueError, match=r"9 tokens are more than max_length=8"):
            network(source_ids(1, source), mask[:, :source], target_ids(1, target))
