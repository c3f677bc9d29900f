"""Jobs of a sweep under Slurm, through submitit; without Slurm by its local executor."""

from typing import Any

from lmexp.sweep.manifest import Manifest
from lmexp.sweep.watch import Task, run_task

MARGIN_MINUTES = 5  # of Slurm's own limit beyond ours, for a job to save and end


class Submitit:
    """Slurm's queue.

    Args:
        manifest: of the sweep; `sweep.options` are submitit's parameters, `slurm_partition` say.

    Raises:
        ValueError: submitit is not installed, or knows no such option.
    """

    def __init__(self, manifest: Manifest) -> None:
        try:
            import submitit
        except ImportError:
            raise ValueError(
                "sweep.launcher=submitit needs the package submitit: pip install submitit"
            ) from None
        minutes = manifest.settings["minutes"]
        options = {"name": manifest.folder.parent.name, **manifest.settings["options"]}
        if minutes is not None:
            options.setdefault("timeout_min", round(minutes) + MARGIN_MINUTES)
        self._executor = submitit.AutoExecutor(folder=manifest.folder / "submitit")
        try:
            self._executor.update_parameters(**options)
        except (NameError, TypeError, ValueError) as error:
            raise ValueError(f"sweep.options={options}: submitit: {error}") from None

    def submit(self, task: Task) -> Any:
        """Put a job into the queue."""
        return self._executor.submit(run_task, task)

    def is_done(self, handle: Any) -> bool:
        """Whether the queue has done with it."""
        return bool(handle.done())

    def why(self, handle: Any) -> str:
        """What became of a job that could not say it itself."""
        return f"Slurm: {handle.state}"

    def cancel(self, handle: Any) -> None:
        """Take a job out of the queue."""
        handle.cancel()

    def close(self) -> None:
        """Nothing is left to be done."""
