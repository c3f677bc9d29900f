"""The part of a context that answers a question, or none (Devlin et al. 2019, sections 4.2, 4.3).

Shapes: B windows, P places: none, and the words of a window; D model width.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
import torch
from annotated_types import Ge, Gt, Lt
from numpy.typing import NDArray
from torch import Tensor, nn

from lmexp.answer_scores import AnswerScores, mostly_han, score_answer
from lmexp.batch import IGNORE, QuestionBatch, move
from lmexp.class_losses import class_nll
from lmexp.networks.interface import LabelVocab, State
from lmexp.networks.layers import Dropout
from lmexp.ranks import Ranks
from lmexp.schedules import Schedule
from lmexp.tasks.base import MakeOptimizer, Task
from lmexp.tasks.encoding import BuildsEncoder, OverEncoder, checked_encoder, initialised
from lmexp.tasks.interface import Sample, Sums


class Answered(NamedTuple):
    """What was found for a question."""

    example: int
    first: int  # word of the context
    last: int
    log_share: float  # of its probability in its window
    log_none: float  # of that of no answer, in the window where it is least likely


class AnswerReport(NamedTuple):
    """What is to be known of how well questions were answered."""

    loss: float  # nats a window, of the beginning and the end of an answer on average
    with_answer: AnswerScores  # of questions that their context answers
    without_answer: AnswerScores

    def figures(self) -> dict[str, float]:
        """Exact match and F1, in [0, 1]; F1 of both kinds of questions, where there are both."""
        scores = self.with_answer.plus(self.without_answer)
        figures = {"loss": self.loss, "exact_match": scores.exact_match, "f1": scores.mean_f1}
        if self.with_answer.questions and self.without_answer.questions:
            figures["f1_with_answer"] = self.with_answer.mean_f1
            figures["f1_without_answer"] = self.without_answer.mean_f1
        return figures | {"questions": float(scores.questions)}


class QuestionNetwork(OverEncoder):
    """An encoder, and two scores of each place: that an answer begins there, that it ends there.

    Args:
        encoder: as networks.interface.Encoder.
        dropout: on what the linear layer reads.
    """

    def __init__(self, encoder: Any, *, dropout: float) -> None:
        super().__init__(encoder)
        self.dropout = Dropout(dropout)
        # one bias would add the same to every place
        self.head = initialised(nn.Linear(encoder.d_model, 2, bias=False))

    def forward(self, batch: QuestionBatch) -> Tensor:
        """(B, 2, P) float32 scores, -inf where there is no word."""
        hidden = self.encoder(batch.input_ids, batch.attention_mask, batch.segment_ids)
        rows = torch.arange(len(hidden), device=hidden.device)[:, None]
        scores = self.head(self.dropout(hidden[rows, batch.places])).float()
        masked: Tensor = scores.masked_fill(~batch.is_place[..., None], -torch.inf)
        return masked.transpose(1, 2)


class QuestionAnswering(Task):
    """Answers to questions, as parts of their contexts.

    Args:
        architecture: asked for its encoder.
        vocab: of the tokenizer.
        optimizer: see Task.
        schedule: see Task.
        seed: see Task.
        max_answer: words of an answer, at most.
        no_answer_margin: nats by which an answer has to be likelier than none, if it is to be
            given; None: every question is answered.
        by_character: how answers are compared (answer_scores.score_answer); None: so where most of
            the right answers of a split hold Han characters.
        dropout: see QuestionNetwork.
        clip_norm: see Task.
        ema_decay: see Task.
    """

    network_kind = "encoder"
    text_kind = "questions"
    monitor = "val/f1"
    greater_is_better = True
    keeps_examples = True
    example_metrics: ClassVar = {"exact_match": ("mean", "exact"), "f1": ("mean", "f1")}

    def __init__(
        self,
        architecture: BuildsEncoder,
        vocab: LabelVocab,
        optimizer: MakeOptimizer | None = None,
        schedule: Schedule | None = None,
        *,
        seed: int = 0,
        max_answer: Annotated[int, Gt(0)],
        no_answer_margin: float | None,
        by_character: bool | None,
        dropout: Annotated[float, Ge(0), Lt(1)],
        clip_norm: Annotated[float, Gt(0)] | None,
        ema_decay: Annotated[float, Gt(0), Lt(1)] | None,
    ) -> None:
        network = QuestionNetwork(checked_encoder(architecture, vocab.text), dropout=dropout)
        super().__init__(
            network, optimizer, schedule, seed=seed, clip_norm=clip_norm, ema_decay=ema_decay
        )
        self.vocab, self.max_answer = vocab, max_answer
        self.no_answer_margin, self.by_character = no_answer_margin, by_character

    def sums(self, batch: QuestionBatch, carried: State | None) -> tuple[Sums, State | None]:
        """Sums over the windows of one micro-batch; nothing is carried."""
        nll, windows = self._nll(self.network(batch), batch.answers)
        return Sums(nll, nll, windows), None

    def _nll(self, scores: Tensor, answers: Tensor) -> tuple[Tensor, Tensor]:
        is_window = answers[:, 0] != IGNORE
        own, right = scores[is_window].flatten(0, 1), answers[is_window].flatten()
        return class_nll(own, right).sum() / 2, is_window.sum()

    def begin_validation(self) -> None:
        """With no question."""
        self._validation: list[Answered] = []
        self._nll_sum, self._windows = 0.0, 0
        self._scored: dict[int, AnswerScores] = {}  # by question; known when it is reported

    @torch.no_grad()
    def validation_step(self, batch: QuestionBatch, batch_idx: int) -> None:
        """Answer one batch of this validation."""
        device = move(batch, self.device)
        scores = self.network(device)
        nll, windows = self._nll(scores, device.answers)
        self._nll_sum, self._windows = self._nll_sum + float(nll), self._windows + int(windows)
        self._validation += self.answered(scores, batch)

    def validated(self, store: Any) -> dict[str, float]:
        """Figures of the validation or test that has just ended; every rank has to ask."""
        return self._report(store, self.ranks).figures()

    @torch.no_grad()
    def evaluate(self, batches: Iterable[QuestionBatch], store: Any) -> AnswerReport:
        """How well the questions of a store are answered, of which a loader gives the batches."""
        self.begin_validation()
        for number, batch in enumerate(batches):
            self.validation_step(batch, number)
        return self._report(store, self.ranks)

    def _report(self, store: Any, ranks: Ranks) -> AnswerReport:
        kept = store.kept()
        by_character = self.by_character
        if by_character is None:
            by_character = mostly_han([text for *_, answers in kept for text in answers])
        mine = {True: AnswerScores(), False: AnswerScores()}
        self._scored = {}
        for answer in self._validation:
            given = self.text(answer, store, kept)
            right = kept[answer.example][3]
            own = self._scored[answer.example] = score_answer(
                given, right, by_character=by_character
            )
            mine[bool(right)] = mine[bool(right)].plus(own)
        with_answer, without_answer = AnswerScores(), AnswerScores()
        for scores in ranks.gathered(mine):
            with_answer = with_answer.plus(scores[True])
            without_answer = without_answer.plus(scores[False])
        nll, windows = ranks.total(self._nll_sum, self._windows)
        return AnswerReport(nll / max(windows, 1), with_answer, without_answer)

    def example_outputs(self, data: Any, split: str) -> Mapping[str, NDArray[np.float64]]:
        """Exact match and F1 of each question."""
        found = {name: np.zeros(len(self._scored)) for name in ("exact", "f1")}
        for place, scores in enumerate(self._scored.values()):
            found["exact"][place], found["f1"][place] = scores.exact, scores.f1
        return self.in_order(list(self._scored), found)

    def answered(self, scores: Tensor, batch: QuestionBatch) -> list[Answered]:
        """The likeliest answer to each question of a batch, over all windows of its context."""
        logs = scores.log_softmax(dim=-1)
        first, last = logs[:, 0, 1:], logs[:, 1, 1:]
        if not first.shape[1]:
            return []  # a batch without a question has a row of nothing
        pairs = first[:, :, None] + last[:, None, :]  # (B, W, W)
        words = torch.arange(first.shape[1], device=logs.device)
        ahead = words - words[:, None]
        may_be = (ahead >= 0) & (ahead < self.max_answer)
        best, place = pairs.masked_fill(~may_be, -torch.inf).flatten(1).max(dim=1)
        begin = batch.words_from + (place // first.shape[1]).cpu()
        end = batch.words_from + (place % first.shape[1]).cpu()
        none = logs[:, 0, 0] + logs[:, 1, 0]
        columns = batch.examples, begin, end, best, none
        rows = zip(*(column.tolist() for column in columns), strict=True)
        return likeliest(Answered(*row) for row in rows)

    def is_given(self, answer: Answered) -> bool:
        """Whether an answer is likelier than none, by task.no_answer_margin."""
        margin = self.no_answer_margin
        return margin is None or answer.log_share > answer.log_none + margin

    def text(self, answer: Answered, store: Any, kept: list[Any]) -> str:
        """What is answered, as it stands in the context; "" for nothing."""
        if not self.is_given(answer):
            return ""
        begins, ends = (store.columns[name].row(answer.example) for name in ("begins", "ends"))
        context: str = kept[answer.example][2]
        return context[int(begins[answer.first]) : int(ends[answer.last])]

    def wants_sample(self, data: Any) -> bool:
        """With eval.sample_questions."""
        return bool(data.evaluation.sample_questions > 0)

    @torch.no_grad()
    def sample(self, data: Any) -> Sample:
        """The first questions of the validation split, the answers given and the right ones."""
        batch = data.first("val", data.evaluation.sample_questions)
        self.network.eval()
        found = self.answered(self.network(move(batch, self.device)), batch)
        store = data.store("val")
        kept = store.kept(data.evaluation.sample_questions)
        rows = []
        for answer in found:
            _, question, _, right = kept[answer.example]
            said = self.text(answer, store, kept) or "no answer"
            rows.append(f"{question}\n  {said}; right: {' | '.join(right) or 'no answer'}")
        return Sample("\n\n".join(rows), {})


def likeliest(windows: Iterable[Answered]) -> list[Answered]:
    """Of each question the likeliest of what was found in windows of its context."""
    found: dict[int, Answered] = {}
    for own in windows:
        other = found.get(own.example, own)
        best = own if own.log_share > other.log_share else other
        found[own.example] = best._replace(log_none=min(own.log_none, other.log_none))
    return list(found.values())
