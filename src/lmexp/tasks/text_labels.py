"""A label for a text or a pair of texts, or any number of labels: sentiment, topic, inference.

Shapes: B texts, K labels.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
import torch
from annotated_types import Ge, Gt, Lt
from numpy.typing import NDArray
from torch import Tensor

from lmexp.batch import IGNORE, LabelBatch, move
from lmexp.class_losses import class_nll, multilabel_nll
from lmexp.label_scores import ClassReport, Hits, LabelCounts, confusion, report_of_confusion
from lmexp.networks.interface import LabelVocab, State
from lmexp.schedules import Schedule
from lmexp.tasks.base import MakeOptimizer, Task
from lmexp.tasks.encoding import BuildsEncoder, checked_encoder
from lmexp.tasks.interface import Sample, Sums
from lmexp.tasks.label_network import LabelNetwork, Pooling


class Labelling(NamedTuple):
    """Texts that were labelled."""

    nll: float = 0.0  # nats, of texts whose label some training text has
    known: int = 0  # such texts
    texts: int = 0
    hits: int = 0  # texts all of whose labels are right
    table: NDArray[np.int64] = np.zeros((0, 0), dtype=np.int64)  # (L, L) label by label; or, where
    # several may hold, (L, 3) right, wrong, missed; L as many as were met

    def plus(self, other: "Labelling") -> "Labelling":
        """Both together."""
        table = np.zeros(np.maximum(self.table.shape, other.table.shape), dtype=np.int64)
        for part in (self.table, other.table):
            table[: part.shape[0], : part.shape[1]] += part
        return Labelling(
            self.nll + other.nll,
            self.known + other.known,
            self.texts + other.texts,
            self.hits + other.hits,
            table,
        )


class LabelReport(NamedTuple):
    """What is to be known of how well texts were labelled."""

    loss: float  # nats a text
    accuracy: float  # texts all of whose labels are right
    texts: int
    classes: ClassReport | None  # where each text has one label
    counts: LabelCounts | None  # where it has any number

    def figures(self) -> dict[str, float]:
        """The averages."""
        figures = {"loss": self.loss, "accuracy": self.accuracy}
        if self.classes is not None:
            figures |= {"macro_f1": self.classes.macro_f1, "mcc": self.classes.mcc}
        if self.counts is not None:
            averages = self.counts.report().averages
            figures["micro_f1"] = averages["micro avg"].f1
            figures["macro_f1"] = averages["macro avg"].f1
        return figures | {"texts": float(self.texts)}


class TextLabels(Task):
    """Labels of texts.

    Args:
        architecture: asked for its encoder.
        vocab: of the tokenizer, and the labels.
        optimizer: see Task.
        schedule: see Task.
        seed: see Task.
        multiple: any number of labels may hold.
        pooling: see label_network.pooled.
        dropout: see LabelNetwork.
        class_weights: of labels in the training loss, by name; those that are not named weigh 1.
        label_smoothing: see class_losses.class_nll; 0 where any number of labels may hold.
        focal_gamma: likewise, for both.
        clip_norm: see Task.
        ema_decay: see Task.

    Raises:
        ValueError: options that do not go together, or a weight that is none, or of no label.
    """

    network_kind = "encoder"
    text_kind = "labels"
    monitor = "val/accuracy"
    greater_is_better = True
    keeps_examples = True
    example_metrics: ClassVar = {
        "accuracy": ("mean", "all_right"),
        "micro_f1": ("f1", "right", "given", "true"),
    }

    def __init__(
        self,
        architecture: BuildsEncoder,
        vocab: LabelVocab,
        optimizer: MakeOptimizer | None = None,
        schedule: Schedule | None = None,
        *,
        seed: int = 0,
        multiple: bool = False,
        pooling: Pooling,
        dropout: Annotated[float, Ge(0), Lt(1)],
        class_weights: Mapping[str, float] | None,
        label_smoothing: Annotated[float, Ge(0), Lt(1)],
        focal_gamma: Annotated[float, Ge(0)],
        clip_norm: Annotated[float, Gt(0)] | None,
        ema_decay: Annotated[float, Gt(0), Lt(1)] | None,
    ) -> None:
        if multiple and (label_smoothing or class_weights):
            raise ValueError(
                f"data.multiple=true with task.label_smoothing={label_smoothing} and "
                f"task.class_weights={class_weights}: both are of texts with one label: write 0 "
                "and null"
            )
        network = LabelNetwork(
            checked_encoder(architecture, vocab.text),
            len(vocab.labels),
            pooling=pooling,
            dropout=dropout,
        )
        super().__init__(
            network, optimizer, schedule, seed=seed, clip_norm=clip_norm, ema_decay=ema_decay
        )
        self.vocab, self.multiple = vocab, multiple
        self.example_sums = ("all_right", "right", "given", "true") if multiple else ("all_right",)
        self.label_smoothing, self.focal_gamma = label_smoothing, focal_gamma
        self.class_weights = _weights(class_weights, vocab.labels)

    def sums(self, batch: LabelBatch, carried: State | None) -> tuple[Sums, State | None]:
        """Sums over the texts of one micro-batch; nothing is carried."""
        objective, plain, known = self._nll(self.network(batch), batch.labels)
        return Sums(objective, plain, known), None

    def _nll(self, scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What is minimised and what is reported, in nats, and the number of texts."""
        if self.multiple:
            is_text = labels[:, 0] != IGNORE
            own, right = scores[is_text], labels[is_text, : scores.shape[1]]
            plain = multilabel_nll(own, right).sum()
            if not self.focal_gamma:
                return plain, plain, is_text.sum()
            objective = multilabel_nll(own, right, gamma=self.focal_gamma).sum()
            return objective, plain.detach(), is_text.sum()
        is_known = (labels >= 0) & (labels < scores.shape[1])
        own, right = scores[is_known], labels[is_known]
        plain = class_nll(own, right).sum()
        if not self.label_smoothing and not self.focal_gamma and self.class_weights is None:
            return plain, plain, is_known.sum()
        weights = self.class_weights.to(own.device) if self.class_weights is not None else None
        objective = class_nll(
            own, right, smoothing=self.label_smoothing, gamma=self.focal_gamma, weights=weights
        )
        return objective.sum(), plain.detach(), is_known.sum()

    def begin_validation(self) -> None:
        """With no text."""
        self._validation = Labelling()

    @torch.no_grad()
    def validation_step(self, batch: LabelBatch, batch_idx: int) -> None:
        """Label one batch of this validation."""
        found, gold, given = self._labelled(batch)
        self._validation = self._validation.plus(found)
        if self.examples is not None:
            own = self.examples.of_batch(batch_idx)
            self.by_example.add(own, **self._by_text(gold, given))

    def validated(self, store: Any) -> dict[str, float]:
        """Figures of the validation or test that has just ended; every rank has to ask."""
        return self._report(self._validation, store.counts["labels"]).figures()

    @torch.no_grad()
    def evaluate(self, batches: Iterable[LabelBatch], store: Any) -> LabelReport:
        """How well a store is labelled, of which a loader gives the batches."""
        found = Labelling()
        for batch in batches:
            found = found.plus(self._labelled(batch)[0])
        return self._report(found, store.counts["labels"])

    def _report(self, mine: Labelling, names: list[str]) -> LabelReport:
        shape = len(names), 3 if self.multiple else len(names)
        total = Labelling(table=np.zeros(shape, dtype=np.int64))
        for part in self.ranks.gathered(mine):
            total = total.plus(part)
        loss, accuracy = total.nll / max(total.known, 1), total.hits / max(total.texts, 1)
        if not self.multiple:
            report = report_of_confusion(total.table, names)
            return LabelReport(loss, accuracy, total.texts, report, None)
        rows = zip(names, total.table.tolist(), strict=True)
        hits = {name: Hits(*own) for name, own in rows if any(own)}  # of a class that occurs
        return LabelReport(loss, accuracy, total.texts, None, LabelCounts(hits))

    def _labelled(self, batch: LabelBatch) -> tuple[Labelling, NDArray[Any], NDArray[Any]]:
        """What is counted of a batch; true and given labels of its texts: (N,), or (N, L) bool."""
        device = move(batch, self.device)
        scores = self.network(device)
        _, nll, known = self._nll(scores, device.labels)
        labels = batch.labels.numpy()
        if self.multiple:
            is_text = labels[:, 0] != IGNORE
            gold, given = labels[is_text] == 1, np.zeros_like(labels[is_text], dtype=np.bool_)
            given[:, : scores.shape[1]] = (scores > 0).cpu().numpy()[is_text]
            table = np.stack([gold & given, given & ~gold, gold & ~given]).sum(axis=1).T
            hits = int((gold == given).all(axis=1).sum())
        else:
            is_text = labels != IGNORE
            gold, given = labels[is_text], scores.argmax(dim=-1).cpu().numpy()[is_text]
            size = max(scores.shape[1], 1 + int(gold.max(initial=0)))
            table = confusion(gold.tolist(), given.tolist(), size)
            hits = int((gold == given).sum())
        found = Labelling(float(nll), int(known), int(is_text.sum()), hits, table)
        return found, gold, given

    def _by_text(self, gold: NDArray[Any], given: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """What is added up of each text."""
        if not self.multiple:
            return {"all_right": gold == given}
        counts = {"right": gold & given, "given": given, "true": gold}
        of_each = {name: labels.sum(axis=1) for name, labels in counts.items()}
        return {"all_right": (gold == given).all(axis=1), **of_each}

    def probabilities(self, scores: Tensor) -> Tensor:
        """(B, K) scores -> probabilities: together 1, or each by itself where several may hold."""
        scores = scores.float()
        return scores.sigmoid() if self.multiple else scores.softmax(dim=-1)

    def wants_sample(self, data: Any) -> bool:
        """With eval.sample_texts."""
        return bool(data.evaluation.sample_texts > 0)

    @torch.no_grad()
    def sample(self, data: Any) -> Sample:
        """The first texts of the validation split, their labels and what was said instead."""
        texts, batch = data.first("val", data.evaluation.sample_texts)
        self.network.eval()
        shares = self.probabilities(self.network(move(batch, self.device))).cpu()
        names = data.store("val").counts["labels"]
        rows = []
        for own, labels, share in zip(texts, batch.labels, shares, strict=True):
            right = labels.nonzero()[:, 0].tolist() if self.multiple else [int(labels)]
            given = (share > 0.5).nonzero()[:, 0].tolist() if self.multiple else [share.argmax()]
            said, true = (", ".join(names[int(n)] for n in part) for part in (given, right))
            rows.append(f"{' | '.join(own)}\n  {said or 'nothing'}; right: {true or 'nothing'}")
        return Sample("\n\n".join(rows), {})


def _weights(by_name: Mapping[str, float] | None, labels: tuple[str, ...]) -> Tensor | None:
    if by_name is None:
        return None
    weights = {str(label): float(weight) for label, weight in by_name.items()}  # 1 is "1"
    if wrong := [f"{k}={v}" for k, v in weights.items() if not 0 <= v < math.inf]:
        raise ValueError(f"task.class_weights: {', '.join(wrong)}: a weight is a number from 0 up")
    if unknown := sorted(weights.keys() - set(labels)) if labels else []:
        raise ValueError(
            f"task.class_weights names {', '.join(unknown)}: the training split has the labels "
            f"{', '.join(labels)}"
        )
    return torch.tensor([weights.get(label, 1.0) for label in labels])
