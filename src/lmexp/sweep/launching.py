"""Commands `train -m` and `sweep resume`: the jobs of a sweep, run to their ends."""

import contextlib
import math
import shutil
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from lmexp.errors import say
from lmexp.forwarding import Forwarder
from lmexp.run_folder import RECIPE, held, is_held, is_watched, write_recipe
from lmexp.sweep import causes
from lmexp.sweep.code import CODE, freeze_code, hash_of
from lmexp.sweep.earlier import Taken, on_data_of, take_over
from lmexp.sweep.launchers import Launcher, jobs_at_once, launcher_of
from lmexp.sweep.manifest import DONE, Job, Manifest, read_job, write_job
from lmexp.sweep.names import grouped
from lmexp.sweep.planning import Plan, claim_folder, jobs_of, plan, studies_of
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
            before = signal.signal(signal.SIGTERM, _leave)
            undone.callback(signal.signal, signal.SIGTERM, before)
            manifest = begin(planned, folder, config_dir)
            undone.pop_all()
            signal.signal(signal.SIGTERM, before)
        return _run(manifest)


def _leave(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


def begin(planned: Plan, folder: Path, config_dir: str | None) -> Manifest:
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
        if manifest.code_hash and hash_of(folder / CODE) != manifest.code_hash:
            raise ValueError(
                f"{folder / CODE} has been edited since the launch: jobs to come would train with "
                "other code than those before; launch another sweep of this name"
            )
        if not Path(manifest.directory).is_dir():
            say(
                f"{manifest.directory}, where this sweep was launched, is gone: relative paths of "
                f"its recipes begin in {Path.cwd()} from now on"
            )
            manifest.directory = str(Path.cwd())
        _wait_for_orphans(manifest)
        for job in manifest.jobs:
            _as_it_is_found(manifest, job)
        return _run(manifest)


def _as_it_is_found(manifest: Manifest, job: Job) -> None:
    """What has not finished is to be run, unless there is nothing left to run it from."""
    if job.trial is None and not (manifest.folder_of(job) / RECIPE).is_file():
        job.status, job.cause, job.return_code = "failed", causes.ERROR, None
        job.error = (
            f"{manifest.folder_of(job) / RECIPE} is gone: launch the sweep again, which takes over "
            "what has finished"
        )
    elif job.taken_from is not None:
        job.status, job.cause, job.error = "finished", None, None
    elif job.status not in DONE and (job.status != "failed" or job.trial is None):
        job.status = "waiting"
        if not (manifest.folder / job.folder / RECIPE).is_file():  # of a trial: it is composed
            job.recipe_hash = ""


def _wait_for_orphans(manifest: Manifest) -> None:
    """Jobs of this machine end with their sweep, once they have saved; a cluster's run on."""
    is_local = manifest.settings["launcher"] == "local"
    deadline = time.monotonic() + (RELEASE_SECONDS if is_local else math.inf)
    for place, job in enumerate(manifest.jobs):
        folder = manifest.folder / job.folder
        if job.status != "running" or not (is_held(folder) or is_watched(folder)):
            continue
        say(f"{folder} still runs: waiting for its end")
        while (is_held(folder) or is_watched(folder)) and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
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
            run_all(manifest, queue, launcher, signals, shows=shows)
        finally:
            launcher.close()
    finally:
        signals.restore()
    print_table(manifest)
    print_best(manifest)
    if signals.received is not None:
        say(f"go on with python -m lmexp sweep resume {manifest.folder}")
        return 128 + signals.received
    return int(not queue.is_whole)


def _announce(manifest: Manifest, at_once: int) -> None:
    order = "one after the other" if at_once == 1 else f"{at_once} at once"
    waiting = sum(job.status not in DONE for job in manifest.jobs)
    what = f"{waiting} runs"
    if manifest.studies:
        trials, studies = manifest.settings["search"]["trials"], len(manifest.studies)
        what = f"{trials} trials" + (f" of each of {studies} studies" if studies > 1 else "")
    print(f"{what} in {manifest.folder}, {order}", flush=True)


def run_all(
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
    number = 0
    while True:
        while launcher.has_room and signals.received is None:
            job = queue.next()
            if job is None:
                break
            number += 1
            known = f": as {job.taken_from}, which has finished" if job.taken_from else ""
            print(f"[{number}] {' '.join(job.overrides) or job.folder}{known}", flush=True)
            if job.status in ("failed", "finished"):  # not composed, or as another trial was
                _end(manifest, queue, job)
                continue
            _note(manifest, launcher.start(_task(manifest, job, shows=shows)))
        if not launcher.is_busy:
            return
        for job in launcher.ended():
            if signals.received is not None and job.cause == causes.KILLED:
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
