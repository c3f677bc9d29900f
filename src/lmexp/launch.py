"""Commands `train` (from overrides) and `run` (from a frozen recipe)."""

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from lmexp import models
from lmexp.check import check
from lmexp.errors import Parser, run_command
from lmexp.launch_ranks import RENDEZVOUS, die_with_parent, end_with_sweep, run_ranks
from lmexp.launchers import Tell, is_started_by_another, together
from lmexp.origins import Origins, of_file
from lmexp.recipe import Composition, composition, conf_dir, show
from lmexp.resume import resumed
from lmexp.run_folder import (
    RECIPE,
    claim,
    claim_named,
    give_back,
    held,
    read_recipe,
    write_recipe,
)

RUNS = Path("logs", "runs")
SHOWN_BY_HYDRA = ("--info", "-i", "--shell-completion", "-sc", "--hydra-help")

EXAMPLES = """\
examples:
  python train.py
  python train.py model=lstm data=ptb trainer.max_steps=500
  python train.py -m model=rnn,lstm,gru,transformer seed=1,2,3
  python train.py resume=logs/runs/<run>
  python train.py --cfg job                   # the whole configuration, with every key
"""


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """What `train` and `plan` take."""
    parser.add_argument("overrides", nargs="*", help="group=file or key=value")
    parser.add_argument("--config-dir", "-cd", help="a folder with configuration files of your own")
    parser.add_argument(
        "--allow-targets",
        action="append",
        default=[],
        metavar="PACKAGE",
        help="let _target_ name classes of a package of your own; repeatable",
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `run`."""
    parser.add_argument("recipe", type=Path, help="a recipe.yaml, or the folder that has it")
    parser.add_argument("--folder", type=Path, help="of the run; else a new one under logs/runs")
    parser.add_argument("--allow-targets", action="append", default=[], metavar="PACKAGE")


def train(arguments: Sequence[str]) -> int:
    """Command `train`: compose, check, take a folder, run."""
    if any(argument.split("=")[0] in SHOWN_BY_HYDRA for argument in arguments):
        return run_command(lambda: _show(arguments))
    parser = Parser(
        prog="python train.py" if Path(sys.argv[0]).name == "train.py" else "lmexp train",
        description="Train a language model: any architecture, any data, by name.",
        epilog=_groups() + EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_overrides(parser)
    parser.add_argument("--multirun", "-m", action="store_true", help="run every combination")
    parser.add_argument("--cfg", "-c", choices=("job",), help="print the configuration")
    args = parser.parse_intermixed_args(arguments)
    return run_command(lambda: _print(args) if args.cfg else _train(args))


def _groups() -> str:
    lines = [
        f"  {path.name}={'|'.join(models.choices(path.name, [conf_dir()]))}"
        for path in sorted(conf_dir().iterdir())
        if path.is_dir()
    ]
    return "groups:\n" + "\n".join(lines) + "\n\n"


def _show(arguments: Sequence[str]) -> int:
    show(arguments)
    return 0


def _print(args: argparse.Namespace) -> int:
    """The configuration as it would run, every key with its value."""
    import yaml

    if args.multirun:
        raise ValueError("--cfg job prints the configuration of one run: leave -m out")
    composed = composition(args.overrides, args.config_dir, args.allow_targets)
    print(yaml.safe_dump(composed.recipe, sort_keys=False, allow_unicode=True), end="")
    print(f"# allow_targets: {json.dumps(composed.allow_targets)}, which is no part of a recipe")
    return 0


def _train(args: argparse.Namespace) -> int:
    end_with_sweep()
    if args.multirun:
        from lmexp.sweep.launching import sweep

        if is_started_by_another():
            raise ValueError(
                "-m starts its runs itself: leave torchrun or srun out and write trainer.devices="
            )
        return sweep(args.overrides, args.config_dir, args.allow_targets)
    if is_started_by_another():
        return together(lambda tell: _train_one(args, tell))
    return _train_one(args, _tell_nobody)


def _tell_nobody(folder: Path, allow_targets: Sequence[str]) -> None:
    """No other process waits."""


def _train_one(args: argparse.Namespace, tell: Tell) -> int:
    composed = composition(args.overrides, args.config_dir, args.allow_targets)
    if composed.recipe.get("resume") is not None:
        recipe, folder = resumed(composed)
        typed = composed.origins.overrides
        origins = of_file(folder / RECIPE, recipe)._replace(overrides=typed)
        return _start(recipe, composed.allow_targets, origins, lambda: folder, tell)
    origins, allowed = composed.origins, composed.allow_targets
    return _start(composed.recipe, allowed, origins, lambda: _new_folder(composed), tell)


def _new_folder(composed: Composition) -> Path:
    chosen = composed.folders.get("hydra.run.dir")
    if chosen == "":
        raise ValueError("hydra.run.dir= is empty: name a folder, or leave it out")
    return claim_named(Path(chosen)) if chosen else claim(RUNS / composed.recipe["name"])


def main(args: argparse.Namespace) -> int:
    """Command `run`: a frozen recipe as it stands."""
    if RENDEZVOUS in os.environ:  # one of several processes: all else was done by run_ranks' caller
        die_with_parent()
        from lmexp.train import run as run_recipe

        return run_recipe(read_recipe(args.recipe), args.recipe, allow_targets=args.allow_targets)
    end_with_sweep()
    recipe = read_recipe(args.recipe)
    chosen: Path | None = args.folder

    def folder() -> Path:
        if chosen is None:
            return claim(RUNS / (recipe.get("name") or "run"))
        chosen.mkdir(parents=True, exist_ok=True)
        if (chosen / "metrics.jsonl").exists():
            raise FileExistsError(
                f"{chosen} holds a run already: go on with it by python train.py resume={chosen}"
            )
        return chosen

    file = args.recipe / RECIPE if args.recipe.is_dir() else args.recipe
    origins = of_file(file, recipe)
    if is_started_by_another():
        return together(lambda tell: _start(recipe, args.allow_targets, origins, folder, tell))
    return _start(recipe, args.allow_targets, origins, folder, _tell_nobody)


def _start(
    recipe: dict[str, Any],
    allow_targets: Sequence[str],
    origins: Origins,
    take_folder: Callable[[], Path],
    tell: Tell,
) -> int:
    """Check, take the folder before torch is imported, check what needs torch, run.

    A folder of ours in which nothing has been recorded, because the text cannot be read for
    example, is given back: it would stand in the way of the newest real run.
    """
    check(recipe, allow_targets, origins)
    folder = take_folder()
    is_new = not any(folder.iterdir())
    with held(folder):
        before = signal.signal(signal.SIGTERM, _end_at_once)
        try:
            from lmexp.trial import build_sizes, resolve_devices

            build_sizes(recipe, allow_targets, origins)
            has_ranks = is_started_by_another()
            devices = resolve_devices(recipe, has_ranks=has_ranks)
            write_recipe(recipe, folder)
            tell(folder, allow_targets)
            if devices > 1 and not has_ranks:
                return run_ranks(folder, devices, allow_targets)
            from lmexp.train import run as run_recipe

            return run_recipe(recipe, folder, allow_targets=tuple(allow_targets))
        finally:
            signal.signal(signal.SIGTERM, before)
            if is_new:
                give_back(folder)


def _end_at_once(number: int, frame: FrameType | None) -> None:
    """SIGTERM before the run has its own way with it (lmexp.stopping)."""
    print("lmexp: SIGTERM received: nothing had begun yet", file=sys.stderr)
    raise SystemExit(128 + number)
