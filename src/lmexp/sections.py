"""The sections of a recipe: what each has to build, and which arguments the code gives to it."""

from collections.abc import Callable
from typing import NamedTuple

from lmexp.models import builds
from lmexp.signatures import Target


class Section(NamedTuple):
    """What a section of the recipe has to build, and which arguments the code gives to it."""

    what: str
    fits: Callable[[Target], bool]
    supplied: frozenset[str] = frozenset()


def _has(*methods: str) -> Callable[[Target], bool]:
    return lambda target: target.methods.issuperset(methods)


def _is_a(base: str) -> Callable[[Target], bool]:
    return lambda target: any(name.endswith(f".{base}") for name in target.ancestors)


def _is_at(path: str) -> Callable[[Target], bool]:
    return lambda target: target.path == path


OF_CORPUS = {  # what a corpus streams -> what it is of
    "pieces": "text",
    "pairs": "pairs",
    "tagged": "tags",
    "labelled": "labels",
    "questions": "questions",
}
MADE_OF = {"segments": "text", "sentences": "text", "matches": "pairs"}

SECTIONS = {
    "model": Section(
        "an architecture: a dataclass with decoder(), encoder(), encoder_decoder() or "
        "autoencoder()",
        lambda target: target.is_dataclass and bool(builds(target)),
    ),
    "task": Section(
        "a task: a LightningModule with network_kind",
        lambda target: "network_kind" in target.constants and _is_a("LightningModule")(target),
        frozenset(
            {"architecture", "vocab", "optimizer", "schedule", "seed"}
            | {"carries_state", "document_mask", "has_pairs", "spelled", "multiple"}
        ),
    ),
    "tokenizer": Section(
        "a tokenizer, with fit(), encode(), decode() and state()",
        _has("fit", "encode", "decode", "state"),
    ),
    "data": Section(
        "a LightningDataModule",
        _is_a("LightningDataModule"),
        frozenset({"tokenizer", "seed", "micro_batches", "evaluation"}),
    ),
    "data.corpus": Section(
        "a corpus, with one of pieces(), pairs(), tagged(), labelled() and questions()",
        lambda target: bool(OF_CORPUS.keys() & target.methods),
        frozenset({"root"}),
    ),
    "data.cleaning": Section("a cleaning, with clean()", _has("clean")),
    "eval": Section(
        "one of conf/eval/",
        lambda target: target.is_dataclass and target.name.startswith("Eval"),
    ),
    "optimizer": Section(
        "a torch.optim.Optimizer", _is_a("Optimizer"), frozenset({"params"})
    ),
    "schedule": Section(
        "a schedule, with factor()", _has("factor"), frozenset({"total_steps"})
    ),
    "budget": Section("lmexp.budget.Budget", _is_at("lmexp.budget.Budget")),
    "tuning": Section("lmexp.tuning.Tuning", _is_at("lmexp.tuning.Tuning")),
    "trainer": Section("lmexp.trainer.TrainerSettings", _is_at("lmexp.trainer.TrainerSettings")),
    "logger": Section(
        "a mirror of the record, with start(), log() and finish()",
        _has("start", "log", "finish"),
    ),
    "sweep": Section("lmexp.sweep.Sweep", _is_at("lmexp.sweep.Sweep")),
    "sweep.search": Section(
        "lmexp.sweep.search.Search", _is_at("lmexp.sweep.search.Search")
    ),
}  # fmt: skip


def text_kind(target: Target) -> str:
    """What a task, a data module or an evaluation reads: text, segments of it, pairs of texts …"""
    return str(target.constants.get("text_kind", "text"))
