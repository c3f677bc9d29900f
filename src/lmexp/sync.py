"""Command `sync`: runs that were mirrored to Weights & Biases offline, uploaded by `wandb sync`."""

import argparse
import contextlib
import http.client
import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lmexp.compare.runs import find_runs
from lmexp.errors import one_line
from lmexp.run_folder import held
from lmexp.run_folders import LEVELS
from lmexp.sweep.manifest import MANIFEST
from lmexp.wandb_sessions import (
    STATE,
    base_url,
    has_account,
    how_to_log_in,
    note_upload,
    offline_sessions,
    uploaded_mark,
)

ERROR = "wandb: ERROR "  # how a line of wandb's begins that tells of one
CONNECT_SECONDS = 10.0  # wandb itself would try for many minutes, silently


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Paths, and where the runs go instead of where they were to go."""
    add = parser.add_argument
    add(
        "paths",
        nargs="*",
        help="runs, sweeps (a name means its newest), or folders above runs, which mean all of "
        "them; without any: logs",
    )
    add("--project", help="of W&B, instead of the one that the run was recorded for")
    add("--entity", help="of W&B: user or team, instead of the one recorded")


def main(args: argparse.Namespace) -> int:
    """Upload what is not uploaded yet; the exit status is 0 if nothing is left to upload.

    Raises:
        FileNotFoundError: a path is no run and holds none.
        ValueError: nothing was mirrored offline, there is no account, or no way to the server.
    """
    folders = mirrored(args.paths or ["logs"])
    if any(not uploaded_mark(file) for folder in folders for file in offline_sessions(folder)):
        _check_server()
    options = [f"--{name}={value}" for name in ("project", "entity") if (value := vars(args)[name])]
    is_left = False
    for folder in folders:
        outcome = _uploaded(folder, options)
        print(f"{folder}: {outcome.text}", flush=True)
        is_left |= not outcome.is_done
    return int(is_left)


class _Outcome(NamedTuple):
    is_done: bool
    text: str


def mirrored(paths: Sequence[str]) -> list[Path]:
    """Run folders with offline sessions of W&B, each once, in their order."""
    found: dict[Path, Path] = {}
    for given in paths:
        for folder in _runs(given):
            if offline_sessions(folder):
                found.setdefault(folder.resolve(), folder)
    if not found:
        raise ValueError(
            f"{', '.join(paths)}: no run there was mirrored to W&B offline: logger=wandb does so, "
            "without an account or with WANDB_MODE=offline"
        )
    return list(found.values())


def _runs(given: str) -> list[Path]:
    """Folders of the runs that a path or a sweep's name means; of a folder above, of all sweeps."""
    path = Path(given)
    if path.is_dir() and not (path / MANIFEST).is_file():
        levels = range(LEVELS + 1)
        return sorted(file.parent for n in levels for file in path.glob("*/" * n + STATE))
    return [run.folder for run in find_runs([given])]


def _check_server() -> None:
    if not has_account():
        raise ValueError(f"no account of Weights & Biases found: {how_to_log_in()}")
    url = base_url()
    try:
        urllib.request.build_opener().open(url, timeout=CONNECT_SECONDS).close()
    except urllib.error.HTTPError:
        return  # somebody answers
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise ValueError(
            f"{url} cannot be reached ({reason}): the runs stay as they are; try again with a "
            "connection, or set WANDB_BASE_URL to your own server"
        ) from None


def _uploaded(folder: Path, options: Sequence[str]) -> _Outcome:
    """Upload the sessions of a run in the order in which they were written.

    One that fails keeps those after it back: their steps would come before its own.
    """
    if not _waiting(folder):
        return _Outcome(True, "already uploaded")
    url = ""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(held(folder))  # nobody goes on with it meanwhile
        except ValueError:
            return _Outcome(False, "still trains: skipped")
        for file in _waiting(folder):
            try:
                url = _sent(file, options) or url
                note_upload(folder, file, _last_step)
            except _FailedError as error:
                if (mark := uploaded_mark(file)) is not None:
                    mark.unlink()  # wandb marks what it could send in part only, too
                return _Outcome(False, f"failed: {one_line(error)}")
    return _Outcome(True, f"uploaded: {url}" if url else "uploaded")


def _waiting(folder: Path) -> list[Path]:
    return [file for file in offline_sessions(folder) if not uploaded_mark(file)]


class _FailedError(Exception):
    """What a command of wandb's said last."""


def _sent(file: Path, options: Sequence[str]) -> str:
    """Upload one session; the address of its run, or nothing if wandb names none."""
    done = _wandb("sync", *options, str(file.parent))
    if uploaded_mark(file) is None or done.returncode or f"\n{ERROR}" in f"\n{done.stdout}":
        raise _FailedError(_last_words(done.stdout))
    shown = re.search(r" at (https?://\S+)", done.stdout)
    return shown[1] if shown else ""


def _wandb(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run wandb's own command; it says what it does on either stream."""
    environment = {key: value for key, value in os.environ.items() if key != "WANDB_MODE"}
    return subprocess.run(
        [sys.executable, "-m", "wandb", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def _last_words(said: str) -> str:
    """The last error that wandb's command tells of, else its last line."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(ERROR.strip())]
    last = (errors or lines or ["without a word"])[-1]
    return last.removeprefix(ERROR).removeprefix("wandb: ")


def _last_step(file: Path) -> int | None:
    """Of a session as it stands on the disk; None if it holds no step.

    Raises:
        _FailedError: wandb cannot read it back.
    """
    done = _wandb("leet", "inspect", "--json", str(file))
    if done.returncode:
        raise _FailedError(f"wandb leet inspect: {_last_words(done.stdout)}")
    last = None
    for line in done.stdout.splitlines():
        if line.startswith("{") and (record := json.loads(line))["type"] == "history":
            last = int(record["history"]["item"]["_step"])
    return last
