"""Ranks that torchrun or srun has started: the first composes and takes the folder, all follow."""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lmexp.launch_ranks import RENDEZVOUS
from lmexp.run_folder import RECIPE, read_recipe

Tell = Callable[[Path, Sequence[str]], None]  # the run's folder, and packages of the user's own
_KEY = "run"
_LOOK_SECONDS = 0.05
_REFUSED = b"refused"
_FIRST_PORT, _PORTS = 15_000, 10_000  # by a job's last four digits, as Lightning: below 32,768


def adopt_slurm() -> None:
    """Put what srun tells its tasks into torchrun's variables; nothing to do outside of srun.

    A batch script's own shell has SLURM_PROCID too, but no step.

    Raises:
        ValueError: the nodes have unequal numbers of tasks.
    """
    environment = os.environ
    tasks = environment.get("SLURM_STEP_NUM_TASKS", "1")
    if "RANK" in environment or "SLURM_STEP_ID" not in environment or tasks == "1":
        return
    shares = environment["SLURM_STEP_TASKS_PER_NODE"]  # such as 8(x4)
    each = shares.partition("(")[0]
    if "," in shares:
        raise ValueError(
            f"srun has started {shares} tasks on the nodes of this job: every node needs as many; "
            "write --ntasks-per-node"
        )
    environment["RANK"], environment["WORLD_SIZE"] = environment["SLURM_PROCID"], tasks
    environment["LOCAL_RANK"], environment["LOCAL_WORLD_SIZE"] = environment["SLURM_LOCALID"], each
    environment["GROUP_RANK"] = environment["SLURM_NODEID"]
    if "MASTER_ADDR" not in environment:
        from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

        nodes = environment["SLURM_STEP_NODELIST"]
        environment["MASTER_ADDR"] = SLURMEnvironment.resolve_root_node_address(nodes)
    port = _FIRST_PORT + int(environment["SLURM_JOB_ID"]) % _PORTS
    environment.setdefault("MASTER_PORT", str(port))


def is_started_by_another() -> bool:
    """Whether this process is one of several ranks that lmexp itself did not start."""
    adopt_slurm()
    several = os.environ.get("WORLD_SIZE", "1") != "1"
    return "RANK" in os.environ and several and RENDEZVOUS not in os.environ


def together(start: Callable[[Tell], int]) -> int:
    """Let the first rank start a run and the others follow it.

    Args:
        start: composes, checks, takes the folder and trains; calls what it is given as soon as the
            recipe is in the folder.

    Raises:
        ValueError: this machine does not see the first one's folder.
    """
    from lmexp.ranks import meeting_place

    store = meeting_place()
    if os.environ["RANK"] != "0":
        return _follow(store)
    try:
        return start(lambda folder, allowed: store.set(_KEY, _told(folder, allowed)))
    finally:
        if not store.check([_KEY]):  # refused before it began
            store.set(_KEY, _REFUSED)
            time.sleep(1.0)  # the store may end with this process, and the others look at it


def _told(folder: Path, allow_targets: Sequence[str]) -> str:
    return json.dumps(
        {
            "folder": str(folder.absolute()),
            "hash": _hash(folder),
            "allow_targets": list(allow_targets),
        }
    )


def _hash(folder: Path) -> str:
    return hashlib.sha256((folder / RECIPE).read_bytes()).hexdigest()


def _follow(store: Any) -> int:
    from lmexp.train import run  # meanwhile: it takes seconds

    while not store.check([_KEY]):  # not get(): Python has to run, so that signals are obeyed
        time.sleep(_LOOK_SECONDS)
    said = store.get(_KEY)
    if said == _REFUSED:
        return 2  # the first rank says why
    told = json.loads(said)
    folder = Path(told["folder"])
    found = None
    with contextlib.suppress(FileNotFoundError):
        found = _hash(folder)
    if found != told["hash"]:
        here = f"has SHA-256 {found[:12]}… here" if found else "is not here"
        raise ValueError(
            f"rank {os.environ['RANK']}: {folder / RECIPE} {here}, and rank 0 wrote it with "
            f"{told['hash'][:12]}…: put run folders on a filesystem that all machines share"
        )
    return run(read_recipe(folder), folder, allow_targets=tuple(told["allow_targets"]))
