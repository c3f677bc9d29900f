"""What a sweep will do: every combination composed, checked and hashed before the first starts."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lmexp.check import check
from lmexp.environment import usable_cores
from lmexp.recipe import Composition, composition, expand
from lmexp.run_folder import claim, claim_named
from lmexp.sweep.manifest import MANIFEST, NAME_BYTES, Job, Manifest, recipe_hash

SWEEPS = Path("logs", "sweeps")


class Planned(NamedTuple):
    """A combination that has passed the check."""

    overrides: list[str]  # as swept
    composed: Composition

    @property
    def settings(self) -> Mapping[str, Any]:
        """How the sweep is run."""
        settings: Mapping[str, Any] = self.composed.recipe["sweep"]
        return settings


def plan(
    overrides: Sequence[str], config_dir: str | None, allow_targets: Sequence[str]
) -> list[Planned]:
    """Compose and check every combination; equal ones stand once.

    Raises:
        ValueError: of the first that is refused, with its overrides and the number of the others.
    """
    combinations = expand(overrides, config_dir)
    swept = [line for line in combinations[0] if any(line not in c for c in combinations)]
    keys = {line.partition("=")[0] for line in swept}
    planned: dict[str, Planned] = {}
    refused = []
    for combination in combinations:
        mine = [line for line in combination if line.partition("=")[0] in keys]
        try:
            composed = composition(combination, config_dir, allow_targets)
            _check(composed)
        except (ValueError, PermissionError) as error:
            refused.append(f"{' '.join(mine) or 'every run'}: {error}")
            continue
        _share_cores(composed)
        planned.setdefault(recipe_hash(composed.recipe), Planned(mine, composed))
    if refused:
        share = f" ({len(refused)} of {len(combinations)} combinations are refused)"
        raise ValueError(refused[0] + (share if len(combinations) > 1 else ""))
    _check_settings(list(planned.values()))
    _build_sizes(list(planned.values()))
    return list(planned.values())


def _check(composed: Composition) -> None:
    if composed.recipe.get("resume") is not None:
        raise ValueError(
            "resume= goes on with one run: leave -m out, or go on with a whole sweep by "
            "python -m lmexp sweep resume <name>"
        )
    check(composed.recipe, composed.allow_targets, composed.origins)


def _check_settings(planned: Sequence[Planned]) -> None:
    """How the sweep is run is one thing for all."""
    first = planned[0].settings
    for job in planned[1:]:
        for key, value in job.settings.items():
            if value != first[key]:
                raise ValueError(
                    f"sweep.{key}={value} of {' '.join(job.overrides)} is sweep.{key}={first[key]} "
                    f"of {' '.join(planned[0].overrides)}: a sweep is run in one way"
                )


def _share_cores(composed: Composition) -> None:
    """Jobs side by side share the cores, which its recipe says: a job run alone takes as many."""
    parallel, trainer = composed.recipe["sweep"]["parallel"], composed.recipe["trainer"]
    if parallel > 1 and trainer["threads"] is None:
        trainer["threads"] = max(1, usable_cores() // parallel)


def _build_sizes(planned: Sequence[Planned]) -> None:
    from lmexp.trial import build_sizes

    for swept, composed in planned:
        try:
            build_sizes(composed.recipe, composed.allow_targets, composed.origins)
        except ValueError as error:
            raise ValueError(f"{' '.join(swept) or 'every run'}: {error}") from None


def claim_folder(planned: Sequence[Planned]) -> Path:
    """A new folder for the sweep, named after what it compares.

    Raises:
        FileExistsError: the folder that hydra.sweep.dir= names is not empty.
    """
    composed = planned[0].composed
    chosen = composed.folders.get("hydra.sweep.dir")
    if chosen:
        return claim_named(Path(chosen))
    name = composed.recipe["sweep"]["name"]
    if name is None and "name" in composed.typed:
        name = composed.recipe["name"]
    if name is None:
        keys = [line.partition("=")[0] for line in planned[0].overrides]
        name = "-".join(keys) or composed.recipe["name"]
    return claim(SWEEPS / safe(name))


def jobs_of(planned: Sequence[Planned]) -> list[Job]:
    """The jobs, none begun."""
    return [
        Job(
            folder=_job_name(index, len(planned), swept),
            overrides=swept,
            recipe_hash=recipe_hash(composed.recipe),
            allow_targets=list(composed.allow_targets),
        )
        for index, (swept, composed) in enumerate(planned)
    ]


def take_over(manifest: Manifest) -> int:
    """Mark jobs as finished that an earlier sweep beside this one has, on equal code; how many."""
    done: dict[str, tuple[Path, Job]] = {}
    for file in sorted(manifest.folder.parent.glob(f"*/{MANIFEST}")):
        if file.parent == manifest.folder:
            continue
        try:
            earlier = Manifest.read(file.parent)
        except ValueError:
            continue  # of an older lmexp, whose code was another
        if earlier.code_hash == manifest.code_hash:
            finished = (job for job in earlier.jobs if job.status == "finished")
            done |= {job.recipe_hash: (earlier.folder_of(job), job) for job in finished}
    for job in manifest.jobs:
        if job.recipe_hash in done:
            folder, other = done[job.recipe_hash]
            job.taken_from = os.path.relpath(folder, manifest.folder)
            job.status, job.return_code = other.status, other.return_code
            job.host, job.started, job.seconds = other.host, other.started, other.seconds
    return sum(job.taken_from is not None for job in manifest.jobs)


def _job_name(index: int, count: int, swept: Sequence[str]) -> str:
    number = str(index).zfill(len(str(count - 1)))
    return "_".join([number, *(safe(line) for line in swept)])[:NAME_BYTES]


def safe(text: str) -> str:
    """Text as part of a path, and of an override without quotes."""
    return re.sub(r"[^\w.]+", "-", text).strip("-.")
