"""Masked language modelling, with or without pairs of segments (Devlin et al. 2019, section 3.1).

Shapes: B sequences, T tokens, N hidden tokens, D model width, V vocabulary.
"""

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Lt
from numpy.typing import NDArray
from torch import Tensor

from lmexp.batch import IGNORE, SegmentBatch, move
from lmexp.losses import NllSum, projected_nll
from lmexp.metrics import perplexity
from lmexp.networks.interface import State, Vocab
from lmexp.ranks import Ranks
from lmexp.schedules import Schedule
from lmexp.tasks.base import MakeOptimizer, Task
from lmexp.tasks.causal_lm import add_tokens
from lmexp.tasks.encoding import BuildsEncoder, checked_encoder
from lmexp.tasks.interface import Sample, Sums
from lmexp.tasks.masked_network import MaskedNetwork

SUMS = ("nats", "tokens", "correct", "pair_nats", "pairs", "correct_pairs")  # as MaskedSums
OF_TOKENS = 3  # of them


class MaskedSums(NamedTuple):
    """What an evaluation adds up."""

    nll: float = 0.0  # nats, of hidden tokens
    tokens: int = 0
    correct: int = 0
    pair_nll: float = 0.0  # nats
    pairs: int = 0
    correct_pairs: int = 0

    def plus(self, batch: Tensor) -> "MaskedSums":
        """With one more batch's (6,) sums; the totals are float64 and whole numbers."""
        return _sums([mine + other for mine, other in zip(self, batch.tolist(), strict=True)])

    def over(self, ranks: Ranks) -> "MaskedSums":
        """The sums of all ranks."""
        return _sums(ranks.total(*self))

    def figures(self) -> dict[str, float]:
        """Loss and accuracy of hidden tokens, and of pairs where there are some."""
        if not self.tokens:
            raise ValueError("no token was scored: the text is empty")
        loss = self.nll / self.tokens
        figures = {
            "loss": loss,
            "perplexity": perplexity(loss),
            "accuracy": self.correct / self.tokens,
            "tokens": float(self.tokens),
        }
        if self.pairs:
            figures["pair_loss"] = self.pair_nll / self.pairs
            figures["pair_accuracy"] = self.correct_pairs / self.pairs
        return figures


def _sums(values: list[float]) -> MaskedSums:
    nll, tokens, correct, pair_nll, pairs, correct_pairs = values
    return MaskedSums(nll, int(tokens), int(correct), pair_nll, int(pairs), int(correct_pairs))


class MaskedLM(Task):
    """Hidden tokens from all others, and whether two segments belong together.

    Args:
        architecture: asked for its encoder.
        vocab: of the tokenizer.
        optimizer: see Task.
        schedule: see Task.
        seed: see Task.
        has_pairs: whether sequences have two segments.
        pair_weight: of the loss of pairs beside that of tokens. Both are means, of pairs one in
            which each counts as much as the tokens that are hidden in it: the paper's where all
            sequences are equally long.
        clip_norm: see Task.
        ema_decay: see Task.
    """

    network_kind = "encoder"
    text_kind = "segments"
    keeps_examples = True
    example_metrics: ClassVar = {
        "loss": ("ratio", "nats", "tokens"),
        "perplexity": ("perplexity", "nats", "tokens"),
        "accuracy": ("ratio", "correct", "tokens"),
        "pair_loss": ("ratio", "pair_nats", "pairs"),
        "pair_accuracy": ("ratio", "correct_pairs", "pairs"),
    }

    def __init__(
        self,
        architecture: BuildsEncoder,
        vocab: Vocab,
        optimizer: MakeOptimizer | None = None,
        schedule: Schedule | None = None,
        *,
        seed: int = 0,
        has_pairs: bool = True,
        pair_weight: Annotated[float, Ge(0)],
        clip_norm: Annotated[float, Gt(0)] | None,
        ema_decay: Annotated[float, Gt(0), Lt(1)] | None,
    ) -> None:
        encoder = checked_encoder(architecture, vocab)
        network = MaskedNetwork(encoder, has_pairs=has_pairs)
        super().__init__(
            network, optimizer, schedule, seed=seed, clip_norm=clip_norm, ema_decay=ema_decay
        )
        self.vocab = vocab
        self.pair_weight = pair_weight
        self.example_sums = SUMS[: None if has_pairs else OF_TOKENS]

    @property
    def masked(self) -> Any:
        """The network; nn.Module's own typing would take its methods for tensors."""
        return self.network

    def sums(self, batch: SegmentBatch, carried: State | None) -> tuple[Sums, State | None]:
        """Sums over the hidden tokens of one micro-batch; nothing is carried."""
        hidden = self.masked.hidden(batch.input_ids, batch.attention_mask, batch.segment_ids)
        nll = self._nll(hidden, batch.labels)
        objective = nll.nll
        judged = self.masked.judged(hidden)
        if judged is not None:
            tokens = (batch.labels != IGNORE).sum(dim=1)
            objective = objective + self.pair_weight * (tokens * _pair_nll(judged, batch)).sum()
        return Sums(objective, nll.plain, nll.count), None

    def _nll(self, hidden: Tensor, labels: Tensor, *, counts_hits: bool = False) -> NllSum:
        is_hidden = labels != IGNORE
        restored = self.masked.restored(hidden[is_hidden])  # (N, D): of them alone
        output = self.masked.output
        return projected_nll(
            restored[None],
            output.weight,
            labels[is_hidden][None],
            bias=output.bias,
            counts_hits=counts_hits,
            keeps_each=counts_hits and self.examples is not None,
        )

    def wants_sample(self, data: Any) -> bool:
        """With eval.sample_sequences."""
        return bool(data.evaluation.sample_sequences > 0)

    @torch.no_grad()
    def sample(self, data: Any) -> Sample:
        """The first sequences of the validation split: [what is hidden -> what is put there]."""
        batch = data.reader("val").first(data.evaluation.sample_sequences)
        device = move(batch, self.device)
        self.network.eval()
        hidden = self.masked.hidden(device.input_ids, device.attention_mask, device.segment_ids)
        restored = self.masked.restored(hidden[device.labels != IGNORE])
        best = iter(self.masked.output(restored).argmax(dim=-1).tolist())
        decode = data.tokenizer.decode
        rows = []
        for ids, mask, labels in zip(*batch[:2], batch.labels, strict=True):
            text = ""
            for number, label in zip(ids[mask].tolist(), labels[mask].tolist(), strict=True):
                own = f"[{decode([label])} -> {decode([next(best)])}]" if label != IGNORE else None
                text += decode([number]) if own is None else own
            rows.append(text)
        return Sample("\n\n".join(rows), {})

    def begin_validation(self) -> None:
        """With sums of nothing."""
        self._validation = MaskedSums()

    @torch.no_grad()
    def validation_step(self, batch: SegmentBatch, batch_idx: int) -> None:
        """Add one batch to the sums of this validation."""
        tokens, pairs = self._found(batch)
        self._validation = self._validation.plus(_together(tokens, pairs))
        if self.examples is not None:
            self._keep(self.examples.of_batch(batch_idx), batch, tokens, pairs)

    @torch.no_grad()
    def evaluate(self, batches: Iterable[SegmentBatch]) -> MaskedSums:
        """Sums over an evaluation loader: every sequence once, in float64."""
        total = MaskedSums()
        for batch in batches:
            total = total.plus(self._scored(batch))
        return total

    def _keep(
        self, examples: NDArray[np.int64], batch: SegmentBatch, tokens: NllSum, pairs: Tensor
    ) -> None:
        """Add a batch to the sums of its sequences; one without a sequence has a row of nothing."""
        hidden = (batch.labels != IGNORE).sum(dim=1).cpu().numpy()[: len(examples)]
        add_tokens(self.by_example, np.repeat(examples, hidden), tokens)
        of_pairs = pairs[:, : len(examples)].cpu().double().numpy()
        self.by_example.add(examples, **dict(zip(SUMS[OF_TOKENS:], of_pairs, strict=False)))

    def _scored(self, batch: SegmentBatch) -> Tensor:
        """(6,) float32, as MaskedSums."""
        return _together(*self._found(batch))

    def _found(self, batch: SegmentBatch) -> tuple[NllSum, Tensor]:
        """What is to be said of hidden tokens, and (3, B) float32 of pairs; (0, B) without them."""
        batch = move(batch, self.device)
        hidden = self.masked.hidden(batch.input_ids, batch.attention_mask, batch.segment_ids)
        tokens = self._nll(hidden, batch.labels, counts_hits=True)
        judged = self.masked.judged(hidden)
        if judged is None:
            return tokens, tokens.plain.new_zeros(0, len(batch.labels))
        is_pair = batch.belongs != IGNORE
        hits = (judged.argmax(dim=-1) == batch.belongs) & is_pair
        return tokens, torch.stack([_pair_nll(judged, batch), is_pair.float(), hits.float()])

    def validated(self, store: Any) -> dict[str, float]:
        """Figures of the validation or test that has just ended; every rank has to ask."""
        return self._validation.over(self.ranks).figures()

    @torch.no_grad()
    def scores(self, data: Any, split: str) -> dict[str, float | str]:
        """Pseudo-perplexity: exp of the mean over all tokens, each predicted from all others.

        Salazar et al. 2020, section 2.1.
        """
        reader, count = data.reader(split), data.evaluation.pseudo_sequences
        rows = range(min(count, reader.num_sequences))
        nll, tokens = 0.0, 0
        self.network.eval()
        for row in rows[self.ranks.number :: self.ranks.world_size]:
            for batch in one_at_a_time(reader.whole(row), self.vocab, data.evaluation.batch_size):
                sums = self._scored(batch).tolist()
                nll, tokens = nll + sums[0], tokens + int(sums[1])
        total, count = self.ranks.total(nll, tokens)
        return {"pseudo_perplexity": perplexity(total / count)} if count else {}


def _together(tokens: NllSum, pairs: Tensor) -> Tensor:
    """(6,) float32, as MaskedSums."""
    of_pairs = pairs.sum(dim=1) if len(pairs) else pairs.new_zeros(len(SUMS) - OF_TOKENS)
    return torch.cat([tokens.scored(), of_pairs])


def _pair_nll(judged: Tensor, batch: SegmentBatch) -> Tensor:
    """(B, 2) logits -> (B,) float32, 0 where there is no second segment."""
    return F.cross_entropy(judged.float(), batch.belongs, ignore_index=IGNORE, reduction="none")


def one_at_a_time(ids: Tensor, vocab: Vocab, batch_size: int) -> Iterator[SegmentBatch]:
    """A sequence (T,) without reserved ids, once for each token, which is hidden then.

    Yields:
        Batches of at most batch_size rows of T + 2 tokens.
    """
    ends = ids.new_tensor([vocab.bos_id]), ids.new_tensor([vocab.eos_id])
    whole = torch.cat([ends[0], ids, ends[1]])
    for places in torch.split(torch.arange(1, len(whole) - 1), batch_size):
        rows = torch.arange(len(places))
        input_ids, labels = whole.repeat(len(places), 1), whole.new_full((1,), IGNORE)
        labels = labels.repeat(len(places), len(whole))
        labels[rows, places] = whole[places]
        input_ids[rows, places] = vocab.mask_id
        yield SegmentBatch(
            input_ids,
            torch.ones_like(input_ids, dtype=torch.bool),
            torch.zeros_like(input_ids),
            labels,
            labels.new_full((len(places),), IGNORE),
        )
