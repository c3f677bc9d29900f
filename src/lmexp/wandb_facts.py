"""What W&B is told of a run beside its recipe and figures, so that they can be compared there too.

The configuration of a W&B run is the recipe, keys joined by dots. Beside it stand keys that begin
with "lmexp/": no key of a recipe has a slash.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MARK = "lmexp/"
OVERRIDES = f"{MARK}overrides"  # by which a sweep tells the run from its other jobs
OF_TEST = f"{MARK}test/"  # before each field of the signature of the test's figures
HASHES = ("data_hash", "tokenizer_hash")
RECIPE = ("task", "model", "data")  # sections that every recipe has
_OF_A_MACHINE = ("checkpoint",)  # of a signature: a path that means nothing elsewhere


def facts_at_start(folder: Path) -> dict[str, Any]:
    """What a folder has when its run begins: hashes of data and tokenizer, a sweep's overrides."""
    data = _json(folder / "environment.json").get("data") or {}
    facts = {f"{MARK}{name}": data[name] for name in HASHES if name in data}
    job = _json(folder / "job.json")
    return facts | ({OVERRIDES: job["overrides"]} if "overrides" in job else {})


def facts_of_test(folder: Path) -> dict[str, Any]:
    """The signature that a test has left; empty without one."""
    signature = _json(folder / "scores" / "test.json").get("signature") or {}
    return {
        f"{OF_TEST}{field}": value
        for field, value in signature.items()
        if field not in _OF_A_MACHINE
    }


def recipe_of(config: Mapping[str, Any], *, is_typed: bool = False) -> dict[str, Any] | None:
    """The recipe that a configuration was made of; None: it is not of lmexp.

    Empty sections are gone. What the agent of a W&B sweep has set for a whole section, such as
    model=lstm, goes: the section stands beside it.

    Args:
        config: of a W&B run.
        is_typed: values were set by such an agent, as words of a command line: 1 is "1" there.
    """
    flat = {key: value for key, value in config.items() if not key.startswith(MARK)}
    sections = {key[:place] for key in flat for place, char in enumerate(key) if char == "."}
    recipe: dict[str, Any] = {}
    for key, value in flat.items():
        if key in sections:
            continue
        *outer, last = key.split(".")
        inner = recipe
        for section in outer:
            inner = inner.setdefault(section, {})
        inner[last] = _value(value) if is_typed else value
    is_recipe = all(isinstance(recipe.get(section), dict) for section in RECIPE)
    return recipe if is_recipe and "_target_" in recipe["task"] else None


def hashes_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Those of facts_at_start, by their names."""
    return {name: config[f"{MARK}{name}"] for name in HASHES if f"{MARK}{name}" in config}


def signature_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """That of facts_of_test, by its fields."""
    return {
        key.removeprefix(OF_TEST): value for key, value in config.items() if key.startswith(OF_TEST)
    }


def _value(word: Any) -> Any:
    try:
        return json.loads(word) if isinstance(word, str) else word
    except ValueError:
        return word


def _json(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content
