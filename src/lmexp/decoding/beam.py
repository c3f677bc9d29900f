"""Beam search over any network that reads a token at a time.

Shapes: B sentences, K beams of each, R = B * K rows, V vocabulary, n tokens so far.
"""

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from annotated_types import Ge, Gt
from torch import Tensor

from lmexp.networks.interface import EncoderDecoder, State, StepDecoder

COLUMN_HEIGHT = 64  # numbers in a column, of which _largest looks at the peak first


@dataclass(frozen=True)
class Beam:
    """How beam search goes on, ranks and ends.

    Args:
        size: K, hypotheses that are kept at a time; 1 is greedy search.
        length_penalty: alpha of Wu et al. 2016, equation 14: a hypothesis is ranked by its log
            probability over ((5 + length) / 6) ** alpha, its end counted. 0 ranks by probability,
            which likes short texts; 0.6 in Vaswani et al. 2017.
        max_ratio: tokens of the longest text, over those of its source.
        max_extra: more of them, whatever the source.
        min_ratio: tokens of the shortest text, over those of its source.
        no_repeat_ngram: no n-gram of this length stands twice in a text; 0 allows all.
        n_best: texts of each source that are returned, at most K.
        coverage_penalty: beta of Wu et al. 2016, equation 14: hypotheses lose by source tokens that
            they did not look at, see decoding.coverage. The search itself does not see where the
            network looks: it returns all K hypotheses, for `translate` to rank. 0 leaves it out.

    Raises:
        ValueError: n_best exceeds size.
    """

    size: Annotated[int, Gt(0)]
    length_penalty: Annotated[float, Ge(0)]
    max_ratio: Annotated[float, Gt(0)]
    max_extra: Annotated[int, Ge(0)]
    min_ratio: Annotated[float, Ge(0)]
    no_repeat_ngram: Annotated[int, Ge(0)]
    n_best: Annotated[int, Gt(0)]
    coverage_penalty: Annotated[float, Ge(0)] = 0.0

    def __post_init__(self) -> None:
        """Refuse what does not go together."""
        if self.n_best > self.size:
            raise ValueError(
                f"n_best={self.n_best} texts of a beam of size={self.size}: write size="
                f"{self.n_best} or more"
            )

    @property
    def kept(self) -> int:
        """Texts of each source that the search returns."""
        return self.size if self.coverage_penalty else self.n_best

    def penalty(self, length: int) -> float:
        """What a log probability is divided by."""
        return float(((5 + length) / 6) ** self.length_penalty)

    def bounds(self, source_length: int) -> tuple[int, int]:
        """Tokens of the shortest and the longest text, without their end."""
        longest = int(self.max_ratio * source_length) + self.max_extra
        return min(int(self.min_ratio * source_length), longest), longest


class Hypothesis(NamedTuple):
    """A finished text."""

    ids: list[int]  # without its end
    log_probability: float  # nats, its end included
    score: float  # what it is ranked by


def beam_search(
    network: StepDecoder | EncoderDecoder,
    state: State,
    source_lengths: Sequence[int],
    beam: Beam,
    *,
    bos_id: int,
    eos_id: int,
    forbidden_ids: Sequence[int],
    prefixes: Sequence[Sequence[int]] | None = None,
) -> list[list[Hypothesis]]:
    """The beam.kept best texts of each sentence, best first.

    A sentence is done when K hypotheses have ended, each among the K best continuations of a step,
    and no running one scores better as it stands than the worst that would be returned; its rows
    leave the batch. To stop at K alone (Kasai et al. 2022, section 2) would lose the best text of a
    network that is sure of it: all its other continuations are junk, and junk ends early. A text
    that reaches its longest length is ended there, whatever its probability; so is one that comes
    to the end of the positions that the network has learned, its `max_length`.

    Args:
        network: in evaluation mode.
        state: of B rows, from start.
        source_lengths: B, in tokens: what the bounds on lengths are relative to.
        beam: settings.
        bos_id: read first.
        eos_id: ends a text.
        forbidden_ids: never chosen.
        prefixes: B beginnings that the texts must have, without bos; may differ in length.

    Raises:
        ValueError: logits are not finite, or no text keeps to all settings.
    """
    bounds = [beam.bounds(length) for length in source_lengths]
    if prefixes is not None:  # the bounds are those of what follows
        before = [len(prefix) for prefix in prefixes]
        bounds = [(low + n, high + n) for (low, high), n in zip(bounds, before, strict=True)]
    if (reach := getattr(network, "max_length", None)) is not None:  # bos is read too
        bounds = [(min(low, reach - 1), min(high, reach - 1)) for low, high in bounds]
    search = _Search(beam, bounds, eos_id, forbidden_ids, prefixes)
    rows = len(source_lengths)
    ids = torch.full((rows, 1), bos_id, device=_device(network))
    with torch.no_grad():
        logits, state = network.step(ids, state)
        while True:
            chosen, origins = search.advance(logits)
            if not len(chosen):
                return search.results()
            state = network.reorder(state, origins)
            logits, state = network.step(chosen[:, None], state)


def _device(network: StepDecoder | EncoderDecoder) -> torch.device:
    return network.output.weight.device


class _Search:
    """The beams of all sentences that are not done yet."""

    def __init__(
        self,
        beam: Beam,
        bounds: Sequence[tuple[int, int]],
        eos_id: int,
        forbidden_ids: Sequence[int],
        prefixes: Sequence[Sequence[int]] | None,
    ) -> None:
        self.beam, self.eos_id, self.forbidden_ids = beam, eos_id, list(forbidden_ids)
        self.prefixes = prefixes
        self.bounds = bounds  # tokens of the shortest and the longest text of each sentence
        self.sentences = list(range(len(bounds)))  # those that go on, in order of rows
        self.width = 1  # beams of each: one before the first choice
        self.scores: Tensor | None = None  # (B, width)
        self.texts: Tensor | None = None  # (B, width, n)
        self.finished: list[list[tuple[float, int, Hypothesis]]] = [[] for _ in self.sentences]
        self.count = 0  # of hypotheses, to break ties by age

    def advance(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Choose the next tokens.

        Args:
            logits: (B * width, V) after the tokens so far.

        Returns:
            (R,) the next token of each row, and (R,) the row of before that it continues; both
            empty when all sentences are done.
        """
        vocab_size = logits.shape[-1]
        number = len(self.sentences)
        log_p = logits.float().log_softmax(dim=-1).view(number, self.width, vocab_size)
        if self.scores is None or self.texts is None:
            self.scores = log_p.new_zeros(number, 1)
            self.texts = torch.empty(number, 1, 0, dtype=torch.int64, device=log_p.device)
        self._restrict(log_p)
        total = log_p.add_(self.scores[:, :, None]).flatten(1)  # (B, width * V)
        scores, places = _largest(total, 2 * self.beam.size)
        if scores.isnan().any():  # topk puts it first
            raise ValueError(
                "the network's logits are not finite: its weights are damaged or its training "
                "diverged; take an earlier checkpoint, or train with a lower optimizer.lr"
            )
        origins, tokens = places // vocab_size, places % vocab_size
        ends = (tokens == self.eos_id) & (scores > -math.inf)
        self._finish(ends[:, : self.beam.size], scores, origins)
        return self._go_on(scores.masked_fill(ends, -math.inf), origins, tokens)

    def _restrict(self, log_p: Tensor) -> None:
        """-inf, in place, for what may not follow."""
        assert self.texts is not None
        length = self.texts.shape[2]
        log_p[:, :, self.forbidden_ids] = -math.inf
        for index, sentence in enumerate(self.sentences):
            shortest, longest = self.bounds[sentence]
            prefix = self.prefixes[sentence] if self.prefixes is not None else ()
            if length < len(prefix):
                _only(log_p[index], prefix[length])
            elif length >= longest:
                _only(log_p[index], self.eos_id)
            elif length < shortest:
                log_p[index, :, self.eos_id] = -math.inf
        if self.beam.no_repeat_ngram and length >= self.beam.no_repeat_ngram:
            self._forbid_ngrams(log_p)

    def _forbid_ngrams(self, log_p: Tensor) -> None:
        assert self.texts is not None
        before = self.beam.no_repeat_ngram - 1
        for index, beams in enumerate(self.texts.tolist()):
            for row, text in enumerate(beams):
                newest = text[len(text) - before :]
                for place in range(len(text) - before):
                    if text[place : place + before] == newest:
                        log_p[index, row, text[place + before]] = -math.inf

    def _finish(self, ends: Tensor, scores: Tensor, origins: Tensor) -> None:
        """Take hypotheses that have ended among the K best continuations."""
        assert self.texts is not None
        length = self.texts.shape[2]
        penalty = self.beam.penalty(length + 1)
        for index, rank in ends.nonzero().tolist():
            log_probability = float(scores[index, rank])
            ids = self.texts[index, origins[index, rank]].tolist()
            ended = Hypothesis(ids, log_probability, log_probability / penalty)
            pool = self.finished[self.sentences[index]]
            heapq.heappush(pool, (ended.score, -self.count, ended))
            if len(pool) > self.beam.size:
                heapq.heappop(pool)
            self.count += 1

    def _go_on(self, scores: Tensor, origins: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """The K best that have not ended, of the sentences that are not done."""
        assert self.texts is not None
        width = min(self.beam.size, scores.shape[1])
        scores, ranks = scores.topk(width, dim=1)  # sorted already: keeps their order
        origins, tokens = origins.gather(1, ranks), tokens.gather(1, ranks)
        penalty = self.beam.penalty(self.texts.shape[2] + 1)
        best = (scores[:, 0] / penalty).tolist()
        kept = [i for i, sentence in enumerate(self.sentences) if self._is_open(sentence, best[i])]
        where = torch.tensor(kept, dtype=torch.int64, device=scores.device)
        scores, origins, tokens = scores[where], origins[where], tokens[where]
        texts = self.texts[where].gather(1, origins[:, :, None].expand(-1, -1, self.texts.shape[2]))
        rows = (where[:, None] * self.width + origins).flatten()
        self.scores, self.texts = scores, torch.cat([texts, tokens[:, :, None]], dim=2)
        self.sentences = [self.sentences[index] for index in kept]
        self.width = width
        return tokens.flatten(), rows

    def _is_open(self, sentence: int, best_running: float) -> bool:
        """Whether something better than what would be returned may still come."""
        if best_running == -math.inf:
            return False
        pool = self.finished[sentence]
        if len(pool) < self.beam.size:
            return True
        worst = heapq.nlargest(self.beam.kept, pool)[-1][0]
        return best_running > worst

    def results(self) -> list[list[Hypothesis]]:
        """The best of each sentence."""
        if not all(self.finished):
            raise ValueError(
                f"no text keeps to eval.min_ratio={self.beam.min_ratio:g} and eval.no_repeat_ngram="
                f"{self.beam.no_repeat_ngram}: there are too few different tokens for one so long; "
                "lower the one, or raise the other"
            )
        ranked = [sorted(pool, key=lambda item: item[:2], reverse=True) for pool in self.finished]
        return [[item[2] for item in pool[: self.beam.kept]] for pool in ranked]


def _largest(x: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """topk(count, dim=1) of (B, N), or of all N where there are fewer.

    The largest count of numbers stand in the count of columns with the largest peaks, when they are
    cut into columns: a CPU reads all N but once and sorts some thirty times fewer, for N = 40,000
    and count = 10.
    """
    columns = x.shape[1] // COLUMN_HEIGHT
    if columns <= count:
        return x.topk(min(count, x.shape[1]), dim=1)
    cut = columns * COLUMN_HEIGHT
    by_column = x[:, :cut].view(len(x), COLUMN_HEIGHT, columns)
    chosen = by_column.amax(dim=1).topk(count, dim=1).indices  # (B, count)
    rows = torch.arange(COLUMN_HEIGHT, device=x.device)[:, None] * columns
    places = (chosen[:, None] + rows).flatten(1)
    tail = torch.arange(cut, x.shape[1], device=x.device).expand(len(x), -1)
    places = torch.cat([places, tail], dim=1)
    values, ranks = x.gather(1, places).topk(count, dim=1)
    return values, places.gather(1, ranks)


def _only(log_p: Tensor, token: int) -> None:
    """-inf, in place, for every other token; (width, V)."""
    kept = log_p[:, token].clone()
    log_p.fill_(-math.inf)
    log_p[:, token] = kept
