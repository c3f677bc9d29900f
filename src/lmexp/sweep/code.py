"""The code that a sweep runs: a copy made at its launch, so that edits change no later job."""

import ast
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

    With the packages goes what they import from where the launch looks first: the current folder
    and PYTHONPATH. What is installed is not copied.

    Args:
        folder: of the sweep.
        packages: names that `_target_` may begin with.
        config_dir: a folder with configuration files of the user's.

    Returns:
        The hash of what was copied.

    Raises:
        ValueError: a package is not there, far too large for code, or with a secret in it.
    """
    try:
        return _freeze(folder / CODE, folder, packages, config_dir)
    except shutil.Error as error:  # one for each file
        source, _, why = error.args[0][0]
        raise ValueError(f"{source} cannot be copied into the sweep ({why})") from None


def _freeze(code: Path, folder: Path, packages: Sequence[str], config_dir: str | None) -> str:
    from lmexp.recipe import conf_dir

    own = Path(__file__).resolve().parents[1]
    shutil.copytree(own, code / "lmexp", ignore=LEFT_OUT)
    shutil.copytree(conf_dir(), code / "lmexp" / "conf", ignore=LEFT_OUT, dirs_exist_ok=True)
    if config_dir is not None:
        (code / CONFIG).mkdir()
        _copy_configuration(Path(config_dir), code / CONFIG, folder)
    for name in _own_code(packages):
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


def _own_code(packages: Sequence[str]) -> list[str]:
    """Packages of the user's, and modules of the user's that they import, in turn."""
    waiting = [package.partition(".")[0] for package in packages]
    found: list[str] = []
    while waiting:
        name = waiting.pop()
        if name == "lmexp" or name in found:
            continue
        found.append(name)
        waiting += sorted(other for other in _imported_by(name) if _is_own(other))
    return found


def _is_own(name: str) -> bool:
    """Whether a module lies where the launch looks first, and is not installed there."""
    if name in sys.stdlib_module_names:
        return False
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):  # __main__, say
        return False
    places = [*(spec.submodule_search_locations or ()), spec.origin] if spec is not None else []
    others = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    firsts = [Path.cwd(), *map(Path, filter(None, others))]
    return any(
        Path(place).is_relative_to(first.absolute())
        and not Path(place).is_relative_to(sys.prefix)
        and "site-packages" not in Path(place).parts
        for place in places
        if place is not None
        for first in firsts
    )


def _imported_by(name: str) -> set[str]:
    """Top-level names that the files of a module or package import, wherever they do."""
    spec = importlib.util.find_spec(name)
    if spec is None:
        return set()
    folders = [Path(place) for place in spec.submodule_search_locations or ()]
    files = [file for folder in folders for file in folder.rglob("*.py") if file.is_file()]
    if not folders and spec.origin is not None and spec.origin.endswith(".py"):
        files = [Path(spec.origin)]
    names: set[str] = set()
    for file in files:
        try:
            tree = ast.parse(file.read_bytes())
        except (SyntaxError, ValueError):  # whoever imports it will be told
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
    return names


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
                f"the package {name} has more than {MOST_BYTES / 1e6:.0f} MB, {source} among them, "
                "and a sweep copies the code that it runs: keep data out of it"
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
    """What was copied; file systems and interpreters leave files of their own beside it."""
    found = (file for file in code.rglob("*") if file.is_file() and file.suffix != ".pyc")
    return sorted(file for file in found if not file.name.startswith("."))


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
