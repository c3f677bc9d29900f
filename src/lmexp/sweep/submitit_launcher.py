"""Jobs of a sweep under Slurm, through submitit; without Slurm by its local executor."""

import contextlib
import math
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lmexp.sweep import code
from lmexp.sweep.manifest import Manifest
from lmexp.sweep.watch import Task, run_task

MARGIN_MINUTES = 5  # of Slurm's own limit beyond ours, for a job to save and end
LIMITS = ("timeout_min", "slurm_time")  # options that say how long a job may take
UNLIMITED_MINUTES = 366 * 24 * 60
CLUSTERS = ("slurm", "local")  # as submitit calls them
OF_GPUS = ("gpus_per_node", *(f"{cluster}_gpus_per_node" for cluster in CLUSTERS))
# Without it srun gives a task one core, whatever sbatch was given (Slurm 22.05 and later).
TELL_SRUN_THE_CORES = (
    'if [ -n "${SLURM_CPUS_PER_TASK:-}" ]; then export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK; fi'
)


class Submitit:
    """Slurm's queue.

    Args:
        manifest: of the sweep; `sweep.options` are submitit's parameters, `slurm_partition` say.

    Raises:
        ValueError: submitit knows no such option, or Slurm no limit of time.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._executor = executor(
            manifest.settings,
            manifest.folder / "submitit",
            manifest.folder.parent.name,
            code.python(manifest.folder),
        )

    def submit(self, task: Task) -> Any:
        """Put a job into the queue.

        Raises:
            ValueError: the queue refuses it.
        """
        from submitit.core.utils import FailedJobError, environment_variables

        place = code.search_path(Path(task.sweep), task.directory)
        errors = _errors_to(self._executor.folder / "controllers.txt")
        try:
            with errors, environment_variables(PYTHONPATH=place):
                return self._executor.submit(run_task, task)
        except FailedJobError as error:
            raise ValueError(
                f"{task.job.folder} is refused by sbatch ({error}): jobs under way go on, and "
                f"python -m lmexp sweep resume {task.sweep} goes on with the others"
            ) from None

    def is_done(self, handle: Any) -> bool:
        """Whether the queue has done with it."""
        return bool(handle.done())

    def why(self, handle: Any) -> str:
        """What became of a job that could not say it itself."""
        said = (handle.stderr() or "").strip().splitlines()
        return ": ".join([f"submitit, {self._executor.cluster}", handle.state, *said[-1:]])

    def cancel(self, handle: Any) -> None:
        """Take a job out of the queue."""
        handle.cancel(check=False)  # it may have ended meanwhile

    def close(self) -> None:
        """Nothing is left to be done."""


def executor(
    settings: Mapping[str, Any], folder: Path, name: str, python: Sequence[str] = (sys.executable,)
) -> Any:
    """submitit's executor, of Slurm where there is one.

    Without a limit of sweep.minutes a job has none on this machine, where submitit would end it
    after two minutes. Slurm has to be given one: submitit would give it five minutes.

    Args:
        settings: the sweep's.
        folder: for submitit's own files.
        name: of the jobs.
        python: command that starts an interpreter.

    Raises:
        ValueError: submitit knows no such option, Slurm no limit of time, or no Slurm is there that
            could tell the GPUs of one job from those of another.
    """
    import submitit

    own = submitit.AutoExecutor(
        folder=folder, **{f"{cluster}_python": shlex.join(python) for cluster in CLUSTERS}
    )
    minutes = settings["minutes"]
    options = {"name": name, **settings["options"]}
    if own.cluster != "slurm" and any(options.get(key) for key in OF_GPUS):
        raise ValueError(
            "sweep.launcher=submitit: there is no Slurm here, and without it submitit gives every "
            "job the same GPUs: write sweep.launcher=local, which gives each its own"
        )
    if minutes is not None:
        options.setdefault("timeout_min", math.ceil(minutes) + MARGIN_MINUTES)
    elif own.cluster != "slurm":
        options.setdefault("timeout_min", UNLIMITED_MINUTES)
    elif not any(limit in options for limit in LIMITS):
        raise ValueError(
            "sweep.launcher=submitit: Slurm has to know how long a job may take: write "
            "sweep.minutes=…"
        )
    try:
        own.update_parameters(**options)
        setup = options.get("slurm_setup") or []
        if not isinstance(setup, list):
            raise ValueError(f"slurm_setup={setup} is no list of lines")
        own.update_parameters(slurm_setup=[TELL_SRUN_THE_CORES, *setup])
    except (AssertionError, NameError, TypeError, ValueError) as error:
        raise ValueError(f"sweep.options={settings['options']}: submitit: {error}") from None
    return own


@contextlib.contextmanager
def _errors_to(file: Path) -> Iterator[None]:
    """What is started within writes its errors to a file.

    Of submitit's local executor those are processes beside ours, in our terminal, which Ctrl-C
    would make print a traceback each.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    before = os.dup(2)
    try:
        with file.open("ab") as own:
            os.dup2(own.fileno(), 2)
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
