"""Files that a command is told to write: checked before any work, and never at another's cost."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from lmexp.run_folder import RECIPE


def check_output(option: str, path: Path, *, suffix: str = "") -> None:
    """Whether a file can be written there.

    Args:
        option: as it is typed.
        path: that was named.
        suffix: that its name has to end in; "" takes any.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it is a folder, of another kind, or a file of a run's record.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{option} {path}: there is no folder {path.parent}: make it first")
    if path.is_dir():
        raise ValueError(f"{option} {path} is a folder: name a file in it")
    if suffix and path.suffix.lower() != suffix:
        raise ValueError(f"{option} {path}: {suffix[1:].upper()} is written: name it …{suffix}")
    is_record = path.exists() and (path.parent / RECIPE).exists() and suffix != ".png"
    if is_record or path.suffix == ".ckpt":
        raise ValueError(f"{option} {path} belongs to a run: name another file")


def check_apart(outputs: Mapping[str, Path], inputs: Mapping[str, Sequence[Path]]) -> None:
    """No file is written twice, and none that is read.

    Args:
        outputs: by option.
        inputs: likewise.

    Raises:
        ValueError: two options name one file.
    """
    taken = {path.resolve(): option for option, paths in inputs.items() for path in paths}
    for option, path in outputs.items():
        other = taken.setdefault(path.resolve(), option)
        if other != option:
            raise ValueError(f"{option} {path} is {other} too, and would be lost: name another")
