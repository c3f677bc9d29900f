"""Command `average`: the mean of several checkpoints' weights, as a checkpoint like any other.

Vaswani et al. 2017, section 6.1, average the last 5 checkpoints of the base model, the last 20 of
the big one. Sums are in float64; the mean is stored in the weights' own dtype. What is averaged is
what lmexp.load would evaluate: of a run with task.ema_decay the moving averages.
"""

import argparse
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmexp.errors import say
from lmexp.run_folders import newest_run
from lmexp.sections import text_kind
from lmexp.signatures import find, is_allowed
from lmexp.text_kinds import use_of

if TYPE_CHECKING:
    from torch import Tensor

SECTIONS = ("model", "task", "tokenizer", "optimizer", "schedule", "seed")  # of one run's recipe

Checkpoint = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `average`."""
    add = parser.add_argument
    add(
        "run",
        type=Path,
        nargs="+",
        help="run folder or its parent (the newest); or checkpoints of one run, one by one",
    )
    add("--last", type=int, help="the newest checkpoints, at least 2 (default 5)")
    add("--out", type=Path, help="new .ckpt file (default RUN/checkpoints/average_last_N.ckpt)")


def main(args: argparse.Namespace) -> int:
    """Runs `average`; returns the exit status.

    Raises:
        ValueError: there is nothing to average, or what there is does not belong together.
        FileNotFoundError: there is no run or checkpoint there.
    """
    from lmexp import checkpoint as checkpoints

    if any(path.suffix == ".ckpt" for path in args.run):
        named, out = _named(args)
        source = "as named"
    else:
        run, last = _run(args)
        named, out = newest(run, last), run / "checkpoints" / f"average_last_{last}.ckpt"
        source = f"the newest of {run}"
    if args.out is not None:
        out = _new_file(args.out)
    averaged = average(named)
    checkpoints.save(averaged, out)
    steps = averaged["averaged"]
    print(f"averaged steps {', '.join(map(str, steps))}: {source}\n{out}\nnext:")
    for command in (f"evaluate {shlex.quote(str(out))}", *_use(averaged["recipe"], out)):
        print(f"  python -m lmexp {command}")
    return 0


def _use(recipe: Mapping[str, Any], out: Path) -> list[str]:
    """The command for what the model has learnt; none of a task of the user's own."""
    task, packages = recipe["task"]["_target_"], ("lmexp",)
    if not is_allowed(task, packages):
        return []
    return [use_of(text_kind(find(task, packages)), shlex.quote(str(out)))]


def _named(args: argparse.Namespace) -> tuple[Iterable[tuple[Path, Checkpoint]], Path]:
    """Checkpoints that were named one by one, whatever the order, and where their mean goes."""
    from lmexp import checkpoint as checkpoints

    others = [str(path) for path in args.run if path.suffix != ".ckpt"]
    if others:
        raise ValueError(
            f"{', '.join(others)} beside .ckpt files: name either a run, or checkpoints one by one"
        )
    if args.last is not None:
        raise ValueError(
            f"--last {args.last} counts the checkpoints of a run: leave it out where they are "
            "named one by one"
        )
    if len(args.run) < 2:
        raise ValueError(
            f"{args.run[0]} is one checkpoint, its own average: name two or more, or a run's folder"
        )
    if args.out is None:
        raise ValueError(
            "checkpoints that are named one by one need a name for their average: write "
            f"--out {args.run[0].parent / 'average.ckpt'}"
        )
    files = sorted(path.resolve() for path in args.run)  # sums depend on no order of typing
    return ((file, checkpoints.read(file)) for file in files), args.out


def _run(args: argparse.Namespace) -> tuple[Path, int]:
    """The run, and how many of its checkpoints."""
    last = 5 if args.last is None else args.last
    if last < 2:
        raise ValueError(
            f"--last {last}: one checkpoint is its own average: write --last 2 or more"
        )
    if len(args.run) > 1:
        raise ValueError(
            f"{len(args.run)} folders, {', '.join(map(str, args.run))}: checkpoints of one run are "
            "averaged; name one run, or .ckpt files one by one"
        )
    return newest_run(args.run[0]), last


def _new_file(path: Path) -> Path:
    if path.suffix != ".ckpt":
        raise ValueError(f"--out {path}: commands take a checkpoint by its end: name it ….ckpt")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"--out {path}: there is no folder {path.parent}: make it first")
    if path.exists():
        raise FileExistsError(f"--out {path} is there already: name another file, or delete it")
    return path


def newest(run: Path, count: int) -> Iterator[tuple[Path, Checkpoint]]:
    """The newest whole checkpoints of a run, of different steps, one after the other.

    A damaged one is passed over with a line on stderr. The best are not among them: they are of
    any steps; name them one by one to average them.

    Args:
        run: its folder.
        count: how many.

    Raises:
        ValueError: there are fewer, once all there are have been given.
    """
    from lmexp import checkpoint as checkpoints

    folder = run / "checkpoints"
    names = [folder / name for name in ("newest.ckpt", "last.ckpt", "previous.ckpt")]
    seen, steps = set(), []
    for file in [*names, *checkpoints.kept_by_step(folder).values()]:
        if not file.exists() or (place := file.stat().st_ino) in seen:
            continue  # a second name of the same file
        seen.add(place)
        try:
            checkpoint = checkpoints.read(file)
        except ValueError as error:
            say(f"{error}; passed over")
            continue
        step = checkpoint["training"]["steps_done"]
        if step not in steps:  # a run that was stopped before a validation saves its step twice
            steps.append(step)
            yield file, checkpoint
        if len(steps) == count:
            return
    found = f" (of steps {', '.join(map(str, sorted(steps)))})" if steps else ""
    fewer = f"write --last {len(steps)}, or " if len(steps) > 1 else ""
    raise ValueError(
        f"{run} holds {len(steps)} whole checkpoints{found}, and --last {count} wants {count}: "
        f"{fewer}train with trainer.keep_last={count}, which keeps that many of the newest; a "
        f"finished run goes on with resume={run} trainer.keep_last={count} and more "
        "trainer.max_steps"
    )


def average(named: Iterable[tuple[Path, Checkpoint]]) -> Checkpoint:
    """A checkpoint whose weights are the mean of others.

    Integer buffers, recipe, tokenizer and number of steps are the newest one's. `averaged` holds
    the steps; there is no optimizer in it, so that no training can go on from it.

    Args:
        named: files and their content, at least one, read one after the other: memory holds three,
            and their sums in float64. A file that comes twice counts twice.

    Raises:
        ValueError: they are not of one run, or hold weights of different names or shapes.
    """
    import torch

    totals: dict[str, torch.Tensor] = {}
    steps: list[int] = []
    first: tuple[Path, dict[str, Any]] | None = None
    newest_one: Checkpoint = {}
    for file, checkpoint in named:
        if "averaged" in checkpoint:
            raise ValueError(
                f"{file} is itself an average, of steps "
                f"{', '.join(map(str, checkpoint['averaged']))}: name checkpoints of training"
            )
        facts = _facts(checkpoint)
        first = first or (file, facts)
        _check_alike(first, (file, facts))
        for name, value in evaluated_weights(checkpoint).items():
            if name in totals:
                totals[name] += value
            elif value.is_floating_point():
                totals[name] = value.to(torch.float64, copy=True)
        step = checkpoint["training"]["steps_done"]
        if not steps or step > max(steps):
            newest_one = checkpoint
        steps.append(step)
    means = {name: total.div_(len(steps)) for name, total in totals.items()}
    return _with_weights(newest_one, means) | {"averaged": sorted(steps)}


def evaluated_weights(checkpoint: Mapping[str, Any]) -> "dict[str, Tensor]":
    """The weights that lmexp.load puts into the network: moving averages where there are some.

    A tied weight stands under two names in state_dict, and under one among the moving averages.
    """
    weights: dict[str, Tensor] = checkpoint["state_dict"]
    moving = checkpoint["training"]["average"] or {}
    places = {_place(weights[f"network.{name}"]): moving[name] for name in moving if name}
    return {name: places.get(_place(value), value) for name, value in weights.items()}


def _place(weight: "Tensor") -> Any:
    """Equal for two names of one tied weight."""
    return weight.data_ptr(), weight.shape


def _with_weights(checkpoint: Checkpoint, means: "Mapping[str, Tensor]") -> Checkpoint:
    """What evaluation needs of a checkpoint, with other floating-point weights in it.

    Args:
        checkpoint: as training writes it.
        means: float64, by their names in state_dict.
    """
    places: dict[Any, Tensor] = {}  # tied weights stay one, and are stored once
    weights = {
        name: places.setdefault(_place(value), means[name].to(value.dtype))
        if name in means
        else value
        for name, value in checkpoint["state_dict"].items()
    }
    training = checkpoint["training"]
    moving = training["average"]
    if moving is not None:
        moving = {name: means[f"network.{name}"].float() if name else moving[""] for name in moving}
    return {
        **{name: checkpoint[name] for name in ("recipe", "tokenizer", "data_hash")},
        "state_dict": weights,
        "training": {"steps_done": training["steps_done"], "average": moving},
    }


def _facts(checkpoint: Checkpoint) -> dict[str, Any]:
    """What checkpoints of one run have in common."""
    from lmexp.tokenizers import from_state

    return {
        **{f"recipe.{name}": checkpoint["recipe"].get(name) for name in SECTIONS},
        "hash of the data": checkpoint["data_hash"][:12],
        "hash of the tokenizer": from_state(checkpoint["tokenizer"]).hash()[:12],
        **{f"shape of {name}": list(v.shape) for name, v in checkpoint["state_dict"].items()},
    }


def _check_alike(first: tuple[Path, dict[str, Any]], other: tuple[Path, dict[str, Any]]) -> None:
    """Refuse what is not of one run, with both values."""
    (file, facts), (other_file, other_facts) = first, other
    for name in {**facts, **other_facts}:
        value, other_value = facts.get(name), other_facts.get(name)
        if value != other_value:
            raise ValueError(
                f"{file} and {other_file} are of different runs and have no mean: {name} is "
                f"{value} in the one, {other_value} in the other; name checkpoints of one run"
            )
