"""What every network has to satisfy, whatever its architecture."""

import math

import pytest
import torch
from architectures import ARCHITECTURES, FIRST_ID, VOCAB, recurrent, transformer

from lmexp.batch import IGNORE
from lmexp.losses import projected_nll, token_nll
from lmexp.networks.interface import StepDecoder

EXACT = {"rtol": 0, "atol": 0}
CLOSE = {"rtol": 1e-5, "atol": 1e-5}  # float32 sums in another order


@pytest.fixture(params=ARCHITECTURES)
def network(request):
    torch.manual_seed(0)
    network = ARCHITECTURES[request.param].decoder(VOCAB).eval()
    for parameter in network.parameters():  # initial weights are too small to show a leak
        if parameter.dim() == 2:
            parameter.data.mul_(0.1 / parameter.data.std())
    return network


def random_ids(*shape):
    return torch.randint(FIRST_ID, VOCAB.size, shape)


def test_a_position_never_sees_the_tokens_after_it(network):
    ids = random_ids(2, 16)
    changed = ids.clone()
    changed[:, 9:] = FIRST_ID + (ids[:, 9:] + 1 - FIRST_ID) % (VOCAB.size - FIRST_ID)

    before, after = network(ids), network(changed)

    torch.testing.assert_close(before[:, :9], after[:, :9], **EXACT)
    assert not torch.equal(before[:, 9:], after[:, 9:])


def test_a_position_sees_every_token_before_it(network):
    embedded = []
    network.embed.register_forward_hook(lambda _module, _ids, x: embedded.append(x) or x)

    network(random_ids(1, 12))[0, -1].logsumexp(-1).backward(inputs=embedded)

    assert (embedded[0].grad.norm(dim=-1) > 0).all()


def test_causality_holds_in_bfloat16_too(network):
    ids = random_ids(2, 16)
    changed = ids.clone()
    changed[:, 9:] = FIRST_ID

    with torch.autocast("cpu", torch.bfloat16):
        before, after = network(ids), network(changed)

    torch.testing.assert_close(before[:, :9], after[:, :9], **EXACT)


def test_what_stands_in_the_padding_changes_nothing(network):
    ids = random_ids(3, 12)
    mask = torch.arange(12) < torch.tensor([12, 7, 3])[:, None]
    padded = torch.where(mask, ids, VOCAB.pad_id)

    real, other = network(padded, mask), network(ids, mask)

    torch.testing.assert_close(real[mask], other[mask], **EXACT)


def test_the_amount_of_padding_changes_nothing(network):
    ids = random_ids(3, 7)
    padded = torch.cat([ids, torch.full((3, 9), VOCAB.pad_id)], dim=1)

    short, long = network(ids), network(padded, torch.arange(16) < torch.full((3, 1), 7))

    torch.testing.assert_close(short, long[:, :7], **CLOSE)


def test_batch_mates_change_nothing(network):
    ids = random_ids(4, 12)
    mates = ids.clone()
    mates[1:] = random_ids(3, 12)

    torch.testing.assert_close(network(ids)[0], network(mates)[0], **EXACT)
    torch.testing.assert_close(network(ids)[:1], network(ids[:1]), **CLOSE)


DOCUMENTS = torch.tensor([[0] * 5 + [1] * 4 + [2] * 7, [4] * 16, [0] + [2] * 14 + [3]])


def test_a_packed_row_gives_what_its_documents_give_alone(network):
    ids = random_ids(3, 16)

    packed = network(ids, document_ids=DOCUMENTS)

    for row, documents in enumerate(DOCUMENTS):
        for document in documents.unique():
            inside = documents == document
            alone = network(ids[row, inside][None])[0]
            torch.testing.assert_close(packed[row, inside], alone, rtol=1e-5, atol=1e-5)


def test_packed_rows_give_the_gradients_of_their_documents(network):
    ids, labels = random_ids(3, 16), random_ids(3, 16)

    packed = projected_nll(network.hidden(ids, None, DOCUMENTS), network.output.weight, labels)
    together = torch.autograd.grad(packed.nll, list(network.parameters()))
    alone = 0
    for row, documents in enumerate(DOCUMENTS):
        for document in documents.unique():
            inside = documents == document
            hidden = network.hidden(ids[row, inside][None])
            alone += projected_nll(hidden, network.output.weight, labels[row, inside][None]).nll

    for ours, theirs in zip(
        together, torch.autograd.grad(alone, list(network.parameters())), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_ragged_micro_batches_give_the_gradient_of_one_batch(network):
    ids, labels = random_ids(6, 10), random_ids(6, 10)
    mask = torch.arange(10) < torch.tensor([10, 8, 6, 9, 2, 5])[:, None]
    labels[~mask] = IGNORE

    def gradients(*parts):
        total = 0
        for part in parts:
            width = int(mask[part].sum(1).max())
            hidden = network.hidden(ids[part, :width], mask[part, :width])
            total += projected_nll(hidden, network.output.weight, labels[part, :width]).nll
        return torch.autograd.grad(total / (labels != IGNORE).sum(), list(network.parameters()))

    whole = gradients(slice(0, 6))
    ragged = gradients(slice(0, 1), slice(1, 4), slice(4, 6))

    for ours, theirs in zip(ragged, whole, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "architecture",
    [
        *ARCHITECTURES.values(),
        transformer(d_model=256, d_ff=704, num_layers=4),
        transformer(d_model=512, norm_first=False, positions="learned", num_layers=1),
        transformer(d_model=512, norm_first=False, positions="sinusoidal", num_layers=3),
        transformer(d_model=384, d_ff=1536, num_layers=6, positions="learned", activation="gelu"),
        recurrent("lstm", d_model=512),
        recurrent("rnn", d_model=512),
    ],
    ids=repr,
)
def test_the_first_loss_is_within_5_percent_of_ln_v(architecture):
    torch.manual_seed(1)
    vocab = VOCAB._replace(size=2000)
    ids = torch.randint(vocab.size, (8, 33))

    loss = token_nll(architecture.decoder(vocab)(ids[:, :-1]), ids[:, 1:])

    assert loss.item() == pytest.approx(math.log(vocab.size), rel=0.05)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_eight_samples_can_be_memorised(name):
    torch.manual_seed(0)
    network = ARCHITECTURES[name].decoder(VOCAB)
    ids = random_ids(8, 13)
    ids[:, 0] = torch.arange(FIRST_ID, FIRST_ID + 8)  # tells the samples apart
    ids[:, 1] = FIRST_ID + 8  # relative positions cannot count a token that begins a row twice
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=0.0)

    for _ in range(300):
        optimizer.zero_grad()
        hidden = network.hidden(ids[:, :-1])
        sums = projected_nll(hidden, network.output.weight, ids[:, 1:])
        (sums.nll / sums.count).backward()
        optimizer.step()
        if sums.nll / sums.count < 0.01:
            break

    hidden = network.eval().hidden(ids[:, :-1])
    known = projected_nll(hidden, network.output.weight, ids[:, 1:], counts_hits=True)
    assert known.correct == known.count
    assert known.nll / known.count < 0.05


def test_a_state_dict_restores_every_bit(network, tmp_path, request):
    torch.save(network.state_dict(), tmp_path / "network.pt")
    ids = random_ids(2, 9)
    name = request.node.callspec.params["network"]

    other = ARCHITECTURES[name].decoder(VOCAB).eval()
    other.load_state_dict(torch.load(tmp_path / "network.pt", weights_only=True))

    torch.testing.assert_close(other(ids), network(ids), **EXACT)


def test_a_network_steps(network):
    assert isinstance(network, StepDecoder)


def test_steps_give_the_logits_of_a_forward_pass(network):
    ids = random_ids(3, 12)
    state = network.start()
    logits = []
    for new in ids.split([4, 1, 1, 3, 1, 1, 1], dim=1):
        last, state = network.step(new, state)
        logits.append(last)

    expected = network(ids)[:, [3, 4, 5, 8, 9, 10, 11]]

    torch.testing.assert_close(torch.stack(logits, dim=1), expected, **CLOSE)


def test_prompts_of_unequal_length_step_as_they_would_alone(network):
    ids, lengths = random_ids(3, 16), torch.tensor([6, 2, 4])
    rows = torch.arange(3)
    mask = torch.arange(6) < lengths[:, None]
    expected = network(ids)

    logits, state = network.step(ids[:, :6].masked_fill(~mask, VOCAB.pad_id), network.start(), mask)
    torch.testing.assert_close(logits, expected[rows, lengths - 1], **CLOSE)
    for after in range(5):
        place = lengths + after
        logits, state = network.step(ids[rows, place][:, None], state)
        torch.testing.assert_close(logits, expected[rows, place], **CLOSE)
    chunk = torch.stack([ids[row, start : start + 3] for row, start in enumerate(lengths + 5)])
    logits, state = network.step(chunk, state)
    torch.testing.assert_close(logits, expected[rows, lengths + 7], **CLOSE)


def test_chunks_of_unequal_length_step_as_they_would_alone(network):
    ids = random_ids(2, 16)
    expected = network(ids)

    _, state = network.step(ids[:, :3], network.start())
    chunk = torch.stack([ids[0, 3:7], torch.cat([ids[1, 3:5], ids[1, :2]])])
    logits, state = network.step(chunk, state, torch.tensor([[True] * 4, [True] * 2 + [False] * 2]))

    torch.testing.assert_close(logits, expected[[0, 1], [6, 4]], **CLOSE)
    logits, _ = network.step(ids[[0, 1], [7, 5]][:, None], state)
    torch.testing.assert_close(logits, expected[[0, 1], [7, 5]], **CLOSE)


def test_reorder_gives_each_row_the_state_of_its_parent(network):
    ids = random_ids(3, 9)
    mask = torch.arange(6) < torch.tensor([6, 4, 5])[:, None]
    parents = torch.tensor([2, 0, 2, 1, 1])
    _, state = network.step(ids[:, :6], network.start(), mask)

    expected, _ = network.step(ids[:, 6:7], state)
    logits, _ = network.step(ids[parents, 6:7], network.reorder(state, parents))

    torch.testing.assert_close(logits, expected[parents], **CLOSE)


def test_rows_of_one_parent_go_different_ways(network):
    ids = random_ids(1, 12)
    other = ids.clone()
    other[:, 8:] = random_ids(1, 4)
    _, state = network.step(ids[:, :8], network.start())
    state = network.reorder(state, torch.tensor([0, 0]))

    for column in range(8, 12):
        logits, state = network.step(torch.cat([ids, other])[:, column : column + 1], state)

    torch.testing.assert_close(logits, network(torch.cat([ids, other]))[:, -1], **CLOSE)


def test_a_network_runs_in_bfloat16_weights(network):
    ids = random_ids(2, 8)
    expected = network(ids)
    network.bfloat16()

    logits, _ = network.step(ids, network.start())

    assert logits.dtype == torch.bfloat16
    scale = expected.abs().max().item()
    torch.testing.assert_close(logits.float(), expected[:, -1], rtol=0, atol=0.05 * scale)


def test_dropout_is_drawn_in_training_only():
    for architecture in (transformer(dropout=0.5), recurrent("gru", dropout=0.5)):
        network, ids = architecture.decoder(VOCAB), random_ids(2, 8)

        assert not torch.equal(network(ids), network(ids))
        network.eval()
        assert torch.equal(network(ids), network(ids))
