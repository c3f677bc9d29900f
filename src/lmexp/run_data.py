"""What a trained model was trained on, to be read again by a command."""

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lmexp.build import build_data
from lmexp.check import check
from lmexp.loading import Loaded
from lmexp.origins import of_file


def data_of_run(
    loaded: Loaded, allow_targets: Sequence[str], *, batch_size: int | None = None
) -> Any:
    """The data module of a checkpoint's recipe, not yet prepared.

    Args:
        loaded: a trained model.
        allow_targets: packages of the user's own.
        batch_size: of the evaluation; None: the recipe's.
    """
    check(loaded.recipe, allow_targets, of_file(loaded.path, loaded.recipe), ("data", "eval"))
    data = build_data(loaded.recipe, loaded.tokenizer, allow_targets)
    if batch_size is not None:
        data.evaluation = dataclasses.replace(data.evaluation, batch_size=batch_size)
    return data


def data_signature(data: Any, split: str) -> dict[str, Any]:
    """What a figure depends on beside the model.

    Args:
        data: what it is of, prepared.
        split: or the file in its place.
    """
    return {
        "data": data.corpus.source,
        "data_hash": data.data_hash,
        "tokenizer_hash": data.tokenizer.hash(),
        **data.deciding(),
        "split": split,
    }


def figure_signature(
    of_data: Mapping[str, Any],
    figures: Mapping[str, Any],
    *,
    checkpoint: Path,
    step: int,
    precision: str,
) -> dict[str, Any]:
    """All that figures depend on: two figures compare if these do.

    Args:
        of_data: see data_signature.
        figures: those of whole outputs say themselves how they were computed, and with which
            version of what: `bleu_signature` and others.
        checkpoint: that was evaluated.
        step: optimizer steps that it was trained for.
        precision: in which it was evaluated.
    """
    return {
        "checkpoint": str(checkpoint),
        "step": step,
        **of_data,
        "precision": precision,
        **{name: value for name, value in figures.items() if name.endswith("_signature")},
    }


def signature(
    loaded: Loaded,
    data: Any,
    args: argparse.Namespace,
    split: str,
    figures: Mapping[str, Any],
) -> dict[str, Any]:
    """Of the figures of a command.

    Args:
        loaded: what was evaluated.
        data: what it was evaluated on, prepared.
        args: of the command.
        split: or the file in its place.
        figures: see figure_signature.
    """
    return figure_signature(
        data_signature(data, split),
        figures,
        checkpoint=loaded.path,
        step=loaded.step,
        precision=args.precision,
    )
