"""Which architecture does which task, read from the code itself; command `models`."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lmexp import signatures
from lmexp.signatures import Target, UnknownNameError

KINDS = ("decoder", "encoder", "encoder_decoder", "autoencoder")


def article(kind: str) -> str:
    """`a decoder`, `an encoder`."""
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def builds(model: Target) -> tuple[str, ...]:
    """The kinds of network that an architecture has a method for."""
    return tuple(kind for kind in KINDS if kind in model.methods)


def choices(group: str, folders: Sequence[Path]) -> dict[str, Path]:
    """The files of a group by the name they are chosen by."""
    return {
        file.relative_to(folder / group).with_suffix("").as_posix(): file
        for folder in folders
        for file in sorted((folder / group).rglob("*.yaml"))
    }


def targets(group: str, folders: Sequence[Path], packages: Sequence[str]) -> dict[str, Target]:
    """What the files of a group build; files of packages that are not allowed are left out."""
    found = {}
    files = choices(group, folders)
    for name in files:
        try:
            found[name] = signatures.find(_target_of(name, group, files), packages)
        except (PermissionError, UnknownNameError):
            continue
    return found


def _target_of(name: str, group: str, files: Mapping[str, Path]) -> str:
    """What a file builds, or else the file of its group that its list of defaults names."""
    content: Any = yaml.safe_load(files[name].read_text(encoding="utf-8")) or {}
    target = content.get(group, content).get("_target_")
    if target is not None:
        return str(target)
    parents = [entry for entry in content.get("defaults", []) if entry in files and entry != name]
    return _target_of(parents[0], group, files) if parents else ""


def models_that_build(kind: str, folders: Sequence[Path], packages: Sequence[str]) -> list[str]:
    """Names of the model files whose architecture builds a kind of network."""
    return sorted(
        name
        for name, target in targets("model", folders, packages).items()
        if target.is_dataclass and kind in builds(target)
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--config-dir", help="a folder with more model/ and task/ files")
    parser.add_argument("--allow-targets", action="append", default=[], metavar="PACKAGE")


def main(args: argparse.Namespace) -> int:
    """Print the matrix: which network each task needs, and which models build it."""
    from rich.console import Console
    from rich.table import Table

    from lmexp.recipe import conf_folders
    from lmexp.targets import allowed_packages

    folders = conf_folders(args.config_dir)
    packages = allowed_packages(args.allow_targets)
    table = Table("task", "network", "models that build it")
    for name, task in sorted(targets("task", folders, packages).items()):
        kind = str(task.constants.get("network_kind"))
        table.add_row(name, kind, ", ".join(models_that_build(kind, folders, packages)))
    Console().print(table)
    return 0
