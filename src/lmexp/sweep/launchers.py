"""Where the jobs of a sweep run: on this machine, under Slurm, or on a cluster of Ray."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from lmexp.forwarding import Forwarder
from lmexp.run_folder import RECIPE, read_recipe
from lmexp.sweep.manifest import DONE, Job, Manifest
from lmexp.sweep.remote import Remote
from lmexp.sweep.watch import STOP, Task, Watch


class Launcher(Protocol):
    """Starts jobs and says when they have ended."""

    @property
    def has_room(self) -> bool: ...
    @property
    def is_busy(self) -> bool: ...
    def start(self, task: Task) -> Job: ...
    def ended(self) -> list[Job]: ...
    def close(self) -> None: ...


def check_launcher(settings: Mapping[str, Any]) -> None:
    """Refuse what a launcher cannot work with.

    Args:
        settings: the sweep's.

    Raises:
        ValueError: its package is not installed, it has no such option, or it needs one.
    """
    name, options = settings["launcher"], settings["options"]
    if name == "local":
        if options:
            named = ", ".join(f"sweep.options.{option}" for option in options)
            raise ValueError(
                f"{named}: sweep.launcher=local has no options: leave this out, or write another "
                "launcher"
            )
        return
    if find_spec(name) is None:
        raise ValueError(f"sweep.launcher={name} needs the package {name}: pip install {name}")
    if name == "submitit":
        from lmexp.sweep.submitit_launcher import executor

        executor(settings, Path(), "")
    else:
        from lmexp.sweep.ray_launcher import remote_function

        remote_function(settings)


def launcher_of(manifest: Manifest, signals: Forwarder) -> Launcher:
    """The one that the sweep's settings name.

    Raises:
        ValueError: as of check_launcher.
    """
    check_launcher(manifest.settings)
    name = manifest.settings["launcher"]
    if name == "submitit":
        from lmexp.sweep.submitit_launcher import Submitit

        return Remote(manifest, signals, Submitit(manifest))
    if name == "ray":
        from lmexp.sweep.ray_launcher import Ray

        return Remote(manifest, signals, Ray(manifest))
    return Local(manifest, signals)


class Local:
    """Processes of this machine, each on devices of its own where there are several.

    Args:
        manifest: of the sweep.
        signals: that are handed on to the jobs under way.
    """

    def __init__(self, manifest: Manifest, signals: Forwarder) -> None:
        self._signals = signals
        self._watches: list[tuple[Watch, dict[str, str]]] = []
        self._free = _places(manifest.settings, _asked(manifest))

    @property
    def has_room(self) -> bool:
        """Whether another job can be started."""
        return bool(self._free)

    @property
    def is_busy(self) -> bool:
        """Whether a job is under way."""
        return bool(self._watches)

    def start(self, task: Task) -> Job:
        """Begin a job; gives it as it now stands."""
        (Path(task.sweep) / task.job.folder / STOP).unlink(missing_ok=True)
        place = self._free.pop(0)
        watch = Watch(task._replace(environment=place))
        self._watches.append((watch, place))
        self._hand_on()
        return watch.job

    def ended(self) -> list[Job]:
        """Jobs that have ended since the last call."""
        found = []
        for watch, place in list(self._watches):
            job = watch.look()
            if job is not None:
                found.append(job)
                self._watches.remove((watch, place))
                self._free.append(place)
        if found:
            self._hand_on()
        return found

    def close(self) -> None:
        """Nothing is left to be done."""

    def _hand_on(self) -> None:
        self._signals.send_to(*(watch.process for watch, _ in self._watches))


class Asked(NamedTuple):
    """What a job takes, as its recipe has it."""

    devices: Any  # None: not known before it runs
    accelerator: str


def devices_of(trainer: Mapping[str, Any]) -> Any:
    """What a run takes: `auto` is one device, but for a strategy over all (hardware.choose)."""
    is_one = trainer["devices"] == "auto" and trainer["strategy"] == "auto"
    return 1 if is_one else trainer["devices"]


def jobs_at_once(manifest: Manifest) -> int:
    """How many run side by side: on this machine there may be devices for more than one."""
    is_local = manifest.settings["launcher"] == "local"
    parallel: int = manifest.settings["parallel"]
    return len(_places(manifest.settings, _asked(manifest))) if is_local else parallel


def jobs_on_these_cores(settings: Mapping[str, Any], asked: Sequence[Asked]) -> int:
    """How many share the cores of this machine, which submitit leaves where srun is.

    Args:
        settings: the sweep's.
        asked: by each of its jobs.
    """
    name, parallel = settings["launcher"], int(settings["parallel"])
    if name == "local":
        return len(_places(settings, asked))
    return parallel if name == "submitit" and shutil.which("srun") is None else 1


def _places(settings: Mapping[str, Any], asked: Sequence[Asked]) -> list[dict[str, str]]:
    """The environment of each job that may run at a time."""
    parallel: int = settings["parallel"]
    visible, wanted = _gpus(), _most(asked)
    groups = len(visible) // wanted if wanted else 0
    if groups < 2:  # one job takes them all, or there are none
        return [{} for _ in range(parallel)]
    sets = [",".join(visible[n * wanted : (n + 1) * wanted]) for n in range(groups)]
    return [{"CUDA_VISIBLE_DEVICES": own} for _ in range(parallel) for own in sets]


def _most(asked: Sequence[Asked]) -> int:
    """The most GPUs that a job takes; 0: all there are, or none of them."""
    counts = [own for own, kind in asked if isinstance(own, int) and kind != "cpu"]
    return max(counts, default=0) if len(counts) == len(asked) else 0


def _asked(manifest: Manifest) -> list[Asked]:
    """By each job; of a search its studies say it: its trials are not known before they run."""
    if manifest.studies:
        return [Asked(study.devices, study.accelerator) for study in manifest.studies]
    folders = [manifest.folder / job.folder for job in manifest.jobs if job.status not in DONE]
    folders = [folder for folder in folders if (folder / RECIPE).is_file()]
    trainers = [read_recipe(folder)["trainer"] for folder in folders]
    return [Asked(devices_of(trainer), trainer["accelerator"]) for trainer in trainers]


def _gpus() -> Sequence[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [part for part in named.split(",") if part]
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    done = subprocess.run([program, "-L"], capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines() if done.returncode == 0 else []
    return [str(number) for number, line in enumerate(lines) if line.startswith("GPU ")]
