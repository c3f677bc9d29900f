"""A sentence VAE's task: the objective, its figures, the bounds, and the warning of a collapse."""

import math
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from lmexp.batch import IGNORE, SentenceBatch
from lmexp.networks.interface import Vocab
from lmexp.networks.recurrent import Recurrent
from lmexp.schedules import Constant
from lmexp.tasks.latent import kl_to_prior
from lmexp.tasks.vae_lm import VaeLM
from lmexp.tasks.vae_sums import VaeSums

VOCAB = Vocab(size=13, pad_id=0, bos_id=2, eos_id=3, mask_id=4)
GRU = Recurrent(
    cell="gru",
    d_model=8,
    num_layers=1,
    dropout=0.0,
    variational=False,
    tied=True,
    attention="dot",
    shares_embeddings=True,
)


def task(architecture=GRU, **changes) -> VaeLM:
    torch.manual_seed(0)
    options = {"latent_size": 3, "kl_schedule": "constant", "kl_steps": 10, "free_bits": 0.0}
    return VaeLM(
        architecture,
        VOCAB,
        partial(torch.optim.SGD, lr=1.0),
        Constant(0),
        **(options | {"clip_norm": None, "ema_decay": None} | changes),
    )


def batch(*sentences, columns=0, first=0) -> SentenceBatch:
    """Rows of ids; an empty one is a row that holds a place, without a label."""
    width = max(map(len, sentences)) + 1 + columns
    ids = torch.full((len(sentences), width), VOCAB.pad_id)
    mask = torch.zeros_like(ids, dtype=torch.bool)
    read, labels = ids.clone(), torch.full_like(ids, IGNORE)
    for row, own in enumerate(sentences):
        length = len(own) + 1
        mask[row, :length] = True
        if own:
            ids[row, :length] = labels[row, :length] = torch.tensor([*own, VOCAB.eos_id])
            read[row, :length] = torch.tensor([VOCAB.bos_id, *own])
    return SentenceBatch(ids, mask, read, labels, torch.arange(first, first + len(sentences)))


SENTENCES = ([7, 8, 9], [10, 11, 12, 7, 7], [8])


def seeded_sums(model, own):
    torch.manual_seed(1)
    return model.sums(own, None)[0]


def test_the_objective_is_reconstruction_and_weighted_divergence():
    model, annealed = task(), task(kl_schedule="linear")
    model.steps_done = annealed.steps_done = 4
    own = batch(*SENTENCES)
    kl = kl_to_prior(model.network.posterior(own.input_ids, own.attention_mask)).sum()

    full, part = seeded_sums(model, own), seeded_sums(annealed, own)

    assert full.tokens == 3 + 5 + 1 + 3
    torch.testing.assert_close(full.objective, full.nll)
    torch.testing.assert_close(part.nll, full.nll)  # what is reported has the weight 1
    torch.testing.assert_close(full.objective - part.objective, 0.6 * kl)


def test_free_bits_are_a_floor_of_each_dimension_and_leave_the_report_alone():
    model, free = task(), task(free_bits=0.5)
    own = batch(*SENTENCES)
    kl = kl_to_prior(model.network.posterior(own.input_ids, own.attention_mask))

    plain, floored = seeded_sums(model, own), seeded_sums(free, own)

    assert (kl < 0.5).any()
    torch.testing.assert_close(floored.objective - plain.objective, (0.5 - kl).clamp(min=0).sum())
    torch.testing.assert_close(floored.nll, plain.nll)


def test_a_batch_of_nothing_adds_nothing_and_has_gradients_of_zero():
    for free_bits in (0.0, 0.5):
        model = task(free_bits=free_bits)
        nothing = batch([])

        sums = seeded_sums(model, nothing)
        sums.objective.backward()

        assert [float(value.detach()) for value in sums] == [0, 0, 0]
        assert all((p.grad == 0).all() for p in model.parameters() if p.grad is not None)
        assert model.evaluate([nothing]) == VaeSums.nothing(3)


def test_padding_batch_mates_and_order_change_no_figure():
    model = task()
    together = model.evaluate([batch(*SENTENCES)])
    alone = model.evaluate([batch(own, columns=4, first=n) for n, own in enumerate(SENTENCES)])

    assert together.figures() == pytest.approx(alone.figures(), rel=1e-5)


def test_figures_by_arithmetic():
    sums = VaeSums.of([30.0, 10.0, 20, 4, 4.0, 2.0, 4.0, 1.0 + 4 * 0.02])

    assert sums.figures() == pytest.approx(
        {
            "loss": 2.0,
            "perplexity": math.exp(2.0),
            "reconstruction": 1.5,
            "kl": 0.5,
            "sentence_loss": 10.0,
            "sentence_reconstruction": 7.5,
            "sentence_kl": 2.5,
            "active_units": 1.0,  # variances 0 and 0.02
            "tokens": 20.0,
            "sentences": 4.0,
        }
    )
    assert sums.plus(torch.tensor(sums.values(), dtype=torch.float64)).active_units == 1
    with pytest.raises(ValueError, match="no token was scored"):
        VaeSums.nothing(2).figures()


def test_the_importance_weighted_bound_is_never_below_the_mean_of_its_draws():
    model, own = task(), batch(*SENTENCES)
    single = [model.importance_weighted(own, 1)[0]]

    bound, tokens = model.importance_weighted(own, 20)

    assert tokens == 12
    assert (bound >= mean_of_draws(model, own, 20) - 1e-6).all()  # Jensen
    torch.testing.assert_close(model.importance_weighted(own, 1)[0], single[0], rtol=0, atol=0)


def mean_of_draws(model, own, draws):
    """(B,) mean of log p(x, z) / q(z|x) over the same draws: the evidence lower bound."""
    noise = model._noise(own, draws)
    total = torch.zeros(len(own.labels), dtype=torch.float64)
    for number in range(draws):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(model, "_noise", lambda *_, one=noise[number]: one[None])
            total += model.importance_weighted(own, 1)[0]
    return total / draws


@torch.no_grad()
def test_the_evidence_lower_bound_is_that_of_the_draws_within_3_sigma():
    model, draws = task(), 2000
    own = batch(*[[7, 8, 9]] * draws)  # one sentence under many numbers
    sums = model.evaluate([own])
    posterior = model.network.posterior(own.input_ids[:1], own.attention_mask[:1])

    values, tokens = model.importance_weighted(own, 1)

    assert tokens == 4 * draws
    assert sums.kl / draws == pytest.approx(float(kl_to_prior(posterior).sum()), rel=1e-5)
    error = values + sums.nll / draws + sums.kl / draws  # of log p(z) - log q(z|x) as the KL term
    assert abs(error.mean()) < 3 * values.std() / math.sqrt(draws)


def test_scores_give_a_perplexity_no_higher_than_the_bound_and_information_within_log_n():
    model = task(latent_size=8)
    train(model, batch(*SENTENCES), 100)
    data = FakeData(batch(*SENTENCES))

    losses = []
    for noise in model._noise(data.own, 30):  # of one draw alone it has an error of its own
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(model, "_noise", lambda *_, own=noise: own[None])
            losses.append(model.evaluate(data.eval_dataloader("test")).figures()["loss"])
    found = model.scores(data, "test")

    assert found["importance_loss"] <= sum(losses) / len(losses)
    assert found["importance_perplexity"] == pytest.approx(math.exp(found["importance_loss"]))
    assert 0 <= found["mutual_information"] <= math.log(3) + 1e-9


class FakeData:
    """What scores() asks of a data module, of one batch."""

    def __init__(self, own) -> None:
        self.own = own
        self.evaluation = SimpleNamespace(
            importance_samples=30, information_sentences=1000, batch_size=2
        )

    def eval_dataloader(self, split):
        return [self.own]

    def reader(self, split):
        def rows(numbers, _epoch):
            return SentenceBatch(*(part[numbers] for part in self.own))

        return SimpleNamespace(num_sequences=len(self.own.labels), batch=rows)


def train(model, own, steps, lr=0.02):
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.0)
    for _ in range(steps):
        optimizer.zero_grad()
        sums, _ = model.sums(own, None)
        (sums.objective / sums.tokens).backward()
        optimizer.step()
        model.steps_done += 1
    return sums


def test_four_sentences_can_be_memorised():
    model = task(latent_size=8, kl_schedule="linear", kl_steps=10_000)
    own = batch(*SENTENCES, [12, 11, 10])

    train(model, own, 500)

    figures = model.evaluate([own]).figures()
    assert figures["reconstruction"] < 0.05
    assert figures["sentence_kl"] > math.log(4)


def test_a_collapse_is_told_in_words_once_and_again_after_it_was_overcome():
    said, model = [], task()
    model.tell = said.append
    collapsed = VaeSums.of([30.0, 0.1, 20, 4, 0.0, 0, 0, 0.0, 0, 0])
    lively = VaeSums.of([30.0, 10.0, 20, 4, 0.0, 0, 0, 4.0, 4, 4])

    for sums in (lively, collapsed, collapsed, lively, collapsed):
        model._validation = sums
        model.validated(None)

    assert len(said) == 2
    assert "a point in it says 0.03 nats of its sentence" in said[0]
    assert "0 of its 3 dimensions move with the sentence" in said[0]
    for remedy in ("task.kl_schedule=", "task.kl_steps", "task.free_bits=", "data.word_dropout="):
        assert remedy in said[0]


def test_what_is_no_autoencoder_is_refused():
    class Builds:
        def autoencoder(self, vocab, latent_size):
            return torch.nn.Linear(1, 1)

    with pytest.raises(TypeError, match=r"Builds.autoencoder\(\) built, is no autoencoder"):
        task(Builds())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_that_holds_a_place_beside_sentences_changes_nothing(dtype):
    model = task()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        with_it = model.evaluate([batch(*SENTENCES, [])])
        sums = seeded_sums(model, batch(*SENTENCES, []))
        without = model.evaluate([batch(*SENTENCES)])

    assert all(value.isfinite() for value in sums)
    assert with_it.sentences == 3
    assert with_it.values() == pytest.approx(without.values(), rel=1e-5)
