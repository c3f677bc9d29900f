"""Language modelling through a latent space: a sentence VAE (Bowman et al. 2016).

Shapes: B sentences, T tokens, D model width, Z latent dimensions, K draws.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Protocol

import numpy as np
import torch
from annotated_types import Ge, Gt, Lt
from numpy.typing import NDArray
from torch import Tensor, nn

from lmexp.batch import IGNORE, SentenceBatch, move
from lmexp.decoding.latent import normals, sentences
from lmexp.decoding.sampling import Sampling
from lmexp.losses import NllSum, projected_nll, row_nll
from lmexp.metrics import perplexity
from lmexp.networks.interface import Autoencoder, Posterior, State, Vocab
from lmexp.schedules import Schedule
from lmexp.seeds import mixed_seed
from lmexp.tasks.base import MakeOptimizer, Task
from lmexp.tasks.interface import Sample, Sums
from lmexp.tasks.latent import (
    KlSchedule,
    KlWeight,
    drawn,
    kl_to_prior,
    log_posterior,
    log_prior,
    mutual_information,
)
from lmexp.tasks.vae_sums import VaeSums

SCORING_SEED = 0  # of the points drawn in an evaluation


class BuildsAutoencoder(Protocol):
    """An architecture that can be asked for an autoencoder."""

    def autoencoder(self, vocab: Vocab, latent_size: int) -> Any:
        """A network that meets networks.interface.Autoencoder."""
        ...


class VaeLM(Task):
    """Sentences from points of a latent space, by the evidence lower bound.

    What is minimised is the reconstruction's negative log-likelihood plus, times the weight of the
    step, the KL term; what is reported has the weight 1 and no free bits. One point is drawn for
    each sentence: a function of seed, step and the sentence's number, in evaluation of that alone.

    Args:
        architecture: asked for its autoencoder.
        vocab: of the tokenizer.
        optimizer: see Task.
        schedule: see Task.
        seed: see Task.
        latent_size: Z.
        kl_schedule: of the weight, see KlWeight.
        kl_steps: see KlWeight; a constant weight reads past it.
        free_bits: nats; a dimension with less of a sentence's KL counts as having so much (Kingma
            et al. 2016, section C.8, who take the mean over a mini-batch first; dimension by
            dimension as Li et al. 2020, section 3.2).
        clip_norm: see Task.
        ema_decay: see Task.
    """

    network_kind = "autoencoder"
    text_kind = "sentences"
    keeps_examples = True
    example_sums = ("bound", "reconstruction", "kl", "tokens", "sentences")
    example_metrics: ClassVar = {
        "loss": ("ratio", "bound", "tokens"),
        "perplexity": ("perplexity", "bound", "tokens"),
        "reconstruction": ("ratio", "reconstruction", "tokens"),
        "kl": ("ratio", "kl", "tokens"),
        "sentence_loss": ("ratio", "bound", "sentences"),
        "importance_loss": ("ratio", "importance_bound", "tokens"),
        "importance_perplexity": ("perplexity", "importance_bound", "tokens"),
    }

    def __init__(
        self,
        architecture: BuildsAutoencoder,
        vocab: Vocab,
        optimizer: MakeOptimizer | None = None,
        schedule: Schedule | None = None,
        *,
        seed: int = 0,
        latent_size: Annotated[int, Gt(0)],
        kl_schedule: KlSchedule,
        kl_steps: Annotated[int, Gt(0)],
        free_bits: Annotated[float, Ge(0)],
        clip_norm: Annotated[float, Gt(0)] | None,
        ema_decay: Annotated[float, Gt(0), Lt(1)] | None,
    ) -> None:
        network = architecture.autoencoder(vocab, latent_size)
        if not isinstance(network, Autoencoder) or not isinstance(network, nn.Module):
            raise TypeError(
                f"{type(network).__name__}, which {type(architecture).__name__}.autoencoder() "
                "built, is no autoencoder: it needs posterior(), hidden(), start(), step(), "
                "reorder(), `latent_size` and `output`, an nn.Linear to V"
            )
        super().__init__(
            network, optimizer, schedule, seed=seed, clip_norm=clip_norm, ema_decay=ema_decay
        )
        self.vocab = vocab
        self.kl_weight = KlWeight(kl_schedule, kl_steps)
        self.free_bits = free_bits
        self._was_told = False  # of a collapse

    @property
    def autoencoder(self) -> Any:
        """The network; nn.Module's own typing would take its methods for tensors."""
        return self.network

    def sums(self, batch: SentenceBatch, carried: State | None) -> tuple[Sums, State | None]:
        """Sums over the tokens of one micro-batch; nothing is carried."""
        posterior = self.autoencoder.posterior(batch.input_ids, batch.attention_mask)
        seed = mixed_seed(self.seed, self.steps_done)
        latent = drawn(posterior, self._noise(batch, 1, seed)[0])
        hidden = self.autoencoder.hidden(latent, batch.target_ids, batch.attention_mask)
        nll = projected_nll(hidden, self.autoencoder.output.weight, batch.labels)
        kl = kl_to_prior(posterior)[_are_real(batch)]  # none of a row that holds a place
        counted = kl.clamp(min=self.free_bits) if self.free_bits else kl
        objective = nll.nll + self.kl_weight.at(self.steps_done) * counted.sum()
        return Sums(objective, nll.plain + kl.detach().sum(), nll.count), None

    def begin_validation(self) -> None:
        """With sums of nothing."""
        self._bounds: list[tuple[NDArray[np.int64], NDArray[np.float64]]] = []  # of documents
        self._validation = VaeSums.nothing(self.autoencoder.latent_size)

    @torch.no_grad()
    def validation_step(self, batch: SentenceBatch, batch_idx: int) -> None:
        """Add one batch to the sums of this validation."""
        values, nll, kl = self._scored(batch)
        self._validation = self._validation.plus(values)
        if self.examples is not None:
            self._keep(self.examples.of_batch(batch_idx), batch, nll, kl)

    @torch.no_grad()
    def evaluate(self, batches: Iterable[SentenceBatch]) -> VaeSums:
        """Sums over an evaluation loader: every sentence once, in float64."""
        total = VaeSums.nothing(self.autoencoder.latent_size)
        for batch in batches:
            total = total.plus(self._scored(batch)[0])
        return total

    def _keep(
        self, documents: NDArray[np.int64], batch: SentenceBatch, nll: NllSum, kl: Tensor
    ) -> None:
        """Add a batch to the sums of its documents; one without a sentence has a row of nothing."""
        assert nll.each is not None
        tokens = (batch.labels != IGNORE).sum(dim=1).cpu().numpy()[: len(documents)]
        nats, owners = nll.each[:, 0].cpu().double().numpy(), np.repeat(documents, tokens)
        self.by_example.add(owners, bound=nats, reconstruction=nats, tokens=1.0)
        of_rows = kl.cpu().double().numpy()
        self.by_example.add(documents, bound=of_rows, kl=of_rows, sentences=1.0)

    def _scored(self, batch: SentenceBatch) -> tuple[Tensor, NllSum, Tensor]:
        """(4 + 2Z,) float64 on the CPU, as VaeSums; what it is made of, KL of each sentence."""
        batch = move(batch, self.device)
        posterior, noise = self._posterior(batch), self._noise(batch, 1)[0]
        latent = drawn(posterior, noise)
        hidden = self.autoencoder.hidden(latent, batch.target_ids, batch.attention_mask)
        weight, keeps = self.autoencoder.output.weight, self.examples is not None
        nll = projected_nll(hidden, weight, batch.labels, keeps_each=keeps)
        is_real = _are_real(batch)
        kl = kl_to_prior(posterior)[is_real]
        mean = posterior.mean[is_real].cpu().double()
        counts = [nll.plain, kl.sum(), nll.count, is_real.sum()]
        of_all = torch.stack([value.cpu().double() for value in counts])
        values = torch.cat([of_all, mean.sum(dim=0), mean.square().sum(dim=0)])
        return values, nll, kl.sum(dim=1)

    def _posterior(self, batch: SentenceBatch) -> Posterior:
        found: Posterior = self.autoencoder.posterior(batch.input_ids, batch.attention_mask)
        return found

    def _noise(self, batch: SentenceBatch, draws: int, seed: int = SCORING_SEED) -> Tensor:
        """(K, B, Z): the first ones are the same whatever K."""
        size = self.autoencoder.latent_size
        return normals(seed, batch.numbers.tolist(), draws, size).to(self.device)

    def validated(self, store: Any) -> dict[str, float]:
        """Figures of the validation or test that has just ended; every rank has to ask."""
        total = self._validation.over(self.ranks)
        found = total.collapse()
        if found and not self._was_told:
            self.tell(found)
        self._was_told = bool(found)
        return total.figures()

    @torch.no_grad()
    def scores(self, data: Any, split: str) -> dict[str, float | str]:
        """The importance-weighted bound, and mutual information."""
        self.network.eval()
        evaluation, figures = data.evaluation, dict[str, float | str]()
        if evaluation.importance_samples:
            nll, tokens = 0.0, 0.0
            for number, batch in enumerate(data.eval_dataloader(split)):
                bound, count = self.importance_weighted(batch, evaluation.importance_samples)
                nll, tokens = nll - float(bound.sum()), tokens + count
                if self.examples is not None:
                    own = self.examples.of_batch(number)
                    self._bounds.append((own, -bound.numpy()[: len(own)]))
            nll, tokens = self.ranks.total(nll, tokens)
            loss = nll / tokens
            figures["importance_loss"] = loss
            figures["importance_perplexity"] = perplexity(loss)
        if evaluation.information_sentences:
            figures["mutual_information"] = self._information(data.reader(split), evaluation)
        return figures

    def example_outputs(self, data: Any, split: str) -> Mapping[str, NDArray[np.float64]]:
        """The importance-weighted bound of each document, where it was asked for."""
        if not data.evaluation.importance_samples:
            return {}
        documents, bounds = zip(*self._bounds, strict=True)
        found = {"importance_bound": np.concatenate(bounds)}
        return self.in_order(np.concatenate(documents).tolist(), found)

    def importance_weighted(self, batch: SentenceBatch, draws: int) -> tuple[Tensor, int]:
        """log of the mean of p(x, z) / q(z|x) over K draws of z, and the tokens that it is of.

        Burda et al. 2016, equation 8: a lower bound of log p(x) that rises with K from the evidence
        lower bound, K = 1.

        Returns:
            (B,) float64 in nats, 0 for a row that holds a place, and the number of tokens.
        """
        batch = move(batch, self.device)
        posterior, weights = self._posterior(batch), []
        for noise in self._noise(batch, draws):
            latent = drawn(posterior, noise)
            hidden = self.autoencoder.hidden(latent, batch.target_ids, batch.attention_mask)
            nll = row_nll(hidden, self.autoencoder.output.weight, batch.labels)
            weights.append(log_prior(latent) - log_posterior(posterior, latent) - nll)
        bound = torch.stack(weights).cpu().double().logsumexp(dim=0) - math.log(draws)
        bound = bound.masked_fill(~_are_real(batch).cpu(), 0.0)
        return bound, int((batch.labels != IGNORE).sum())

    def _information(self, reader: Any, evaluation: Any) -> float:
        """Of the first sentences of a split; the ranks share them out."""
        count = min(evaluation.information_sentences, reader.num_sequences)
        batches = torch.arange(count).split(evaluation.batch_size)  # type: ignore[no-untyped-call]
        found: dict[int, tuple[Tensor, ...]] = {}
        for place in range(self.ranks.number, len(batches), self.ranks.world_size):
            batch = move(reader.batch(batches[place].numpy(), 0), self.device)
            found[place] = tuple(part.cpu() for part in self._posterior(batch))
        for others in self.ranks.gathered(found):
            found |= others
        parts = zip(*(found[place] for place in range(len(batches))), strict=True)
        noise = normals(SCORING_SEED, range(count), 1, self.autoencoder.latent_size)[0]
        return mutual_information(Posterior(*map(torch.cat, parts)), noise)

    def wants_sample(self, data: Any) -> bool:
        """With eval.sample_sentences."""
        return bool(data.evaluation.sample_sentences > 0)

    @torch.no_grad()
    def sample(self, data: Any) -> Sample:
        """Sentences from the prior, and [a sentence -> what comes back of its posterior's mean]."""
        count, decode = data.evaluation.sample_sentences, data.tokenizer.decode
        batch = data.reader("val").first(count)
        self.network.eval()
        mean = self._posterior(move(batch, self.device)).mean
        points = normals(self.seed, range(count), 1, mean.shape[1])[0].to(self.device)
        longest = max(1, data.max_length - 1)
        lines = []
        for latent, temperature in ((points, 1.0), (mean, 0.0)):
            sampling = Sampling(temperature=temperature, max_new_tokens=longest, seed=self.seed)
            lines.append(
                sentences(self.autoencoder, latent, sampling, vocab=self.vocab, decode=decode)
            )
        own = [decode(ids[mask].tolist()) for ids, mask in zip(*batch[:2], strict=True)]
        pairs = zip(own, lines[1], strict=True)
        return Sample("\n".join([*lines[0], *(f"[{a} -> {b}]" for a, b in pairs)]), {})


def _are_real(batch: SentenceBatch) -> Tensor:
    """(B,) bool, False on a row that holds a place and has no label."""
    return (batch.labels != IGNORE).any(dim=1)
