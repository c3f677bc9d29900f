"""What an evaluation of a latent space adds up, and what is to be said of it."""

from typing import NamedTuple

from torch import Tensor

from lmexp.metrics import perplexity
from lmexp.ranks import Ranks

ACTIVE_VARIANCE = 0.01  # of the posterior's mean over data (Burda et al. 2016, section 5.2)
COLLAPSED_KL = 0.5  # nats a sentence: it holds less than a yes or no


class VaeSums(NamedTuple):
    """Sums over sentences."""

    nll: float  # nats, of tokens given z
    kl: float  # nats
    tokens: int
    sentences: int
    means: tuple[float, ...]  # of each dimension: the posterior's mean
    squares: tuple[float, ...]  # the same squared

    @classmethod
    def of(cls, values: list[float]) -> "VaeSums":
        """From the values in this order, end to end."""
        nll, kl, tokens, sentences, *rest = values
        half = len(rest) // 2
        return cls(nll, kl, int(tokens), int(sentences), tuple(rest[:half]), tuple(rest[half:]))

    @classmethod
    def nothing(cls, latent_size: int) -> "VaeSums":
        """Sums over no sentence."""
        return cls.of([0.0] * (4 + 2 * latent_size))

    def values(self) -> list[float]:
        """What `of` takes."""
        return [*self[:4], *self.means, *self.squares]

    def plus(self, batch: Tensor) -> "VaeSums":
        """With one more batch's values, (4 + 2Z,) float64."""
        pairs = zip(self.values(), batch.tolist(), strict=True)
        return VaeSums.of([mine + other for mine, other in pairs])

    def over(self, ranks: Ranks) -> "VaeSums":
        """The sums of all ranks."""
        return VaeSums.of(ranks.total(*self.values()))

    @property
    def active_units(self) -> int:
        """Dimensions in which the posterior's mean differs from sentence to sentence."""
        count = self.sentences
        pairs = zip(self.means, self.squares, strict=True)
        variances = [square / count - (mean / count) ** 2 for mean, square in pairs]
        return sum(variance > ACTIVE_VARIANCE for variance in variances)

    def figures(self) -> dict[str, float]:
        """The evidence lower bound, its two parts, and active units.

        Returns:
            loss: of the bound, in nats per token; perplexity: exp of it, which is no less than the
            model's own; reconstruction and kl, which loss is the sum of, per token and, with
            `sentence_` before their names, per sentence.

        Raises:
            ValueError: no token was scored.
        """
        if not self.tokens:
            raise ValueError("no token was scored: the text is empty")
        loss = (self.nll + self.kl) / self.tokens
        return {
            "loss": loss,
            "perplexity": perplexity(loss),
            "reconstruction": self.nll / self.tokens,
            "kl": self.kl / self.tokens,
            "sentence_loss": (self.nll + self.kl) / self.sentences,
            "sentence_reconstruction": self.nll / self.sentences,
            "sentence_kl": self.kl / self.sentences,
            "active_units": float(self.active_units),
            "tokens": float(self.tokens),
            "sentences": float(self.sentences),
        }

    def collapse(self) -> str:
        """What to tell a user whose latent space is not used; nothing where it is."""
        kl = self.kl / self.sentences
        if self.active_units > 1 and kl >= COLLAPSED_KL:
            return ""
        return (
            f"the latent space is hardly used (posterior collapse): a point in it says {kl:.2f} "
            f"nats of its sentence, where a yes or no is 0.69, and {self.active_units} of its "
            f"{len(self.means)} dimensions move with the sentence. The decoder writes as if there "
            "were none: samples and interpolations hardly depend on z. In a new run try "
            "task.kl_schedule=cyclical or linear with a larger task.kl_steps, task.free_bits=0.1, "
            "or data.word_dropout=0.4"
        )
