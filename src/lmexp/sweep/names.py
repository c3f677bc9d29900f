"""What sweeps and their jobs are called: folders, and groups and tags of their mirrors."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lmexp.run_folder import safe
from lmexp.wandb_names import LONGEST_GROUP, LONGEST_TAG

SWEEPS = Path("logs", "sweeps")
NAME_BYTES = 100  # of a job's folder, and of a sweep's that its swept keys name


def grouped(recipe: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The recipe, with the sweep in what its mirror is grouped and filtered by.

    The group, where none was chosen, is the sweep's name, which later launches share whose jobs
    take over those of earlier ones. Tags are added: sweep or search, and when it was launched.
    """
    logger = recipe["logger"]
    if not {"group", "tags"} <= logger.keys():
        return recipe
    is_in_sweeps = folder.absolute().parent.parent.name == SWEEPS.name
    own = (folder.parent if is_in_sweeps else folder).name[:LONGEST_GROUP]
    group = logger["group"] or own
    kind = "search" if recipe["sweep"].get("search") else "sweep"
    added = [tag for tag in (kind, folder.name[:LONGEST_TAG]) if tag not in logger["tags"]]
    return {**recipe, "logger": {**logger, "group": group, "tags": [*logger["tags"], *added]}}


def folder_name(number: str, overrides: Sequence[str]) -> str:
    """Of a job."""
    return cut("_".join([number, *(safe(line) for line in overrides)]))


def cut(name: str) -> str:
    """A name that a file system takes, which counts bytes."""
    return name.encode()[:NAME_BYTES].decode(errors="ignore")
