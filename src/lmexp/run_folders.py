"""Finds the run that a command was pointed at: a folder, its parent or a checkpoint."""

from pathlib import Path

RECIPE = "recipe.yaml"
LEVELS = 4  # logs/sweeps/<name>/<time>/<job> is four below logs


def newest_run(path: str | Path) -> Path:
    """The run folder meant by a path.

    Args:
        path: a run folder, a file or folder in it such as a checkpoint, or a folder up to four
            levels above runs, which means the newest of them: the one whose recipe was frozen
            last.

    Raises:
        FileNotFoundError: nothing is there, or no run is at, above or below it.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder{_neighbours(path)}")
    for folder in (path, *path.absolute().parents[:2]):  # <run>/checkpoints/last.ckpt
        if (folder / RECIPE).is_file():
            return folder
    if path.is_file():
        raise FileNotFoundError(
            f"{path} lies in no run: there is no {RECIPE} in {path.absolute().parent} or the "
            "folder above; name a run folder, such as logs/runs/<name>/<time>"
        )
    recipes = [
        recipe for level in range(1, LEVELS + 1) for recipe in path.glob("*/" * level + RECIPE)
    ]
    if not recipes:
        raise FileNotFoundError(
            f"{path} is no run and holds none: looked for {RECIPE} in it and down to {LEVELS} "
            "folders below; `python train.py` makes a run under logs/runs"
        )
    return max(recipes, key=lambda recipe: (recipe.stat().st_mtime_ns, str(recipe))).parent


def _neighbours(path: Path) -> str:
    """What does exist where the missing path should be, newest first."""
    parent = path.parent
    while not parent.is_dir():
        parent = parent.parent
    there = sorted(
        (e for e in parent.iterdir() if not e.name.startswith(".") and e.exists()),  # no dead link
        key=lambda entry: entry.stat().st_mtime_ns,
        reverse=True,
    )
    if not there:
        return f"; {parent} is empty"
    return f"; {parent} holds {', '.join(entry.name for entry in there[:5])}"
