"""Command `sweep`: how a sweep stands, how it goes on, and one that Weights & Biases runs."""

import argparse
from pathlib import Path

from lmexp.errors import typed
from lmexp.output_files import check_output
from lmexp.run_folder import is_held
from lmexp.sweep.launching import resume
from lmexp.sweep.manifest import MANIFEST, Manifest
from lmexp.sweep.names import SWEEPS
from lmexp.sweep.planning import plan
from lmexp.sweep.table import print_best, print_table
from lmexp.values import quoted

OF_WANDB = ("config_dir", "allow_targets", "file", "project", "entity", "count")  # options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `sweep`."""
    add = parser.add_argument
    add("action", choices=("status", "resume", "wandb"))
    add(
        "words",
        nargs="+",
        metavar="SWEEP | OVERRIDES",
        help="a sweep's name or folder; for wandb what `train -m` would sweep or search",
    )
    agent = parser.add_argument_group("of sweep wandb alone").add_argument
    agent("--config-dir", "-cd", help="a folder with configuration files of your own")
    agent("--allow-targets", action="append", default=[], metavar="PACKAGE")
    agent("--file", type=Path, help="default: sweep.yaml")
    agent("--project", help="default: lmexp")
    agent("--entity", help="user or team; the account's default")
    agent("--count", type=int, help="runs of the agent; without, until the sweep ends")


def main(args: argparse.Namespace) -> int:
    """Runs `sweep`; returns the exit status."""
    if args.action == "wandb":
        return _wandb(args)
    for option in OF_WANDB:
        if getattr(args, option) not in (None, []):
            raise ValueError(
                f"sweep {args.action} takes no {typed(option)}: a sweep goes on as it was "
                "launched; the option is of sweep wandb"
            )
    if len(args.words) > 1:
        raise ValueError(f"sweep {args.action} takes one sweep, not {' '.join(args.words)}")
    folder = newest_sweep(args.words[0])
    if args.action == "resume":
        return resume(folder)
    manifest = Manifest.read(folder)
    if not is_held(folder):
        for job in manifest.jobs:
            if job.status == "running" and not is_held(folder / job.folder):
                job.status = "interrupted"
    print_table(manifest)
    print_best(manifest)
    return 0


def _wandb(args: argparse.Namespace) -> int:
    from lmexp.sweep.wandb_sweep import configuration, run

    if args.count is not None and args.count < 1:
        raise ValueError(f"--count {args.count}: at least 1")
    file, project = args.file or Path("sweep.yaml"), args.project or "lmexp"
    check_output("--file", file, suffix=".yaml")
    planned = plan(args.words, args.config_dir, args.allow_targets)
    content = configuration(planned, args.words, args.config_dir)
    return run(content, file, project, args.entity, args.count)


def newest_sweep(named: str) -> Path:
    """The sweep's folder that a name or a path means: the newest of that name.

    Raises:
        FileNotFoundError: there is none.
    """
    for path in (Path(named), SWEEPS / named):
        if (path / MANIFEST).is_file():
            return path
        found = sorted(path.glob(f"*/{MANIFEST}"), key=lambda file: _launched(file.parent.name))
        if found:
            return found[-1].parent
    there = sorted({file.parent.parent.name for file in SWEEPS.glob(f"*/*/{MANIFEST}")})
    listed = f"there are {', '.join(there)}" if there else "there is none yet"
    what = f"{named or quoted(named)} is no sweep, nor a folder of one"
    raise FileNotFoundError(f"{what}: under {SWEEPS} {listed}")


def _launched(folder: str) -> tuple[str, int]:
    """When, and as which of those of the same second (run_folder.claim)."""
    head, _, last = folder.rpartition("_")
    is_numbered = last.isdecimal() and "_" in head
    return (head, int(last)) if is_numbered else (folder, 1)
