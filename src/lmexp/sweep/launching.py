"""Commands `train -m` and `sweep resume`: the jobs of a sweep, run to their ends."""

import contextlib
import math
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from lmexp.errors import say
from lmexp.forwarding import Forwarder
from lmexp.run_folder import held, is_held, write_recipe
from lmexp.sweep import causes
from lmexp.sweep.code import CODE, freeze_code
from lmexp.sweep.earlier import Taken, on_data_of, take_over
from lmexp.sweep.launchers import Launcher, jobs_at_once, launcher_of
from lmexp.sweep.manifest import DONE, Job, Manifest, read_job, write_job
from lmexp.sweep.planning import Plan, claim_folder, grouped, jobs_of, plan, studies_of
from lmexp.sweep.queue import Listed, Queue, Trials
from lmexp.sweep.table import print_best, print_table
from lmexp.sweep.watch import Task

LOOK_SECONDS = 0.05
RELEASE_SECONDS = 60.0  # for jobs that outlived their sweep to save and end


def sweep(overrides: Sequence[str], config_dir: str | None, allow_targets: Sequence[str]) -> int:
    """Command `train -m`; the exit status is 0 if all runs finished.

    Raises:
        ValueError: one of the combinations would be refused; none has been started.
    """
    planned = plan(overrides, config_dir, allow_targets)
    folder = claim_folder(planned)
    with held(folder):
        with contextlib.ExitStack() as undone:  # whatever happens before a job could begin
            undone.callback(shutil.rmtree, folder)
            manifest = _begin(planned, folder, config_dir)
            undone.pop_all()
        return _run(manifest)


def _begin(planned: Plan, folder: Path, config_dir: str | None) -> Manifest:
    """The sweep's folder, with the code in it and the recipes that are known."""
    settings = planned.combinations[0].settings
    packages = [name for own in planned.combinations for name in own.composed.allow_targets]
    code_hash = freeze_code(folder, packages, config_dir)
    if planned.space:
        manifest = Manifest(folder, [], settings, code_hash, studies=studies_of(planned))
        manifest.write()
        return manifest
    manifest = Manifest(folder, jobs_of(planned.combinations), settings, code_hash)
    taken = Taken(0, 0)
    if not settings["repeat"]:
        taken = take_over(manifest, on_data_of([own.composed for own in planned.combinations]))
    for job, own in zip(manifest.jobs, planned.combinations, strict=True):
        if job.taken_from is None:
            (folder / job.folder).mkdir()
            write_recipe(grouped(own.composed.recipe, folder), folder / job.folder)
    manifest.write()
    _tell(taken, len(manifest.jobs))
    return manifest


def _tell(taken: Taken, jobs: int) -> None:
    if taken.jobs:
        say(
            f"{taken.jobs} of {jobs} jobs have been finished by an earlier sweep with the same "
            "recipe, code and data, and are not run again: sweep.repeat=true runs them"
        )
    if taken.outdated:
        say(
            f"{taken.outdated} of {jobs} jobs have been finished by an earlier sweep with the same "
            "recipe and code, but on other data than there are now: they are run again"
        )


def resume(folder: Path) -> int:
    """Command `sweep resume`: what is missing or failed; the exit status is 0 if all finished.

    Trials of a search that failed are left: their study knows of it, and has asked for others.

    Raises:
        ValueError: somebody else is running the sweep, or its frozen code is gone.
    """
    if is_held(folder):
        raise ValueError(
            f"{folder} is being run by another process: see how it stands by python -m lmexp sweep "
            f"status {folder}, and end that process before another goes on with it"
        )
    with held(folder):
        manifest = Manifest.read(folder)
        if not (folder / CODE).is_dir():
            raise ValueError(
                f"{folder / CODE} is gone, the code that this sweep began with: launch another "
                "sweep of this name; what is finished need not be run again on equal code"
            )
        if not Path(manifest.directory).is_dir():
            say(
                f"{manifest.directory}, where this sweep was launched, is gone: relative paths of "
                f"its recipes begin in {Path.cwd()} from now on"
            )
            manifest.directory = str(Path.cwd())
        _wait_for_orphans(manifest)
        for job in manifest.jobs:
            if job.taken_from is not None:
                _look_after_taken(manifest, job)
            elif job.status not in DONE and (job.status != "failed" or job.trial is None):
                job.status = "waiting"
        return _run(manifest)


def _look_after_taken(manifest: Manifest, job: Job) -> None:
    """A job stands for an earlier one only as long as that one is there."""
    if manifest.folder_of(job).is_dir():
        job.status, job.cause, job.error = "finished", None, None
        return
    job.status, job.cause, job.return_code = "failed", causes.ERROR, None
    job.error = (
        f"it stands for {job.taken_from} of an earlier sweep, which is gone: launch the sweep "
        "again, which takes over what has finished"
    )


def _wait_for_orphans(manifest: Manifest) -> None:
    """Jobs of this machine end with their sweep, once they have saved; a cluster's run on."""
    is_local = manifest.settings["launcher"] == "local"
    deadline = time.monotonic() + (RELEASE_SECONDS if is_local else math.inf)
    for place, job in enumerate(manifest.jobs):
        folder = manifest.folder / job.folder
        if job.status != "running" or not is_held(folder):
            continue
        say(f"{folder} still runs: waiting for its end")
        while is_held(folder) and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
        time.sleep(0.0 if is_local else RELEASE_SECONDS / 60)  # for whoever notes how it ended
        manifest.jobs[place] = read_job(folder, job)


def _run(manifest: Manifest) -> int:
    queue = Trials(manifest) if manifest.studies else Listed(manifest)
    at_once = jobs_at_once(manifest)
    _announce(manifest, at_once)
    signals = Forwarder()
    signals.install()
    try:
        launcher = launcher_of(manifest, signals)
        try:
            shows = at_once == 1 and manifest.settings["launcher"] == "local"
            _run_all(manifest, queue, launcher, signals, shows=shows)
        finally:
            launcher.close()
    finally:
        signals.restore()
    print_table(manifest)
    print_best(manifest)
    if signals.received is not None:
        say(f"go on with python -m lmexp sweep resume {manifest.folder}")
        return 128 + signals.received
    return int(any(job.status not in DONE for job in manifest.jobs))


def _announce(manifest: Manifest, at_once: int) -> None:
    order = "one after the other" if at_once == 1 else f"{at_once} at once"
    waiting = sum(job.status not in DONE for job in manifest.jobs)
    what = f"{waiting} runs"
    if manifest.studies:
        trials, studies = manifest.settings["search"]["trials"], len(manifest.studies)
        what = f"{trials} trials" + (f" of each of {studies} studies" if studies > 1 else "")
    print(f"{what} in {manifest.folder}, {order}", flush=True)


def _run_all(
    manifest: Manifest, queue: Queue, launcher: Launcher, signals: Forwarder, *, shows: bool = False
) -> None:
    """Start jobs as room is made for them, until none is left or a signal came.

    Args:
        manifest: of the sweep.
        queue: what is to be run.
        launcher: where.
        signals: after one, nothing more is started.
        shows: the standard output of jobs, instead of keeping it.
    """
    number, is_over = 0, False
    while not is_over or launcher.is_busy:
        while not is_over and launcher.has_room:
            job = None if signals.received is not None else queue.next()
            if job is None:
                is_over = True
                break
            number += 1
            known = f": as {job.taken_from}, which has finished" if job.taken_from else ""
            print(f"[{number}] {' '.join(job.overrides) or job.folder}{known}", flush=True)
            if job.status in ("failed", "finished"):  # not composed, or as another trial was
                _end(manifest, queue, job)
                continue
            _note(manifest, launcher.start(_task(manifest, job, shows=shows)))
        for job in launcher.ended():
            if signals.received is not None and job.status == "failed":
                job.status, job.cause, job.error = "stopped", None, None
                write_job(job, manifest.folder / job.folder)
            _end(manifest, queue, job)
        queue.look([job for job in manifest.jobs if job.status == "running"])
        time.sleep(LOOK_SECONDS)


def _end(manifest: Manifest, queue: Queue, job: Job) -> None:
    _note(manifest, job)
    queue.ended(job)
    if job.status == "failed":
        folder = manifest.folder / job.folder
        status = "" if job.return_code is None else f" (exit status {job.return_code})"
        say(f"{folder}: {job.cause}{status}: {job.error}")


def _task(manifest: Manifest, job: Job, *, shows: bool) -> Task:
    settings = manifest.settings
    return Task(
        job,
        str(manifest.folder.resolve()),
        manifest.directory,
        settings["minutes"],
        settings["silent_minutes"],
        shows=shows,
        environment={},
    )


def _note(manifest: Manifest, job: Job) -> None:
    """Its new state, in the manifest too."""
    place = next(n for n, own in enumerate(manifest.jobs) if own.folder == job.folder)
    manifest.jobs[place] = job
    manifest.write()
