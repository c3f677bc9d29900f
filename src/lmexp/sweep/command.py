"""Command `sweep`: how a sweep stands, and how it goes on."""

import argparse
from pathlib import Path

from lmexp.run_folder import is_held
from lmexp.sweep.launching import resume
from lmexp.sweep.manifest import MANIFEST, Manifest
from lmexp.sweep.planning import SWEEPS
from lmexp.sweep.table import print_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `sweep`."""
    parser.add_argument("action", choices=("status", "resume"))
    parser.add_argument("sweep", help="its name, or a folder: logs/sweeps/<name>, or one below it")


def main(args: argparse.Namespace) -> int:
    """Runs `sweep`; returns the exit status."""
    folder = newest_sweep(args.sweep)
    if args.action == "resume":
        return resume(folder)
    manifest = Manifest.read(folder)
    if not is_held(folder):
        for job in manifest.jobs:
            if job.status == "running" and not is_held(folder / job.folder):
                job.status = "interrupted"
    print_table(manifest)
    return 0


def newest_sweep(named: str) -> Path:
    """The sweep's folder that a name or a path means: the newest of that name.

    Raises:
        FileNotFoundError: there is none.
    """
    for path in (Path(named), SWEEPS / named):
        if (path / MANIFEST).is_file():
            return path
        found = sorted(path.glob(f"*/{MANIFEST}"), key=lambda file: file.parent.name)
        if found:
            return found[-1].parent
    there = sorted(path.name for path in SWEEPS.glob("*") if path.is_dir())
    listed = f"there are {', '.join(there)}" if there else "there is none yet"
    raise FileNotFoundError(f"{named} is no sweep, nor a folder of one: under {SWEEPS} {listed}")
