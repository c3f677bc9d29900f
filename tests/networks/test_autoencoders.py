"""What every autoencoder has to satisfy, whatever its architecture."""

import math

import pytest
import torch
from architectures import ARCHITECTURES, FIRST_ID, VOCAB, recurrent, transformer

from lmexp.losses import projected_nll, token_nll
from lmexp.networks.interface import Autoencoder, StepDecoder

EXACT = {"rtol": 0, "atol": 0}
CLOSE = {"rtol": 1e-5, "atol": 1e-5}  # float32 sums in another order
Z = 5


@pytest.fixture(params=ARCHITECTURES)
def network(request):
    torch.manual_seed(0)
    network = ARCHITECTURES[request.param].autoencoder(VOCAB, Z).eval()
    for parameter in network.parameters():  # initial weights are too small to show a leak
        if parameter.dim() == 2:
            parameter.data.mul_(0.1 / parameter.data.std())
    return network


def random_ids(*shape):
    return torch.randint(FIRST_ID, VOCAB.size, shape)


def real(ids):
    return torch.ones_like(ids, dtype=torch.bool)


def test_it_is_an_autoencoder_that_steps(network):
    ids = random_ids(2, 5)

    posterior = network.posterior(ids, real(ids))

    assert isinstance(network, Autoencoder)
    assert isinstance(network, StepDecoder)
    assert posterior.mean.shape == posterior.log_variance.shape == (2, Z)
    assert network(torch.randn(2, Z), ids).shape == (2, 5, VOCAB.size)


def test_the_posterior_sees_every_token(network):
    embedded = []
    handle = network.encoder.embed.register_forward_hook(lambda _m, _i, x: embedded.append(x) or x)
    ids = random_ids(1, 9)

    network.posterior(ids, real(ids)).mean.sum().backward(inputs=embedded)
    handle.remove()

    assert (embedded[0].grad.norm(dim=-1) > 0).all()


def test_padding_and_batch_mates_change_nothing(network):
    ids, latent = random_ids(3, 7), torch.randn(3, Z)
    wide = torch.cat([ids, random_ids(3, 5)], dim=1)
    mask = torch.arange(12).expand(3, 12) < 7

    alone = network.posterior(ids, real(ids))
    padded = network.posterior(wide, mask)
    first = network.posterior(ids[:1], real(ids[:1]))

    for mine, its, single in zip(alone, padded, first, strict=True):
        torch.testing.assert_close(mine, its, **CLOSE)
        torch.testing.assert_close(mine[:1], single, **CLOSE)
    hidden = network.hidden(latent, ids)
    torch.testing.assert_close(hidden, network.hidden(latent, wide, mask)[:, :7], **CLOSE)
    torch.testing.assert_close(hidden[:1], network.hidden(latent[:1], ids[:1]), **CLOSE)


def test_a_position_sees_its_point_and_no_token_after_it(network):
    ids, latent = random_ids(2, 16), torch.randn(2, Z, requires_grad=True)
    changed = ids.clone()
    changed[:, 9:] = FIRST_ID + (ids[:, 9:] + 1 - FIRST_ID) % (VOCAB.size - FIRST_ID)

    before, after = network(latent, ids), network(latent, changed)

    torch.testing.assert_close(before[:, :9], after[:, :9], **EXACT)
    assert not torch.equal(before[:, 9:], after[:, 9:])
    for place in (0, 15):
        (gradient,) = torch.autograd.grad(
            before[:, place].logsumexp(-1).sum(), latent, retain_graph=True
        )
        assert (gradient != 0).any(dim=1).all()


def test_steps_give_the_logits_of_a_forward_pass(network):
    ids, latent = random_ids(3, 12), torch.randn(3, Z)
    state, logits = network.start(latent), []
    for new in ids.split([4, 1, 1, 3, 1, 1, 1], dim=1):
        last, state = network.step(new, state)
        logits.append(last)

    expected = network(latent, ids)[:, [3, 4, 5, 8, 9, 10, 11]]

    torch.testing.assert_close(torch.stack(logits, dim=1), expected, **CLOSE)


def test_a_reordered_state_goes_on_from_the_points_of_its_rows(network):
    ids, latent, rows = random_ids(3, 6), torch.randn(3, Z), torch.tensor([2, 2, 0, 1])
    _, state = network.step(ids[:, :5], network.start(latent))

    logits, _ = network.step(ids[rows, 5:], network.reorder(state, rows))

    torch.testing.assert_close(logits, network(latent, ids)[rows, 5], **CLOSE)


@pytest.mark.parametrize("is_training", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_of_padding_alone_gives_no_nan(network, is_training, dtype):
    ids = random_ids(3, 6)
    mask = real(ids)
    mask[1] = False

    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        posterior = network.train(is_training).posterior(ids, mask)
        latent = posterior.mean + posterior.log_variance.exp()
        hidden = network.hidden(latent, ids, mask)
        hidden.float().sum().backward()

    assert posterior.mean.dtype == torch.float32
    assert all(part.isfinite().all() for part in (*posterior, hidden))
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)


def test_both_sides_share_their_embedding_where_it_is_asked_for():
    shared, apart = (
        recurrent("gru", shares_embeddings=is_shared).autoencoder(VOCAB, Z)
        for is_shared in (True, False)
    )

    assert shared.encoder.embed.weight is shared.output.weight
    assert apart.encoder.embed.weight is not apart.output.weight


@pytest.mark.parametrize(
    "architecture", [*ARCHITECTURES.values(), recurrent("lstm", d_model=512)], ids=repr
)
def test_the_first_loss_is_within_5_percent_of_ln_v(architecture):
    torch.manual_seed(1)
    vocab = VOCAB._replace(size=2000)
    ids = torch.randint(vocab.size, (8, 33))
    network = architecture.autoencoder(vocab, 32)

    loss = token_nll(network(torch.randn(8, 32), ids[:, :-1]), ids[:, 1:])

    assert loss.item() == pytest.approx(math.log(vocab.size), rel=0.05)


@pytest.mark.parametrize(
    "name",
    [
        *("rnn", "vaswani", "gpt2"),
        *(pytest.param(x, marks=pytest.mark.slow) for x in ("lstm", "gru")),
    ],
)
def test_four_sentences_can_be_memorised_by_their_points_alone(name):
    torch.manual_seed(0)
    network = ARCHITECTURES[name].autoencoder(VOCAB, Z)
    labels = random_ids(4, 8)
    unseen = torch.full_like(labels, VOCAB.bos_id)  # the decoder sees no word: z has to say them
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=0.0)

    def loss():
        latent = network.posterior(labels, real(labels)).mean
        return projected_nll(
            network.hidden(latent, unseen), network.output.weight, labels, counts_hits=True
        )

    for _ in range(400):
        optimizer.zero_grad()
        sums = loss()
        (sums.nll / sums.count).backward()
        optimizer.step()
        if sums.nll / sums.count < 0.01:
            break

    assert loss().correct == labels.numel()


def test_a_state_dict_restores_every_bit(network, tmp_path, request):
    torch.save(network.state_dict(), tmp_path / "network.pt")
    ids, latent = random_ids(2, 9), torch.randn(2, Z)
    name = request.node.callspec.params["network"]

    other = ARCHITECTURES[name].autoencoder(VOCAB, Z).eval()
    other.load_state_dict(torch.load(tmp_path / "network.pt", weights_only=True))

    torch.testing.assert_close(other(latent, ids), network(latent, ids), **EXACT)


def test_an_untied_output_layer_is_no_hidden_matrix():
    from lmexp.optimizers import parameter_groups

    network = transformer(tied=False).autoencoder(VOCAB, Z)

    hidden = [group for group in parameter_groups(network) if group["is_hidden_matrix"]]

    assert all(p is not network.output.weight for group in hidden for p in group["params"])
