"""The losses of those who know nothing: of an even guess, and of one by frequency."""

import copy
import math
from typing import TYPE_CHECKING, Any

import torch

from lmexp.batch import IGNORE

if TYPE_CHECKING:
    from lmexp.checks.subject import Subject

BELOW_BLIND, BELOW_UNIFORM = 0.75, 0.25  # shares that a loss has to fall below


def uniform_loss(subject: "Subject", batch: Any) -> float:
    """Nats per prediction where all answers are equally likely; infinite where nobody knows."""
    task, vocab = subject.task, subject.data.vocab
    if subject.kind == "pairs":
        return math.log(vocab.target.size)
    if subject.kind in ("text", "segments", "sentences"):
        return math.log(vocab.size)
    if subject.kind == "tags" and task.network.crf is not None:
        return _without_scores(subject, batch)
    if subject.kind in ("tags", "labels"):
        count = len(vocab.labels)
        return count * math.log(2) if getattr(task, "multiple", False) else math.log(count)
    if subject.kind == "questions":
        return float(batch.is_place.sum(dim=1).float().log().mean())
    if subject.kind == "matches":
        return math.log(len({tuple(row[row != IGNORE].tolist()) for row in batch.labels}))
    return math.inf


def blind_loss(subject: "Subject", batch: Any) -> float:
    """Nats per prediction of a guess by how often each label is right in these examples.

    No network gets below that without reading its inputs: it is the entropy of the labels. Where
    labels are not of one vocabulary it is the uniform guess.
    """
    labels = getattr(batch, "labels", None)
    if labels is None or subject.kind == "matches" or getattr(subject.task, "multiple", False):
        return uniform_loss(subject, batch)
    _, counts = labels[labels != IGNORE].unique(return_counts=True)
    shares = counts.double() / counts.sum()
    return float(-(shares * shares.log()).sum())


def goal_of(subject: "Subject", batch: Any) -> float:
    """A loss that shows that the examples are being learnt.

    Of examples with hardly more than one label a share of the uniform guess.
    """
    blind, uniform = blind_loss(subject, batch), uniform_loss(subject, batch)
    return max(BELOW_BLIND * blind, BELOW_UNIFORM * uniform)


def _without_scores(subject: "Subject", batch: Any) -> float:
    """Of taggings of which many are forbidden: the loss with a last layer of zeros."""
    task = copy.deepcopy(subject.task)
    with torch.no_grad():
        for parameter in task.network.head.parameters():
            parameter.zero_()
    return subject.mean_loss(task, batch)
