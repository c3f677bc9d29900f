"""What earlier sweeps of the same name have finished, and need not be trained again."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from lmexp.recipe import Composition
from lmexp.sweep.manifest import MANIFEST, Job, Manifest


class Taken(NamedTuple):
    """Jobs of a sweep that an earlier one has finished on equal code."""

    jobs: int  # marked as finished
    outdated: int  # trained on other data than there are now: not taken


def take_over(manifest: Manifest, is_on_these_data: Callable[[int, Path], bool]) -> Taken:
    """Mark jobs as finished that an earlier sweep beside this one has, on equal code.

    Args:
        manifest: of a new sweep.
        is_on_these_data: whether the data of a job, by its place, are those that an earlier run was
            trained on, by its folder.
    """
    done: dict[str, tuple[Path, Job]] = {}
    for file in sorted(manifest.folder.parent.glob(f"*/{MANIFEST}")):
        if file.parent == manifest.folder:
            continue
        try:
            earlier = Manifest.read(file.parent)
        except ValueError:
            continue  # of an older lmexp, whose code was another
        if earlier.code_hash == manifest.code_hash:
            finished = [
                (earlier.folder_of(job), job) for job in earlier.jobs if job.status == "finished"
            ]
            done |= {job.recipe_hash: (own, job) for own, job in finished if own.is_dir()}
    outdated = 0
    for place, job in enumerate(manifest.jobs):
        if job.recipe_hash not in done:
            continue
        folder, other = done[job.recipe_hash]
        if not is_on_these_data(place, folder):
            outdated += 1
            continue
        job.taken_from = os.path.relpath(folder, manifest.folder)
        job.status, job.return_code = other.status, other.return_code
        job.host, job.started, job.seconds = other.host, other.started, other.seconds
    return Taken(sum(job.taken_from is not None for job in manifest.jobs), outdated)


def on_data_of(composed: Sequence[Composition]) -> Callable[[int, Path], bool]:
    """For take_over: looks at the data as they are now, once for equal sections `data`.

    A recipe names files, not what is in them.

    Args:
        composed: of each job.
    """
    hashes: dict[str, str] = {}

    def is_same(place: int, folder: Path) -> bool:
        try:
            environment = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
            before = environment["data"]["data_hash"]
        except (OSError, ValueError, KeyError, TypeError):  # who knows what it was trained on
            return False
        own = composed[place]
        key = json.dumps(own.recipe["data"], sort_keys=True)
        if key not in hashes:
            hashes[key] = _data_hash(own)
        return bool(hashes[key] == before)

    return is_same


def _data_hash(composed: Composition) -> str:
    from lmexp.starting import data_of, start_of

    start = start_of(composed.recipe, composed.allow_targets)
    data = data_of(composed.recipe, start, composed.allow_targets)
    data.prepare(fit=False, splits=())
    return str(data.data_hash)
