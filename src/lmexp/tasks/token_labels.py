"""A tag for each word: named entities, triggers and arguments of events.

Shapes: B windows, W words, K tags, N words that are tagged.
"""

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge, Gt, Lt
from numpy.typing import NDArray
from torch import Tensor

from lmexp.batch import IGNORE, TagBatch, move
from lmexp.class_losses import class_nll
from lmexp.label_scores import spans
from lmexp.networks.interface import LabelVocab, State
from lmexp.schedules import Schedule
from lmexp.tasks.base import MakeOptimizer, Task
from lmexp.tasks.encoding import BuildsEncoder, checked_encoder
from lmexp.tasks.interface import Sample, Sums
from lmexp.tasks.tag_network import TagNetwork
from lmexp.tasks.tag_report import Tagged, TagReport, example_figures, of_sentences, tag_report


class TokenLabels(Task):
    """Tags of words, from all words of their sentence.

    Args:
        architecture: asked for its encoder.
        vocab: of the tokenizer, and the tags.
        optimizer: see Task.
        schedule: see Task.
        seed: see Task.
        spelled: whether batches hold the bytes of words.
        spelling_size: see TagNetwork; without effect where batches hold none.
        crf: see TagNetwork.
        dropout: see TagNetwork.
        label_smoothing: see class_losses.class_nll; 0 with a CRF.
        focal_gamma: likewise.
        entity_groups: names of figures, and patterns of the types that each is of, such as
            {trigger: "*-trigger"} for `trigger_f1`; a type is of the first one that fits.
        clip_norm: see Task.
        ema_decay: see Task.

    Raises:
        ValueError: a CRF and a loss of single words, or a group that is no name of a figure.
    """

    network_kind = "encoder"
    text_kind = "tags"
    monitor = "val/entity_f1"
    greater_is_better = True
    keeps_examples = True

    def __init__(
        self,
        architecture: BuildsEncoder,
        vocab: LabelVocab,
        optimizer: MakeOptimizer | None = None,
        schedule: Schedule | None = None,
        *,
        seed: int = 0,
        spelled: bool = False,
        spelling_size: Annotated[int, Ge(0)],
        crf: bool,
        dropout: Annotated[float, Ge(0), Lt(1)],
        label_smoothing: Annotated[float, Ge(0), Lt(1)],
        focal_gamma: Annotated[float, Ge(0)],
        entity_groups: Mapping[str, str] | None,
        clip_norm: Annotated[float, Gt(0)] | None,
        ema_decay: Annotated[float, Gt(0), Lt(1)] | None,
    ) -> None:
        if crf and (label_smoothing or focal_gamma):
            raise ValueError(
                f"task.crf=true, task.label_smoothing={label_smoothing} and "
                f"task.focal_gamma={focal_gamma}: a CRF scores whole taggings, the others single "
                "words: write task.crf=false, or 0 for both"
            )
        network = TagNetwork(
            checked_encoder(architecture, vocab.text),
            vocab.labels,
            spelling_size=spelling_size if spelled else 0,
            crf=crf,
            dropout=dropout,
        )
        super().__init__(
            network, optimizer, schedule, seed=seed, clip_norm=clip_norm, ema_decay=ema_decay
        )
        self.vocab = vocab
        self.label_smoothing, self.focal_gamma = label_smoothing, focal_gamma
        self.entity_groups = _checked(entity_groups or {}, vocab.labels)

    @property
    def tagger(self) -> Any:
        """The network; nn.Module's own typing would take its methods for tensors."""
        return self.network

    def sums(self, batch: TagBatch, carried: State | None) -> tuple[Sums, State | None]:
        """Sums over the words of one micro-batch; nothing is carried."""
        scores = self.tagger(batch)
        objective, plain, known = self._nll(scores, batch)
        return Sums(objective, plain, known), None

    def _nll(self, scores: Tensor, batch: TagBatch) -> tuple[Tensor, Tensor, Tensor]:
        """What is minimised and what is reported, in nats, and the number of words.

        To a CRF a word that another window tags may have any tag here.
        """
        labels = batch.labels
        is_known = (labels >= 0) & (labels < len(self.vocab.labels))
        if self.tagger.crf is not None:
            labels = torch.where(is_known, labels, -1)
            nll = self.tagger.crf(scores, labels, batch.firsts > 0, batch.begins).sum()
            return nll, nll, is_known.sum()
        own, right = scores[is_known], labels[is_known]
        plain = class_nll(own, right).sum()
        if not (self.label_smoothing or self.focal_gamma):
            return plain, plain, is_known.sum()
        objective = class_nll(own, right, smoothing=self.label_smoothing, gamma=self.focal_gamma)
        return objective.sum(), plain.detach(), is_known.sum()

    def begin_validation(self) -> None:
        """With no sentence."""
        self._validation = Tagged(0.0, 0, [], [], [])

    @torch.no_grad()
    def validation_step(self, batch: TagBatch, batch_idx: int) -> None:
        """Tag one batch of this validation."""
        self._validation = self._validation.plus(self._tagged(batch))

    def validated(self, store: Any) -> dict[str, float]:
        """Figures of the validation or test that has just ended; every rank has to ask."""
        return self._report(self._validation, store).figures()

    def example_outputs(self, data: Any, split: str) -> Mapping[str, NDArray[np.float64]]:
        """Entities and words of each sentence, and those that are right."""
        names = data.store(split).counts["labels"]
        counts = of_sentences(self._validation, names, self.entity_groups)
        return self.in_order(self._validation.numbers, counts)

    def metrics_of_examples(self) -> Mapping[str, tuple[str, ...]]:
        """See tag_report.example_figures."""
        return example_figures(self.entity_groups)

    @torch.no_grad()
    def evaluate(self, batches: Iterable[TagBatch], store: Any) -> TagReport:
        """How well a store is tagged, of which a loader gives the batches."""
        tagged = Tagged(0.0, 0, [], [], [])
        for batch in batches:
            tagged = tagged.plus(self._tagged(batch))
        return self._report(tagged, store)

    def _report(self, tagged: Tagged, store: Any) -> TagReport:
        return tag_report(tagged, store.counts["labels"], self.entity_groups, self.ranks)

    def _tagged(self, batch: TagBatch) -> Tagged:
        device = move(batch, self.device)
        scores = self.tagger(device)
        _, nll, known = self._nll(scores, device)
        of_windows = self.given(scores, device)
        gold: dict[int, list[int]] = {}
        given: dict[int, list[int]] = {}
        for number, labels, tags in zip(
            batch.sentences.tolist(), batch.labels.tolist(), of_windows, strict=True
        ):
            own = [label for label in labels if label != IGNORE]
            if own:  # a batch without a row has one of nothing
                gold.setdefault(number, []).extend(own)
                given.setdefault(number, []).extend(tags)
        found = list(gold.values()), list(given.values()), list(gold)
        return Tagged(float(nll), int(known), *found)

    def given(self, scores: Tensor, batch: TagBatch) -> list[list[int]]:
        """The tags given to the words of each window that have a label."""
        if self.tagger.crf is None:
            tags = scores.argmax(dim=-1)
        else:
            tags = self.tagger.crf.decode(scores, batch.firsts > 0, batch.begins)
        is_tagged = (batch.labels != IGNORE).cpu()
        return [own[real].tolist() for own, real in zip(tags.cpu(), is_tagged, strict=True)]

    def confidences(
        self, scores: Tensor, batch: TagBatch, given: list[list[int]]
    ) -> list[list[float]]:
        """The probability of each tag that was given; see `given`.

        With a CRF it is the marginal one, of all taggings in which the word has that tag.
        """
        if self.tagger.crf is None:
            shares = scores.float().softmax(dim=-1)
        else:
            shares = self.tagger.crf.marginals(scores, batch.firsts > 0, batch.begins)
        is_tagged = (batch.labels != IGNORE).cpu()
        return [
            own[real][torch.arange(len(tags)), tags].tolist()
            for own, real, tags in zip(shares.cpu(), is_tagged, given, strict=True)
        ]

    def wants_sample(self, data: Any) -> bool:
        """With eval.sample_sentences."""
        return bool(data.evaluation.sample_sentences > 0)

    @torch.no_grad()
    def sample(self, data: Any) -> Sample:
        """The first sentences of the validation split with the entities found, and those missed."""
        sentences, batch = data.first("val", data.evaluation.sample_sentences)
        self.network.eval()
        tagged = self._tagged(batch)
        names = data.store("val").counts["labels"]
        rows = []
        joined = "" if data.corpus.joins_words else " "
        for words, gold, given in zip(sentences, tagged.gold, tagged.given, strict=True):
            right, found = (spans([names[n] for n in own]) for own in (gold, given))
            missed = [span for span in right if span not in found]
            shown, lost = (
                ", ".join(f"{joined.join(words[s.start : s.end])} [{s.type}]" for s in part)
                for part in (found, missed)
            )
            text = f"{joined.join(words)}\n  found: {shown or 'nothing'}"
            rows.append(text + (f"; missed: {lost}" if lost else ""))
        return Sample("\n\n".join(rows), {})


def _checked(groups: Mapping[str, str], tags: Sequence[str]) -> Mapping[str, str]:
    """The groups, if figures can be named after them, and each is of a type that there is."""
    taken = [name for name in groups if not str(name).isidentifier() or name in ("entity", "token")]
    if taken:
        raise ValueError(
            f"task.entity_groups names {', '.join(map(repr, taken))}: a name is of letters, digits "
            "and _, and neither entity nor token: write for example {trigger: '*-trigger'}"
        )
    types = sorted({tag.partition("-")[2] for tag in tags} - {""})
    for name, pattern in groups.items():
        if types and not any(fnmatchcase(type_, pattern) for type_ in types):
            raise ValueError(
                f"task.entity_groups: {name}={pattern} fits none of the types of the training "
                f"split, which are {', '.join(types)}"
            )
    return groups
