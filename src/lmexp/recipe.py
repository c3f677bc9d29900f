"""From files and overrides to a checked recipe: beside grid.py the only module to import Hydra.

Hydra composes, no more: it makes no folder, starts no job and instantiates nothing.
"""

import contextlib
import functools
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from lmexp import models
from lmexp.check import nearest
from lmexp.errors import not_utf8
from lmexp.freeze import freeze
from lmexp.origins import COMMAND_LINE, Layer, Origins, shown
from lmexp.secret_values import refuse_secrets
from lmexp.targets import build

__all__ = ["build", "compose", "composition", "conf_dir", "conf_folders", "main"]

FOLDERS = ("hydra.run.dir", "hydra.sweep.dir")  # all of Hydra's own settings that have an effect


def main(arguments: Sequence[str] | None = None) -> int:
    """Command `train`, which train.py calls; returns the exit status."""
    from lmexp.launch import train

    return train(sys.argv[1:] if arguments is None else arguments)


def show(arguments: Sequence[str]) -> None:
    """What Hydra prints by itself: --info, --shell-completion, --hydra-help, --version."""
    import hydra

    sys.argv[1:] = arguments
    hydra.main(str(conf_dir()), "train", version_base="1.3")(lambda config: None)()


class Composition(NamedTuple):
    """What files and overrides say, resolved."""

    recipe: dict[str, Any]  # frozen: plain values, not yet checked
    allow_targets: tuple[str, ...]  # from the user's own configuration, never part of a recipe
    origins: Origins
    typed: Mapping[str, str]  # key or group -> the override that the user typed
    folders: Mapping[str, str]  # hydra.run.dir and hydra.sweep.dir, where the user gave them


def conf_dir() -> Path:
    """The configuration files: inside a wheel the packaged ones, else the checkout's."""
    here = Path(__file__).resolve().parent
    packaged = here / "conf"
    return packaged if packaged.is_dir() else here.parent.parent / "conf"


def conf_folders(config_dir: str | None = None) -> list[Path]:
    """Ours, then the user's own.

    Raises:
        ValueError: a file of the user's has the name of one of ours, which would hide it, or is
            not UTF-8.
        NotADirectoryError: config_dir is no folder.
    """
    ours = conf_dir()
    if config_dir is None:
        return [ours]
    theirs = Path(config_dir)
    if not theirs.is_dir():
        raise NotADirectoryError(f"--config-dir {config_dir}: there is no such folder")
    for file in theirs.resolve().rglob("*.yaml"):
        twin = ours / file.relative_to(theirs.resolve())
        if twin.exists() and not twin.samefile(file):
            raise ValueError(
                f"{shown(file)} has the name of a file that lmexp brings ({shown(twin)}), which "
                "would win: rename yours"
            )
        try:
            file.read_bytes().decode()
        except UnicodeDecodeError as error:
            raise not_utf8(shown(file), error) from None
    return [ours, theirs]


def compose(overrides: Sequence[str] = (), config_dir: str | None = None) -> dict[str, Any]:
    """The frozen recipe of some overrides, not yet checked."""
    return composition(overrides, config_dir).recipe


def composition(
    overrides: Sequence[str] = (),
    config_dir: str | None = None,
    allow_targets: Sequence[str] = (),
) -> Composition:
    """Compose conf/train.yaml with overrides and freeze it.

    Args:
        overrides: as typed, `model=lstm` or `optimizer.lr=1.0e-3`.
        config_dir: a folder with more configuration files.
        allow_targets: packages that the command line allows.

    Raises:
        ValueError: Hydra or OmegaConf cannot make sense of files or overrides.
    """
    folders = conf_folders(config_dir)
    with plain_errors(folders), hydra_over(folders) as loader:
        from hydra.core.override_parser.overrides_parser import OverridesParser
        from hydra.types import RunMode
        from omegaconf import OmegaConf

        parsed = OverridesParser.create().parse_overrides(list(overrides))
        lines = [*_search_path(folders), *(_checked(override, folders) for override in parsed)]
        config = loader.load_configuration("train", lines, RunMode.RUN)
        typed = {str(override.key_or_group): str(override.input_line) for override in parsed}
        choices = config.hydra.runtime.choices
        given = {key: str(OmegaConf.select(config, key)) for key in FOLDERS if key in typed}
        origins = Origins(
            read_layers=functools.cache(lambda: _layers(loader, lines, folders)),
            overrides={key: line for key, line in typed.items() if key not in choices},
            choices={group: str(choice) for group, choice in choices.items() if choice},
            folders=folders,
        )
        recipe, allowed, origins = freeze(config, origins, allow_targets, typed)
        groups = {key: line for key, line in typed.items() if key in choices}
        return Composition(recipe, allowed, origins, {**groups, **origins.overrides}, given)


@contextlib.contextmanager
def hydra_over(folders: Sequence[Path]) -> Iterator[Any]:
    """Hydra over our folder, and its loader of configurations."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    with initialize_config_dir(str(folders[0]), job_name="lmexp", version_base="1.3"):
        yield GlobalHydra.instance().config_loader()


def _search_path(folders: Sequence[Path]) -> list[str]:
    paths = [str(folder.resolve()).replace("'", "\\'") for folder in folders[1:]]
    return ["hydra.searchpath=[" + ",".join(f"'file://{path}'" for path in paths) + "]"]


@contextlib.contextmanager
def plain_errors(folders: Sequence[Path]) -> Iterator[None]:
    """Errors of Hydra, OmegaConf and YAML as one line each."""
    from hydra.errors import HydraException, MissingConfigException, OverrideParseException
    from omegaconf.errors import OmegaConfBaseException

    try:
        yield
    except MissingConfigException as error:
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        options = error.options or []
        raise ValueError(
            f"{_chooser(group, choice, folders)}: there is no {group}={choice}"
            f"{nearest(choice, options) or '.'} There are {', '.join(options)}."
        ) from None
    except OverrideParseException as error:
        reason = str(error).splitlines()[0].removeprefix("LexerNoViableAltException: ")
        typed, equals, value = str(error.override).partition("=")
        why = "" if reason == error.override else f" ({reason})"
        if value.endswith(","):
            raise ValueError(
                f"{COMMAND_LINE}: {error.override}: nothing follows the last comma: leave it out"
            ) from None
        quoted = f": if it is one text, quote it: {typed}=\"'{value}'\"" if equals and value else ""
        raise ValueError(f"{COMMAND_LINE}: {error.override}: cannot be read{why}{quoted}") from None
    except (HydraException, OmegaConfBaseException) as error:
        key = getattr(error, "full_key", None) or getattr(error.__cause__, "full_key", None)
        text = f"{error} {error.__cause__ or ''}"
        lines = [line.strip() for line in text.splitlines() if line.strip(" ^")]
        kept = [line for line in lines if not line.startswith(("See https", "full_key", "object_"))]
        raise ValueError(f"{key or 'overrides'}: {'; '.join(kept).replace('.;', ';')}") from None
    except RecursionError:
        raise ValueError("configuration files include one another without end") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{mark.name}:{mark.line + 1}" if mark else "a configuration file"
        raise ValueError(f"{place}: no valid YAML: {error.problem}") from None
    except yaml.reader.ReaderError as error:
        raise ValueError(
            f"{error.name}: no valid YAML: the character {chr(error.character)!a} at offset "
            f"{error.position} may not stand in a YAML file"
        ) from None


def _chooser(group: str, choice: str, folders: Sequence[Path]) -> str:
    """The file whose list of defaults names a choice; Hydra tells the one it was started with."""
    pattern = re.compile(
        rf"^ *- .*/?{re.escape(group)}(@[\w.]+)?: *{re.escape(choice)} *(#|$)", re.M
    )
    for folder in reversed(folders):
        for file in sorted(folder.rglob("*.yaml")):
            if pattern.search(file.read_text(encoding="utf-8")):
                return _label(file, folders)
    return "conf/train.yaml"


def _checked(override: Any, folders: Sequence[Path]) -> str:
    """An override as Hydra shall see it: choices exist, new keys pass, to be named by the check."""
    line, key = str(override.input_line), str(override.key_or_group)
    if override.is_sweep_override():
        raise ValueError(
            f"{COMMAND_LINE}: {line} lists several values: add -m to run each of them, or quote "
            f"it as {key}=\"'…'\" to mean one text"
        )
    if key.split(".")[0].split("/")[0] == "hydra":
        if key not in FOLDERS:
            raise ValueError(
                f"{COMMAND_LINE}: {line} has no effect, lmexp only composes with Hydra; of its "
                f"settings there are {' and '.join(FOLDERS)}"
            )
        refuse_secrets({key: str(override.value())}, lambda _: COMMAND_LINE)
        return line
    groups = {path.name for folder in folders for path in folder.iterdir() if path.is_dir()}
    if key not in groups:
        is_plain = line.startswith(key) and "@" not in line.partition("=")[0]
        return f"++{line}" if is_plain else line
    _check_choice(line, key, override.value(), folders)
    return line


def _check_choice(line: str, group: str, value: Any, folders: Sequence[Path]) -> None:
    options = models.choices(group, folders)
    if value is None and group != "experiment":
        raise ValueError(
            f"{COMMAND_LINE}: {line}: a run needs one. There are {', '.join(sorted(options))}."
        )
    for choice in value if isinstance(value, list) else [value]:
        if choice is not None and str(choice) not in options:
            raise ValueError(
                f"{COMMAND_LINE}: {line}: there is no conf/{group}/{choice}.yaml"
                f"{nearest(str(choice), options) or '.'} There are {', '.join(sorted(options))}."
            )


def _layers(loader: Any, lines: list[str], folders: Sequence[Path]) -> list[Layer]:
    from hydra.types import RunMode

    layers = []
    for file in loader.compute_defaults_list("train", lines, RunMode.RUN).defaults:
        paths = (folder / f"{file.config_path}.yaml" for folder in folders)
        path = next((path for path in paths if path.exists()), None)
        if path is not None:
            content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
            package = tuple(filter(None, (file.package or "").split(".")))
            layers.append(Layer(_label(path, folders), package, content))
    return layers


def _label(file: Path, folders: Sequence[Path]) -> str:
    if file.is_relative_to(folders[0]):
        return f"conf/{file.relative_to(folders[0])}"
    return shown(file)
