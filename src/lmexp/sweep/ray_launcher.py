"""Jobs of a sweep on a cluster of Ray; without one on a cluster of this machine alone."""

import contextlib
import logging
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmexp.errors import say
from lmexp.sweep import code
from lmexp.sweep.manifest import Manifest
from lmexp.sweep.watch import Task, run_task


class Ray:
    """A cluster, the one that RAY_ADDRESS names if it does.

    Args:
        manifest: of the sweep; `sweep.options` are options of a remote function, `num_gpus` say.

    Raises:
        ValueError: ray knows no such option.
    """

    def __init__(self, manifest: Manifest) -> None:
        import ray

        path = code.search_path(manifest.folder, manifest.directory)
        self._ray: Any = ray
        self._run = remote_function(manifest.settings, path)
        self._is_ours = not ray.is_initialized()
        if self._is_ours:
            self._begin(manifest.folder / code.CODE)
        self._check_resources(manifest.settings["options"])

    def _begin(self, frozen: Path) -> None:
        """A cluster, or the way into one.

        Its workers look for modules in the driver's current folder first, so that has to be the
        frozen code. And it takes SIGTERM over, without which jobs are not told to save.
        """
        before = signal.getsignal(signal.SIGTERM)
        with contextlib.chdir(frozen):
            self._ray.init(logging_level=logging.WARNING, include_dashboard=False)
        signal.signal(signal.SIGTERM, before)

    def _check_resources(self, options: Mapping[str, Any]) -> None:
        """Ray would wait for ever for what its cluster does not have; another one may grow."""
        asked = {"CPU": options.get("num_cpus", 1), "GPU": options.get("num_gpus", 0)}
        there = self._ray.cluster_resources()
        for name, count in {**asked, **(options.get("resources") or {})}.items():
            if (count or 0) <= there.get(name, 0):
                continue
            lack = f"a job asks for {count} {name} of Ray, whose cluster has {there.get(name, 0):g}"
            if "RAY_ADDRESS" not in os.environ:
                self.close()
                raise ValueError(f"sweep.options: {lack}: launch the sweep with less")
            say(f"{lack}: it waits until there are more")

    def submit(self, task: Task) -> Any:
        """Hand a job over."""
        return self._run.remote(task)

    def is_done(self, handle: Any) -> bool:
        """Whether it has ended."""
        return bool(self._ray.wait([handle], timeout=0)[0])

    def why(self, handle: Any) -> str:
        """What became of a job that could not say it itself."""
        try:
            self._ray.get(handle, timeout=0)
        except (self._ray.exceptions.RayError, OSError) as error:
            return f"Ray: {' '.join(str(error).split())}"
        return "Ray: it ended without a word"

    def cancel(self, handle: Any) -> None:
        """Take a job back that has not begun."""
        self._ray.cancel(handle)

    def close(self) -> None:
        """End the cluster, if it was begun here."""
        if self._is_ours:
            self._ray.shutdown()


def remote_function(settings: Mapping[str, Any], path: str | None = None) -> Any:
    """What Ray runs of a job.

    Args:
        settings: the sweep's.
        path: PYTHONPATH of its workers.

    Raises:
        ValueError: ray knows no such option.
    """
    import ray

    options = {"max_retries": 0, **settings["options"]}
    if path is not None:
        chosen = options.get("runtime_env") or {}
        variables = chosen.get("env_vars") or {}
        places = [path, *filter(None, [variables.get("PYTHONPATH")])]
        variables = {**variables, "PYTHONPATH": os.pathsep.join(places)}
        options["runtime_env"] = {**chosen, "env_vars": variables}
    try:
        return ray.remote(run_task).options(**options)
    except (TypeError, ValueError) as error:
        raise ValueError(f"sweep.options={settings['options']}: ray: {error}") from None
