"""Nested mappings as one."""

from collections.abc import Mapping
from typing import Any


def flat(nested: Mapping[str, Any], prefix: str = "", separator: str = ".") -> dict[str, Any]:
    """Every value that is no mapping, by its keys joined: {"model": {"d": 2}} -> {"model.d": 2}.

    A list is a value; an empty mapping has none.

    Args:
        nested: such as a recipe.
        prefix: before every key.
        separator: between the keys of a path.
    """
    found: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}{separator}", separator)
        else:
            found[f"{prefix}{key}"] = value
    return found
