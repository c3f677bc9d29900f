"""Which file, or which override, gave a key of a recipe: what an error message has to name."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

COMMAND_LINE = "command line"


class Layer(NamedTuple):
    """One file of a composition."""

    label: str  # as a user would type its path
    package: tuple[str, ...]  # where its keys go: ("model",), or () for the whole recipe
    content: Mapping[str, Any]


class Origins(NamedTuple):
    """How a recipe came about."""

    read_layers: Callable[[], Sequence[Layer]]  # only an error needs them: see layers
    overrides: Mapping[str, str]  # key -> the override as typed
    choices: Mapping[str, str]  # group -> chosen file, without .yaml
    folders: Sequence[Path]  # configuration folders, ours first

    @property
    def layers(self) -> Sequence[Layer]:
        """In the order of their merging."""
        return self.read_layers()

    def where(self, key: str) -> str:
        """The file that gave a dotted key last, or the override.

        Of a key that nobody gave: the file that gave what is around it.
        """
        while key:
            if any(_touches(typed, key) for typed in self.overrides):
                return COMMAND_LINE
            path = tuple(key.split("."))
            for layer in reversed(self.layers):
                depth = len(layer.package)
                if path[:depth] == layer.package and _holds(layer.content, path[depth:]):
                    return str(layer.label)
            key = key.rpartition(".")[0]
        return self.layers[0].label if self.layers else "recipe"

    def named(self, group: str, otherwise: str) -> str:
        """`model=bert` of a chosen file; of a recipe from elsewhere, `model=` and its class."""
        return f"{group}={self.choices.get(group) or otherwise}"


def _touches(typed: str, key: str) -> bool:
    """Whether an override gives a key: the key itself, something around it or within it."""
    return f"{key}.".startswith(f"{typed}.") or typed.startswith(f"{key}.")


def of_file(path: Path, recipe: Mapping[str, Any]) -> Origins:
    """The origins of a recipe that was read from one file."""
    layers = [Layer(shown(path), (), recipe)]
    return Origins(lambda: layers, {}, {}, [])


def shown(path: Path) -> str:
    """A path as a user would type it: relative to the current folder where it lies in it."""
    path, here = path.resolve(), Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _holds(content: Any, path: Sequence[str]) -> bool:
    for part in path:
        if not isinstance(content, Mapping) or part not in content:
            return False
        content = content[part]
    return True
