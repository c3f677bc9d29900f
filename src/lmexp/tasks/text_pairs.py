"""Which text fits another: answers to questions, items for a user, by one encoder for both sides.

A dual encoder with the other targets of a micro-batch as negatives (Henderson et al. 2017, section
4; Karpukhin et al. 2020, section 3.2).

Shapes: B pairs, T tokens, C candidates, D model width.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Lt
from numpy.typing import NDArray
from torch import Tensor, nn

from lmexp.batch import IGNORE, MatchBatch, move
from lmexp.networks.interface import PairVocab, State
from lmexp.networks.layers import Dropout
from lmexp.schedules import Schedule
from lmexp.tasks.base import MakeOptimizer, Task
from lmexp.tasks.encoding import BuildsEncoder, OverEncoder, checked_encoder
from lmexp.tasks.interface import Sums
from lmexp.tasks.label_network import Pooling, pooled
from lmexp.tasks.match_ranks import BLOCK, RECALLS, ranked, ranks_of, shares


class MatchNetwork(OverEncoder):
    """An encoder, and one vector of length 1 for each text.

    Args:
        encoder: as networks.interface.Encoder.
        pooling: see label_network.pooled.
        dropout: on the vector.
    """

    def __init__(self, encoder: Any, *, pooling: Pooling, dropout: float) -> None:
        super().__init__(encoder)
        self.pooling: Pooling = pooling
        self.dropout = Dropout(dropout)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(B, T) ids, bos first and eos last, and bool -> (B, D) float32, each of length 1."""
        hidden = self.encoder(input_ids, attention_mask)
        vector = self.dropout(pooled(hidden, attention_mask, self.pooling))
        return F.normalize(vector.float(), dim=-1)


class Found(NamedTuple):
    """Queries and candidates of a split."""

    queries: list[Tensor]  # (D,) each
    keys: list[tuple[int, ...]]  # ids of the right candidate of each query
    candidates: dict[tuple[int, ...], Tensor]  # by their ids
    numbers: list[int]  # of the queries in their split; of a test alone


class TextPairs(Task):
    """The target of each source, among many.

    Args:
        architecture: asked for its encoder.
        vocab: of the one tokenizer.
        optimizer: see Task.
        schedule: see Task.
        seed: see Task.
        temperature: that cosines are divided by; 0.05 in Gao et al. 2021, section 3.
        sampling_correction: targets that many pairs have are negatives all the more often; ln of
            that is taken off their scores in the training objective, so that the score itself is
            of what is likely, popularity included (Yi et al. 2019, section 3.2). Without it the
            score is of how much likelier than chance a target is.
        pooling: see label_network.pooled.
        dropout: see MatchNetwork.
        clip_norm: see Task.
        ema_decay: see Task.
    """

    network_kind = "encoder"
    text_kind = "matches"
    monitor = "val/mrr"
    greater_is_better = True
    keeps_examples = True
    example_metrics: ClassVar = {
        f"{figure}{among}": ("mean", f"{figure}{among}")
        for figure in ("mrr", *(f"recall_at_{k}" for k in RECALLS))
        for among in ("", "_of_all")
    }
    rows_are_apart = False

    def __init__(
        self,
        architecture: BuildsEncoder,
        vocab: PairVocab,
        optimizer: MakeOptimizer | None = None,
        schedule: Schedule | None = None,
        *,
        seed: int = 0,
        temperature: Annotated[float, Gt(0)],
        sampling_correction: bool,
        pooling: Pooling,
        dropout: Annotated[float, Ge(0), Lt(1)],
        clip_norm: Annotated[float, Gt(0)] | None,
        ema_decay: Annotated[float, Gt(0), Lt(1)] | None,
    ) -> None:
        encoder = checked_encoder(architecture, vocab.source)
        network = MatchNetwork(encoder, pooling=pooling, dropout=dropout)
        super().__init__(
            network, optimizer, schedule, seed=seed, clip_norm=clip_norm, ema_decay=ema_decay
        )
        self.vocab, self.temperature = vocab, temperature
        self.sampling_correction = sampling_correction

    def sums(self, batch: MatchBatch, carried: State | None) -> tuple[Sums, State | None]:
        """Sums over the pairs of one micro-batch; nothing is carried."""
        scores = self._scores(*self._vectors(batch))
        nll, pairs = _nll(scores, batch.labels)
        if not self.sampling_correction:
            return Sums(nll, nll, pairs), None
        objective, _ = _nll(scores - batch.log_shares, batch.labels)
        return Sums(objective, nll.detach(), pairs), None

    def _scores(self, sources: Tensor, targets: Tensor) -> Tensor:
        """(B, D) each -> (B, B) of every source with every target."""
        return sources @ targets.T / self.temperature

    def _vectors(self, batch: MatchBatch) -> tuple[Tensor, Tensor]:
        """(B, D) of sources and of targets."""
        is_target = batch.labels != IGNORE
        targets = torch.where(is_target, batch.labels, self.vocab.target.pad_id)
        return (
            self.network(*self._framed(batch.source_ids, batch.source_mask)),
            self.network(*self._framed(targets, is_target)),
        )

    def _framed(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T) ids with their end, and bool -> (B, T + 1), bos first."""
        framed = F.pad(ids, (1, 0), value=self.vocab.source.bos_id)
        return framed, F.pad(mask, (1, 0), value=True)

    def begin_validation(self) -> None:
        """With no pair."""
        self._found = Found([], [], {}, [])
        self._nll_sum, self._pairs = 0.0, 0
        self._by_query: dict[str, NDArray[np.float64]] = {}

    @torch.no_grad()
    def validation_step(self, batch: MatchBatch, batch_idx: int) -> None:
        """Read one batch of this validation."""
        device = move(batch, self.device)
        sources, targets = self._vectors(device)
        nll, pairs = _nll(self._scores(sources, targets), device.labels)
        self._nll_sum, self._pairs = self._nll_sum + float(nll), self._pairs + int(pairs)
        for source, target, label in zip(sources.cpu(), targets.cpu(), batch.labels, strict=True):
            key = tuple(label[label != IGNORE].tolist())
            if key:  # a batch without a pair has one of nothing
                self._found.queries.append(source)
                self._found.keys.append(key)
                self._found.candidates[key] = target
        if self.examples is not None:
            self._found.numbers.extend(self.examples.of_batch(batch_idx).tolist())

    def validated(self, store: Any) -> dict[str, float]:
        """Loss, and how well targets are found among all targets of the split.

        Every rank has to ask.
        """
        nll, pairs = self.ranks.total(self._nll_sum, self._pairs)
        everyone = self.ranks.gathered(self._found)
        candidates = {key: c for found in everyone for key, c in found.candidates.items()}
        queries = [query for found in everyone for query in found.queries]
        keys = [key for found in everyone for key in found.keys]
        ranks = ranks_of(queries, keys, candidates)
        if self.examples is not None:
            numbers = np.array([number for found in everyone for number in found.numbers])
            places = np.empty(len(ranks), dtype=np.int64)
            places[numbers] = ranks  # every rank knows those of all
            self._by_query = shares(places)
        return {"loss": nll / max(pairs, 1), **ranked(ranks, len(candidates))}

    def example_outputs(self, data: Any, split: str) -> Mapping[str, NDArray[np.float64]]:
        """Whether each target is among the first, and one over its rank."""
        return self._by_query

    @torch.no_grad()
    def evaluate(self, batches: Iterable[MatchBatch], store: Any) -> dict[str, float]:
        """Figures of a store, of which a loader gives the batches."""
        self.begin_validation()
        for number, batch in enumerate(batches):
            self.validation_step(batch, number)
        return self.validated(store)

    @torch.no_grad()
    def scores(self, data: Any, split: str) -> dict[str, float | str]:
        """How well targets are found among those of the training split too.

        And how well by how often each is a target there: the baseline of recommending what is
        popular (Cremonesi et al. 2010, section 4).
        """
        train = Counter(targets_of(data.store("train")))
        own = targets_of(data.store(split))
        self.network.eval()
        keys = sorted({*train, *own})
        candidates = dict(zip(keys, self.read(keys), strict=True))
        queries = list(self.read(sources_of(data.store(split))))
        ranks = ranks_of(queries, own, candidates)
        of_all = shares(np.array(ranks))
        self._by_query |= {f"{name}_of_all": values for name, values in of_all.items()}
        figures = ranked(ranks, len(candidates))
        places = {key: place for place, (key, _) in enumerate(train.most_common())}
        popular = [places.get(key, len(places)) for key in own]
        del figures["pairs"]  # as many as of the split
        figures |= {
            f"popularity_recall_at_{k}": sum(place < k for place in popular) / len(own)
            for k in RECALLS
        }
        return {f"{name}_of_all": value for name, value in figures.items()}

    @torch.no_grad()
    def read(self, texts: Sequence[tuple[int, ...]]) -> Tensor:
        """(texts, D) of ids of texts with their end, in blocks of similar lengths."""
        order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
        vectors: list[Tensor] = [torch.empty(0)] * len(texts)
        for begin in range(0, len(order), BLOCK):
            block = order[begin : begin + BLOCK]
            rows = [torch.tensor(texts[number]) for number in block]
            ids = nn.utils.rnn.pad_sequence(rows, True, self.vocab.source.pad_id)
            lengths = torch.tensor([len(row) for row in rows])
            mask = torch.arange(ids.shape[1]) < lengths[:, None]
            framed = self._framed(ids.to(self.device), mask.to(self.device))
            for number, vector in zip(block, self.network(*framed).cpu(), strict=True):
                vectors[number] = vector
        return torch.stack(vectors)


def _nll(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Of each target among those of its micro-batch, in nats, and the number of pairs.

    Equal targets are one candidate, not each other's negatives.

    Args:
        scores: (B, B), sources in rows.
        labels: (B, T), ids of the targets.
    """
    is_pair = (labels != IGNORE).any(dim=1)
    is_same = (labels[:, None] == labels[None]).all(dim=-1)
    others = ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    left_out = (is_same & others) | ~is_pair
    logs = scores.masked_fill(left_out, -torch.inf).log_softmax(dim=-1)
    return -logs.diagonal()[is_pair].sum(), is_pair.sum()


def targets_of(store: Any) -> list[tuple[int, ...]]:
    """Ids of each target of a store of pairs."""
    bounds = zip(store.target_starts.tolist(), store.target_lengths.tolist(), strict=True)
    return [tuple(store.target[start : start + length].tolist()) for start, length in bounds]


def sources_of(store: Any) -> list[tuple[int, ...]]:
    """Likewise of each source."""
    return [tuple(store.source_ids(row)) for row in range(store.num_pairs)]
