"""What of a recipe can only be judged by building it: sizes that do not go together.

Imports torch, builds no network and reads no data.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from lmexp.origins import COMMAND_LINE, Origins
from lmexp.rules import share_out
from lmexp.targets import build


def build_sizes(recipe: Mapping[str, Any], allow_targets: Sequence[str], origins: Origins) -> None:
    """Build tokenizer (unfitted), architecture and optimizer, and throw them away.

    Raises:
        ValueError: one of them refuses its values; the message names the file that gave them.
    """
    for name in ("tokenizer", "model", "tuning", "budget"):
        _try(name, recipe[name], allow_targets, origins)
    _try("optimizer", recipe["optimizer"], allow_targets, origins, params=_few_parameters())


def resolve_devices(recipe: Mapping[str, Any], *, has_ranks: bool) -> int:
    """The devices of this machine that the run takes; trainer.micro_batches=auto is resolved.

    Args:
        recipe: checked; changed in place.
        has_ranks: a launcher has started the processes already.

    Raises:
        ValueError: they are not there, or a step has fewer rows.
    """
    from lmexp.hardware import choose

    trainer = recipe["trainer"]
    here, everywhere = trainer["devices"], None
    if has_ranks:
        everywhere = int(os.environ["WORLD_SIZE"])
        here = int(os.environ.get("LOCAL_WORLD_SIZE", everywhere))
    asked = trainer["accelerator"], here, trainer["precision"]
    chosen = choose(*asked, uses_all=trainer["strategy"] != "auto")
    share_out(recipe, everywhere or chosen.devices)
    return chosen.devices


def _try(
    name: str,
    section: Mapping[str, Any],
    allow_targets: Sequence[str],
    origins: Origins,
    **supplied: Any,
) -> None:
    try:
        build(section, allow_targets, **supplied)
    except (ValueError, TypeError) as error:
        typed = [line for key, line in origins.overrides.items() if key.startswith(f"{name}.")]
        place = f"{COMMAND_LINE}: {' '.join(typed)}" if typed else origins.where(f"{name}._target_")
        raise ValueError(f"{place}: {name}: {error}") from None


def _few_parameters() -> list[dict[str, Any]]:
    """A matrix and a vector, grouped as a network's are."""
    from torch import nn

    from lmexp.optimizers import parameter_groups

    return parameter_groups(nn.Linear(1, 1))
