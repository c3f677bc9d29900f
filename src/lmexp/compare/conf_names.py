"""By which file of conf/ a section of a recipe was chosen: a recipe keeps its values alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lmexp.models import choices
from lmexp.nested import flat
from lmexp.recipe import conf_dir


def conf_names(group: str, recipes: Sequence[Mapping[str, Any]]) -> list[str | None]:
    """The file that each recipe's section is likest to: of its class, with most values in common.

    Args:
        group: such as model.
        recipes: by dotted key.

    Returns:
        Of each its file without .yaml; None where none builds that class.
    """
    files = choices(group, [conf_dir()])
    contents = {name: flat(_content(name, group, files), f"{group}.") for name in files}
    return [_likest(group, own, contents) for own in recipes]


def _likest(
    group: str, recipe: Mapping[str, Any], contents: Mapping[str, Mapping[str, Any]]
) -> str | None:
    best: tuple[tuple[int, int], str | None] = ((0, 0), None)
    for name, content in contents.items():
        target = f"{group}._target_"
        if target not in content or content[target] != recipe.get(target):
            continue
        known = [(key, value) for key, value in content.items() if not _is_reference(value)]
        equal = sum(recipe.get(key) == value for key, value in known)
        rank = (equal, equal - len(known))
        if best[1] is None or rank > best[0]:
            best = rank, name
    return best[1]


def _content(name: str, group: str, files: Mapping[str, Path]) -> dict[str, Any]:
    """A file's section over those of the files of its group that its list of defaults names."""
    content: Any = yaml.safe_load(files[name].read_text(encoding="utf-8")) or {}
    merged: dict[str, Any] = {}
    for entry in content.get("defaults", []):
        if isinstance(entry, str) and entry in files and entry != name:
            merged |= _content(entry, group, files)
    own = content.get(group, content)
    return merged | {key: value for key, value in own.items() if key != "defaults"}


def _is_reference(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("${")
