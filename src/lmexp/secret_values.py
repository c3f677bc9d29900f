"""Secrets: what of a recipe is one, and how a text is rid of them before it is written.

A recipe is stored in the run's folder, in every checkpoint and in the mirrors, so it may hold no
secret. Libraries read theirs from the environment (HF_TOKEN, WANDB_API_KEY) or from ~/.netrc.
"""

import os
import re
from collections.abc import Callable, Iterator
from typing import Any

SHORTEST = 8  # characters of a variable's value: a shorter one stands in many a text by chance
_VARIABLE = re.compile(r"(?i)(key|token|secret|password|passwd)$")  # PGPASSWORD is one, too
_KEY = re.compile(  # not unk_token and the like, of tokenizers
    r"(?i)(^token|(^|_)(secret|password|passwd|credentials?)"
    r"|(^|_)(api|access|auth|private|secret|hf|hub)_?(key|token))$"
)
_USER_INFO = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^/?#\s'\"]+@")
_ENVIRONMENT = re.compile(r"\$\{oc\.env:\s*([^,}]*)")

Variables = list[tuple[str, str]]  # of the environment: name, value


class SecretError(ValueError):
    """A recipe holds a secret; the message does not."""


def refuse_secrets(values: Any, where: Callable[[str], str], key: str = "") -> None:
    """Refuse values that are secrets or that are read from the environment.

    Args:
        values: a recipe or a part of it.
        where: the file, or the command line, that gave a key.
        key: of the part.

    Raises:
        SecretError: naming file and key, not the value.
    """
    variables = _variables()
    for name, value in _strings(values, key):
        complaint = _complaint(name, value, variables)
        if complaint is not None:
            raise SecretError(f"{where(name)}: {name} {complaint}")


def _strings(value: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _strings(part, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for part in value:
            yield from _strings(part, key)
    elif isinstance(value, str | int | float) and not isinstance(value, bool) and value != "":
        yield key, str(value)


def _complaint(key: str, value: str, variables: Variables) -> str | None:
    if read := _ENVIRONMENT.search(value):
        return (
            f"is read from the environment ({read[1]}), and a recipe says itself what is trained: "
            f"write the value, or let the shell do so ({key}=$NAME); of a secret, let the class "
            "that needs it read os.environ"
        )
    if _USER_INFO.search(value):
        return (
            "has a user or a password in its URL, which would be written into the run's files: "
            "leave them out of it and put them into ~/.netrc, where libraries look"
        )
    if (name := _held(value, variables)) is not None:
        return (
            f"holds the value of ${name}, a secret, which would be written into the run's files: "
            "leave it out, and let the class that needs it read os.environ"
        )
    if is_secret_name(key):
        return (
            "is named like a secret, which would be written into the run's files: leave it out, "
            "and let the class that needs it read os.environ"
        )
    return None


def is_secret_name(key: str) -> bool:
    """Whether a key of a recipe, or an option of a command line, is named like a secret."""
    return _KEY.search(key.rpartition(".")[2].lstrip("+-").replace("-", "_")) is not None


def variable_in(text: str) -> str | None:
    """The environment variable named like a secret whose value stands in the text; or None."""
    return _held(text, _variables())


def hidden(text: str) -> str:
    """The text with *** in the place of secrets: values of variables, user info of URLs."""
    for _, value in _variables():
        text = text.replace(value, "***")
    return _USER_INFO.sub(r"\1***@", text)


def _held(text: str, variables: Variables) -> str | None:
    return next((name for name, value in variables if value in text), None)


def _variables() -> Variables:
    """Environment variables that are named like secrets, the longest value first."""
    found = [
        (name, value)
        for name, value in os.environ.items()
        if _VARIABLE.search(name) and len(value) >= SHORTEST
    ]
    return sorted(found, key=lambda pair: -len(pair[1]))
