"""How the files of a folder are named: which of several known ways fits."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lmexp.corpora.locate import resolve
from lmexp.corpora.parallel import side_names
from lmexp.corpora.piece import Split

Layout = dict[str, list[str] | dict[str, str] | bool]

_KEYS = {"train", "val", "test", "tokenised"}


class Fitting(NamedTuple):
    """The files of a folder, and the layout that names them."""

    name: str
    paths: dict[str, list[Path]]  # by split: source, target and perhaps further references
    is_tokenised: bool


def check_layouts(layouts: Mapping[str, Layout]) -> None:
    """Raise ValueError if a layout is not train, val, test and tokenised, each of its type."""
    for name, layout in layouts.items():
        sides = [layout.get(split) for split in ("train", "val", "test")]
        is_right = set(layout) == _KEYS and isinstance(layout["tokenised"], bool)
        if not is_right or any(isinstance(own, bool) for own in sides):
            raise ValueError(
                f"data.layouts.{name} has {', '.join(layout)}: write train, val and test, each "
                "[SOURCE,TARGET] or {en: SOURCE, de: TARGET}, and tokenised, true or false"
            )


def fitting(
    layouts: Mapping[str, Layout],
    folder: Path,
    codes: tuple[str, str],
    year: int,
    splits: Sequence[Split],
) -> Fitting:
    """The first layout of which the folder has every file.

    Args:
        layouts: by name; {source}, {target}, {year} and {last_year} in them are filled in.
        folder: where the files are, plain, .gz or .zst.
        codes: of source and target language.
        year: of the task.
        splits: those that are wanted.

    Raises:
        FileNotFoundError: none fits; says what each of them lacks.
    """
    reasons = []
    for name, layout in layouts.items():
        paths: dict[str, list[Path]] = {}
        try:
            for split in splits:
                sides = _dated(layout[split], year)
                names = side_names(f"data.layouts.{name}.{split}", sides, codes)
                paths[split] = [path for own in names for path in resolve([own], folder)]
        except (FileNotFoundError, ValueError) as error:
            reasons.append(f"{name}: {error}")
            continue
        return Fitting(name, paths, layout["tokenised"] is True)
    raise FileNotFoundError(
        f"data.root={folder} fits no layout ({'; '.join(reasons)}): name the files so, or read "
        "them by data=parallel 'data.train=[SOURCE,TARGET]'"
    )


def _dated(sides: list[str] | dict[str, str] | bool, year: int) -> list[str] | dict[str, str]:
    def filled(name: str) -> str:
        return name.replace("{year}", str(year)).replace("{last_year}", str(year - 1))

    if isinstance(sides, dict):
        return {code: filled(name) for code, name in sides.items()}
    assert isinstance(sides, list)  # see check_layouts
    return [filled(name) for name in sides]
