"""The code that a sweep runs: a copy made at its launch, so that edits change no later job."""

import hashlib
import importlib.util
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from lmexp.launch_ranks import OF_A_LAUNCHER
from lmexp.run_folder import LOCK, RECIPE
from lmexp.secret_values import variable_in
from lmexp.sweep.manifest import MANIFEST

CODE = "code"  # a folder in the sweep's
CONFIG = "config"  # in it: a copy of the folder that --config-dir names
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")
MOST_BYTES = 100_000_000  # of one package of the user's


def freeze_code(folder: Path, packages: Sequence[str], config_dir: str | None = None) -> str:
    """Copy lmexp, packages of the user's, and configuration files of both into the sweep's folder.

    What those packages import besides is not copied, unless it lies in them.

    Args:
        folder: of the sweep.
        packages: names that `_target_` may begin with.
        config_dir: a folder with configuration files of the user's.

    Returns:
        The hash of what was copied.

    Raises:
        ValueError: a package is not there, far too large for code, or with a secret in it.
    """
    from lmexp.recipe import conf_dir

    code = folder / CODE
    own = Path(__file__).resolve().parents[1]
    shutil.copytree(own, code / "lmexp", ignore=LEFT_OUT)
    shutil.copytree(conf_dir(), code / "lmexp" / "conf", ignore=LEFT_OUT, dirs_exist_ok=True)
    if config_dir is not None:
        (code / CONFIG).mkdir()
        _copy_configuration(Path(config_dir), code / CONFIG, folder)
    for name in dict.fromkeys(package.partition(".")[0] for package in packages):
        if name != "lmexp":
            _copy(name, code)
    _refuse_secrets(code)
    return hash_of(code)


def _refuse_secrets(code: Path) -> None:
    for file in _files(code):
        name = variable_in(file.read_text(encoding="utf-8", errors="replace"))
        if name is not None:
            raise ValueError(
                f"{file.relative_to(code)} holds the value of ${name}, a secret, and a sweep "
                "copies the code that it runs: let it read os.environ"
            )


def _copy_configuration(config_dir: Path, target: Path, sweep: Path) -> None:
    """Configuration files alone; runs and sweeps have some too, this one is being made."""
    seen: set[str] = set()
    for place, folders, files in os.walk(config_dir, followlinks=True):
        is_run = {RECIPE, LOCK} <= set(files)
        is_sweep = (MANIFEST in files and CODE in folders) or sweep.samefile(place)
        if is_run or is_sweep or os.path.realpath(place) in seen:
            folders.clear()
            continue
        seen.add(os.path.realpath(place))
        hidden = LEFT_OUT(place, [*folders, *files])
        folders[:] = [name for name in folders if name not in hidden]
        for name in files:
            if name.endswith(".yaml") and name not in hidden:
                copy = target / Path(place).relative_to(config_dir) / name
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(Path(place, name), copy)


def _copy(name: str, code: Path) -> None:
    spec = importlib.util.find_spec(name)
    if spec is None or (spec.origin is None and not spec.submodule_search_locations):
        raise ValueError(f"--allow-targets {name}: no module of that name can be imported here")
    copied = 0

    def copy(source: str, target: str) -> str:
        """Counts what links lead to as well."""
        nonlocal copied
        copied += Path(source).stat().st_size
        if copied > MOST_BYTES:
            raise ValueError(
                f"--allow-targets {name}: more than {MOST_BYTES / 1e6:.0f} MB, {source} among "
                "them, and a sweep copies the code that it runs: keep data out of it"
            )
        return shutil.copy2(source, target)

    for place in spec.submodule_search_locations or ():
        shutil.copytree(place, code / name, ignore=LEFT_OUT, copy_function=copy, dirs_exist_ok=True)
    if not spec.submodule_search_locations and spec.origin is not None:
        shutil.copy2(spec.origin, code)


def hash_of(code: Path) -> str:
    """Of names and contents of all files."""
    digest = hashlib.sha256()
    for file in _files(code):
        digest.update(f"{file.relative_to(code)}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _files(code: Path) -> Iterable[Path]:
    return sorted(file for file in code.rglob("*") if file.is_file() and file.suffix != ".pyc")


def python(folder: Path) -> list[str]:
    """The interpreter, which does not put the current folder before the frozen code."""
    return [sys.executable, "-P"] if (folder / CODE).is_dir() else [sys.executable]


def environment(folder: Path, directory: str) -> dict[str, str]:
    """Of what runs the frozen code of a sweep: it comes first, the directory of the launch last."""
    plain = {key: value for key, value in os.environ.items() if key not in OF_A_LAUNCHER}
    return {**plain, "PYTHONPATH": search_path(folder, directory)}


def search_path(folder: Path, directory: str) -> str:
    """PYTHONPATH of what runs the frozen code of a sweep."""
    others = [place for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place]
    places = [str((folder / CODE).resolve()), *others, directory]
    return os.pathsep.join(dict.fromkeys(places))
