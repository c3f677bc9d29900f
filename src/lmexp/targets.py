"""Objects from the `_target_` sections of a recipe.

A recipe may come with a checkpoint from anywhere, and a constructor is code: so a target is
imported only if it lies under an allowed package, and called only if the object found there is a
class and was defined under one too.
"""

import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lmexp import signatures
from lmexp.values import convert

OURS = ("lmexp", "torch.optim")


def as_flags(allow_targets: Sequence[str]) -> list[str]:
    """Packages of a user's own as a command of lmexp is told of them."""
    return [part for package in allow_targets for part in ("--allow-targets", package)]


def allowed_packages(allow_targets: Sequence[str]) -> tuple[str, ...]:
    """Ours and the user's; modules in the current folder become importable for the latter.

    The folder comes last on the path, where it hides no installed package.
    """
    here = str(Path.cwd())
    if allow_targets and here not in sys.path:
        sys.path.append(here)
        signatures.module_file.cache_clear()
        signatures.definitions.cache_clear()
    return (*OURS, *allow_targets)


def refusal(path: str, leads_to: str, allow_targets: Sequence[str]) -> str:
    """Why a target may not be used, and the flag that would allow it."""
    package = leads_to.split(".")[0]
    there = "" if leads_to == path else f"leads to {leads_to}, which "
    return (
        f"{there}lies outside the allowed packages ({', '.join((*OURS, *allow_targets))}); "
        f"if you wrote or trust it, add --allow-targets {package}"
    )


def locate(path: str, allow_targets: Sequence[str] = ()) -> Any:
    """Import what a dotted name means.

    Raises:
        PermissionError: it lies outside the allowed packages, is defined outside of them, or is no
            class.
    """
    packages = allowed_packages(allow_targets)
    try:
        target = signatures.find(path, packages)
    except PermissionError as error:
        leads_to = refusal(path, str(error), allow_targets)
        raise PermissionError(f"_target_={path} {leads_to}") from None
    found = getattr(importlib.import_module(target.module), target.node.name)
    if not isinstance(found, type):
        raise PermissionError(f"_target_={path} is no class, and nothing else is called")
    home = f"{getattr(found, '__module__', '?')}.{getattr(found, '__qualname__', '?')}"
    if not signatures.is_allowed(home, packages):
        raise PermissionError(f"_target_={path} {refusal(path, home, allow_targets)}")
    return found


def build(section: Mapping[str, Any], allow_targets: Sequence[str] = (), **supplied: Any) -> Any:
    """Call the section's `_target_` with its other keys and with what the code supplies.

    Sections within it are built first. Values take the type that the target's annotation says (a
    list may become a tuple, a string a Path).

    Args:
        section: a part of a recipe with a `_target_`.
        allow_targets: packages of the user's own.
        supplied: arguments that no recipe holds, such as the parameters of an optimizer.

    Raises:
        PermissionError: a target lies outside the allowed packages.
        TypeError: a key is given twice, or not at all.
    """
    path = section["_target_"]
    call = locate(path, allow_targets)
    packages = allowed_packages(allow_targets)
    known = {parameter.name: parameter for parameter in signatures.find(path, packages).parameters}
    arguments: dict[str, Any] = {}
    for key, value in section.items():
        if key == "_target_":
            continue
        if isinstance(value, Mapping) and "_target_" in value:
            arguments[key] = build(value, allow_targets)
        elif key in known:
            arguments[key] = convert(value, known[key])
        else:
            arguments[key] = value
    return call(**arguments, **supplied)
