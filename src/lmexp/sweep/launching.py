"""Commands `train -m` and `sweep resume`: the jobs of a sweep, run to their ends."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from lmexp.errors import say
from lmexp.forwarding import Forwarder
from lmexp.run_folder import held, is_held, write_recipe
from lmexp.sweep.code import CODE, freeze_code
from lmexp.sweep.launchers import Launcher, launcher_of
from lmexp.sweep.manifest import DONE, Job, Manifest, write_job
from lmexp.sweep.planning import Planned, claim_folder, jobs_of, plan, take_over
from lmexp.sweep.table import print_table
from lmexp.sweep.watch import Task

LOOK_SECONDS = 0.05
RELEASE_SECONDS = 60.0  # for jobs that outlived their sweep to save and end


def sweep(overrides: Sequence[str], config_dir: str | None, allow_targets: Sequence[str]) -> int:
    """Command `train -m`; the exit status is 0 if all runs finished.

    Raises:
        ValueError: one of the combinations would be refused; none has been started.
    """
    planned = plan(overrides, config_dir, allow_targets)
    with ExitStack() as stack:
        manifest = _begin(planned, stack)
        return _run(manifest)


def _begin(planned: Sequence[Planned], stack: ExitStack) -> Manifest:
    """A folder that nobody else has, with the recipes and the code in it."""
    folder = claim_folder(planned)
    stack.enter_context(held(folder))
    jobs, settings = jobs_of(planned), planned[0].settings
    packages = [package for job in jobs for package in job.allow_targets]
    manifest = Manifest(folder, jobs, settings, freeze_code(folder, packages))
    taken = 0 if settings["repeat"] else take_over(manifest)
    for job, (_, composed) in zip(jobs, planned, strict=True):
        if job.taken_from is None:
            (folder / job.folder).mkdir()
            write_recipe(composed.recipe, folder / job.folder)
    manifest.write()
    if taken:
        say(
            f"{taken} of {len(jobs)} jobs have been finished by an earlier sweep with the same "
            "recipe and code, and are not run again: sweep.repeat=true runs them"
        )
    return manifest


def resume(folder: Path) -> int:
    """Command `sweep resume`: what is missing or failed; the exit status is 0 if all finished.

    Raises:
        ValueError: somebody else is running the sweep, or its frozen code is gone.
    """
    with held(folder):
        manifest = Manifest.read(folder)
        if not (folder / CODE).is_dir():
            raise ValueError(
                f"{folder / CODE} is gone, the code that this sweep began with: launch another "
                "sweep of this name; what is finished need not be run again on equal code"
            )
        _wait_for_orphans(manifest)
        for job in manifest.jobs:
            if job.status not in DONE:
                job.status = "waiting"
        return _run(manifest)


def _wait_for_orphans(manifest: Manifest) -> None:
    """Jobs end with their sweep, but not before they have saved."""
    deadline = time.monotonic() + RELEASE_SECONDS
    for job in manifest.jobs:
        folder = manifest.folder / job.folder
        while job.status == "running" and is_held(folder) and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)


def _run(manifest: Manifest) -> int:
    waiting = [job for job in manifest.jobs if job.status not in DONE]
    at_once = manifest.settings["parallel"]
    order = "one after the other" if at_once == 1 else f"{at_once} at once"
    print(f"{len(waiting)} runs in {manifest.folder}, {order}", flush=True)
    signals = Forwarder()
    signals.install()
    try:
        launcher = launcher_of(manifest, signals)
        try:
            _run_all(manifest, waiting, launcher, signals)
        finally:
            launcher.close()
    finally:
        signals.restore()
    print_table(manifest)
    if signals.received is not None:
        say(f"go on with python -m lmexp sweep resume {manifest.folder}")
        return 128 + signals.received
    return int(any(job.status not in DONE for job in manifest.jobs))


def _run_all(
    manifest: Manifest, waiting: list[Job], launcher: Launcher, signals: Forwarder
) -> None:
    """Start jobs as room is made for them, until none is left or a signal came."""
    number, count = 0, len(waiting)
    while waiting or launcher.is_busy:
        while waiting and launcher.has_room and signals.received is None:
            job = waiting.pop(0)
            number += 1
            print(f"[{number}/{count}] {' '.join(job.overrides) or job.folder}", flush=True)
            _note(manifest, launcher.start(_task(manifest, job)))
        for job in launcher.ended():
            if signals.received is not None and job.status == "failed":
                job.status, job.cause, job.error = "stopped", None, None
                write_job(job, manifest.folder / job.folder)
            _note(manifest, job)
            _report(manifest, job)
        if signals.received is not None and not launcher.is_busy:
            return
        time.sleep(LOOK_SECONDS)


def _task(manifest: Manifest, job: Job) -> Task:
    settings = manifest.settings
    return Task(
        job,
        str(manifest.folder.resolve()),
        str(Path.cwd()),
        settings["minutes"],
        settings["silent_minutes"],
        shows=settings["parallel"] == 1 and settings["launcher"] == "local",
        environment={},
    )


def _note(manifest: Manifest, job: Job) -> None:
    """Its new state, in the manifest too."""
    place = next(n for n, own in enumerate(manifest.jobs) if own.folder == job.folder)
    manifest.jobs[place] = job
    manifest.write()


def _report(manifest: Manifest, job: Job) -> None:
    folder = manifest.folder / job.folder
    if job.status == "failed":
        say(f"{folder}: {job.cause} (exit status {job.return_code}): {job.error}")
