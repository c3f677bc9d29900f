"""The parts of a run, built from its recipe: the one place where recipe keys meet constructors."""

import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from lmexp.targets import build, locate

Recipe = Mapping[str, Any]


def build_data(recipe: Recipe, tokenizer: Any, allow_targets: Sequence[str] = ()) -> Any:
    """The data module, not yet prepared.

    Args:
        recipe: frozen and checked.
        tokenizer: from the recipe, to be fitted, or from a checkpoint.
        allow_targets: packages of the user's own.
    """
    section = dict(recipe["data"])
    parts = recipe["trainer"]["micro_batches"]
    corpus = build(section.pop("corpus"), allow_targets, root=section["root"])
    return build(
        section,
        allow_targets,
        corpus=corpus,
        tokenizer=tokenizer,
        seed=recipe["seed"],
        micro_batches=1 if parts == "auto" else parts,  # for one process, until a run begins
        evaluation=build(recipe["eval"], allow_targets),
    )


def vocab_of(tokenizer: Any) -> Any:
    """What networks have to know of a tokenizer."""
    from lmexp import tokenizers
    from lmexp.networks.interface import Vocab

    if isinstance(tokenizer, tokenizers.PairTokenizer):
        from lmexp.pair_data import pair_vocab

        return pair_vocab(tokenizer)
    if isinstance(tokenizer, tokenizers.LabelledTokenizer):
        from lmexp.networks.interface import LabelVocab

        return LabelVocab(vocab_of(tokenizer.text), tokenizer.labels)
    ids = tokenizers.PAD_ID, tokenizers.BOS_ID, tokenizers.EOS_ID, tokenizers.MASK_ID
    return Vocab(tokenizer.vocab_size, *ids)


def build_task(
    recipe: Recipe, vocab: Any, total_steps: int | None, allow_targets: Sequence[str] = ()
) -> Any:
    """The task with its network.

    The weights are a function of the seed alone.

    Args:
        recipe: frozen and checked.
        vocab: of the tokenizer.
        total_steps: of the schedule; None builds a task that is not trained.
        allow_targets: packages of the user's own.
    """
    from lmexp.seeds import seed_torch

    trained: dict[str, Any] = {}
    if total_steps is not None:
        trained["optimizer"] = partial(_optimizer, recipe["optimizer"], tuple(allow_targets))
        section = recipe["schedule"]
        takes_total = "total_steps" in inspect.signature(locate(section["_target_"])).parameters
        supplied = {"total_steps": total_steps} if takes_total else {}
        trained["schedule"] = build(section, allow_targets, **supplied)
    seed_torch(recipe["seed"])
    task = build(
        recipe["task"],
        allow_targets,
        architecture=build(recipe["model"], allow_targets),
        vocab=vocab,
        seed=recipe["seed"],
        **_of_text(recipe),
        **trained,
    )
    if recipe.get("tuning") is not None:  # a checkpoint of an older lmexp has none
        build(recipe["tuning"], allow_targets).apply(task)
    return task


def _of_text(recipe: Recipe) -> dict[str, Any]:
    """What a task of text has to know of what is read."""
    if "mask_rate" in recipe["data"]:
        return {"has_pairs": recipe["data"]["pairs"] is not None}
    if "spelling" in recipe["data"]:
        return {"spelled": recipe["data"]["spelling"] > 0}
    if "multiple" in recipe["data"]:
        return {"multiple": recipe["data"]["multiple"]}
    if "lanes" not in recipe["data"]:
        return {}
    return {
        "carries_state": recipe["data"]["lanes"] is not None,
        "document_mask": recipe["data"].get("document_mask", True),
    }


def _optimizer(section: Recipe, allow_targets: tuple[str, ...], groups: list[Any]) -> Any:
    return build(section, allow_targets, params=groups)
