"""What a trained model was trained on, to be read again by a command."""

import argparse
import dataclasses
from collections.abc import Sequence
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


def signature(
    loaded: Loaded, data: Any, args: argparse.Namespace, split: str, **settings: Any
) -> dict[str, Any]:
    """All that a figure depends on: two figures compare if these do.

    Args:
        loaded: what was evaluated.
        data: what it was evaluated on, prepared.
        args: of the command.
        split: or the file in its place.
        settings: key of the recipe -> what else decides the figures.
    """
    return {
        "checkpoint": str(loaded.path),
        "step": loaded.step,
        "data": data.corpus.source,
        "data_hash": data.data_hash,
        "tokenizer_hash": loaded.tokenizer.hash(),
        "data.max_length": data.max_length,  # what is longer is cut
        **settings,
        "precision": args.precision,
        "split": split,
    }
