"""Command `consolidate`: one ordinary file out of a checkpoint that is a folder of parts."""

import argparse
import os
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `consolidate`."""
    add = parser.add_argument
    add("run", type=Path, help="a checkpoint folder; or a run or its parent: its best checkpoint")
    add("--out", type=Path, help="new .ckpt file (default whole-<name of the checkpoint> beside)")


def main(args: argparse.Namespace) -> int:
    """Runs `consolidate`; returns the exit status.

    Raises:
        ValueError: it is one file already, damaged, or the new one is named otherwise.
        FileNotFoundError: there is none.
        FileExistsError: there is something where it would be written.
    """
    from lmexp import checkpoint as checkpoints
    from lmexp.loading import find_checkpoint

    parts = find_checkpoint(args.run)
    if not parts.is_dir():
        raise ValueError(f"{parts} is one file already: every command reads it as it is")
    out: Path = parts.with_name(f"whole-{parts.name}") if args.out is None else args.out
    if out.suffix != ".ckpt":
        raise ValueError(f"--out {out}: commands take a checkpoint by its end: name it ….ckpt")
    if out.exists():
        raise FileExistsError(f"{out} is there already: name another by --out, or delete it")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"--out {out}: there is no folder {out.parent}: make it first")
    if not os.access(out.parent, os.W_OK):
        raise PermissionError(f"--out {out}: nothing may be written in {out.parent}: name another")
    checkpoint = checkpoints.read(parts)
    checkpoints.save(checkpoint, out)
    step = checkpoint["training"]["steps_done"]
    print(f"{parts}, of step {step:,}, as one file:\n{out}\nnext:")
    print(f"  python -m lmexp evaluate {out}")
    return 0
