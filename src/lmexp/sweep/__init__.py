"""Sweeps: many runs as one object that survives, can be looked at, and goes on where it stopped."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt


@dataclass(frozen=True)
class Sweep:
    """How the jobs of a sweep are run; of one run alone it says nothing.

    Args:
        name: of the folder under logs/sweeps; None: the swept keys.
        launcher: local runs the jobs as processes of this machine; submitit hands them to Slurm;
            ray to a cluster of Ray.
        parallel: jobs at once; with GPUs, jobs at once on the devices that one job takes.
        minutes: that one job may take; None: as many as it wants.
        silent_minutes: a job that neither writes nor computes for so long hangs, and is ended;
            None waits for ever.
        repeat: jobs that an earlier sweep of this name has finished, with the same recipe and the
            same code, are run again, instead of being taken over.
        options: of submitit (`slurm_partition`) or of Ray's remote functions (`num_gpus`).
        search: a search.Search; None runs every combination.
    """

    name: str | None
    # Defaults for the sake of runs that were begun before these were there.
    launcher: Literal["local", "submitit", "ray"] = "local"
    parallel: Annotated[int, Ge(1)] = 1
    minutes: Annotated[float, Gt(0)] | None = None
    silent_minutes: Annotated[float, Gt(0)] | None = None
    repeat: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    search: Mapping[str, Any] | None = None
