"""What masked_lm.py and finetune.py share: train.py and Hugging Face's Trainer take turns.

Both train the same sequences with the same number of rows a step, and real tokens are counted,
padding not. What train.py measures is a stretch of its plan. The Trainer is given the rows of that
stretch four times over, since it groups by length among a quarter of what it is given; it measures
as many of its steps as the stretch has, one such quarter, or where it pads to the maximum a fifth
of them. Targets are judged in whatever precision train.py runs, and those of length groups in both.
"""

import argparse
import functools
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from _measure import (
    BENCHMARKS,
    CHECKOUT,
    OURS,
    SETTINGS,
    Target,
    execute,
    multiplies_bf16,
    print_table,
    program,
    take_turns,
    threads_here,
    train,
)
from _programs import DEVICE
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

import lmexp

ROWS = 32  # of a step
WARMUP, THEIR_WARMUP = 10, 3  # steps
COPIES = 4
PARTS_LEFT_OUT = 5  # of the slow ones' steps one in so many is measured
PADDED, RANDOM = "Trainer, padded to {}, float32", "Trainer, random batches, float32"
GROUPS = {name: f"Trainer, length groups, {name}" for name in ("float32", "bf16")}
RATIOS = {PADDED: 5.0, **dict.fromkeys(GROUPS.values(), 1.25)}  # at least
MOST_DIFFERENCE = 1e-3  # of both losses of a batch, of theirs
MORE_LOSS = 0.05  # nats: of ours on held-out text over theirs, at most: two seeds differ by less


class Case(NamedTuple):
    """What is compared."""

    name: str
    program: str  # of _trainer.py
    run: list[str]  # overrides of train.py
    silent: str  # the override that puts out no samples
    data: Any  # its data module, prepared
    lengths: NDArray[np.int64]  # tokens of every row of the training split
    examples: Callable[[NDArray[np.int64]], list[Any]]  # rows, as the program reads them
    options: Mapping[str, Any]  # of the program
    task: Any  # of lmexp, with the first weights
    loss_here: Callable[[], Tensor]  # of the task, mean over one batch
    loss_there: Callable[[], Tensor]  # of their network with the same weights, of the same batch
    to_ours: Callable[[Path], Mapping[str, Tensor]]  # their weights in a file, by our names
    held_out: Callable[[], float]  # loss of the task over the validation split


def arguments(about: str) -> argparse.ArgumentParser:
    """Options of both programs."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=50, help="measured, a multiple of ten")
    parser.add_argument("--loss-steps", type=int, default=200, help="before losses are compared")
    parser.add_argument("--threads", type=int, default=threads_here())
    parser.add_argument(
        "--precision",
        choices=tuple(GROUPS),
        help="of train.py (default: of the two the one whose products are faster here)",
    )
    return parser


def given(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The options, with a precision: some CPUs have bfloat16, and multiply float32 faster."""
    args = parser.parse_args()
    if args.precision is None:
        there = tuple(GROUPS) if multiplies_bf16(DEVICE) else ("float32",)
        args.precision = max(
            there, key=lambda name: program("ceiling", args.threads, precision=name)
        )
    return args


def precise(precision: str) -> str:
    """The override of train.py."""
    return f"trainer.precision={'bf16-mixed' if precision == 'bf16' else '32-true'}"


def compare(case: Case, args: argparse.Namespace, folder: Path) -> int:
    """Losses, then speeds; 1 where a target is missed, else 0."""
    status, notes = same_loss(case, args.precision)
    speeds = take_turns(contenders(case, args, folder), args.rounds)
    after, more = loss_after(case, args, folder)
    full = case.options["max_length"]
    targets = [Target(name.format(full), ratio) for name, ratio in RATIOS.items()]
    title = (
        f"{case.name}: {ROWS} sequences a step, train.py in {args.precision}, real tokens, "
        f"{DEVICE}, {args.threads} threads"
    )
    missed = print_table(title, speeds, targets, [*notes, more])
    return max(status, after, missed)


def contenders(
    case: Case, args: argparse.Namespace, folder: Path
) -> dict[str, Callable[[], float]]:
    """What takes turns, ours first."""
    rows = stretch(case.data, WARMUP, args.steps)
    tokens = int(case.lengths[rows].sum())
    file = folder / "measured.json"
    file.write_text(json.dumps(case.examples(rows) * COPIES))
    few = max(1, args.steps // PARTS_LEFT_OUT)
    ours = {"warmup": WARMUP, "steps": args.steps, "checkpoint_every": args.steps}
    theirs = functools.partial(trainer, case, args.threads, folder, examples=str(file))
    found = {
        OURS: lambda: train(case.run, args.threads, **ours, no_samples=case.silent, tokens=tokens)[
            0
        ],
        PADDED.format(case.options["max_length"]): lambda: theirs(padded=True, steps=few),
        RANDOM: lambda: theirs(steps=few),
    }
    for name in GROUPS if multiplies_bf16(DEVICE) else ("float32",):
        found[GROUPS[name]] = functools.partial(
            theirs, groups=True, precision=name, steps=args.steps
        )
    return found


def trainer(case: Case, threads: int, folder: Path, **changes: Any) -> float:
    """Real tokens a second of the Trainer, a process of its own."""
    options = {
        "rows": ROWS,
        "padded": False,
        "groups": False,
        "precision": "float32",
        "warmup": THEIR_WARMUP,
        "folder": str(folder),
        **case.options,
        **changes,
    }
    command = [sys.executable, BENCHMARKS / "_trainer.py", case.program, json.dumps(options)]
    return float(json.loads(execute(command, threads).splitlines()[-1])["per_second"])


def stretch(data: Any, first: int, steps: int) -> NDArray[np.int64]:
    """The rows of some steps of train.py's plan."""
    positions = (divmod(step, data.steps_per_epoch) for step in range(first, first + steps))
    return np.concatenate([rows for position in positions for rows in data.plan.step(*position)])


@torch.no_grad()
def same_loss(case: Case, precision: str) -> tuple[int, list[str]]:
    """Whether both networks give the same loss with the same weights; exit status and texts."""
    status, notes = 0, []
    for name in dict.fromkeys(("float32", precision)):
        with torch.autocast("cpu", torch.bfloat16, enabled=name == "bf16"):
            ours, theirs = float(case.loss_here()), float(case.loss_there())
        met = abs(ours - theirs) <= MOST_DIFFERENCE
        status |= int(not met)
        notes.append(
            f"the same batch and weights in {name}: loss {ours:.5f} here, {theirs:.5f} there, "
            f"at most {MOST_DIFFERENCE} apart: {'met' if met else 'MISSED'}"
        )
    return status, notes


def loss_after(case: Case, args: argparse.Namespace, folder: Path) -> tuple[int, str]:
    """Loss on held-out text after so many steps of both; exit status and text."""
    steps = args.loss_steps
    rows = stretch(case.data, 0, steps)
    file, weights, run = folder / "trained.json", folder / "theirs.safetensors", folder / "run"
    file.write_text(json.dumps(case.examples(rows)))
    command = [sys.executable, CHECKOUT / "train.py", *case.run, *SETTINGS, case.silent]
    command += [f"trainer.max_steps={steps}", f"hydra.run.dir={run}"]
    execute([*command, "trainer.checkpoint_every_steps=null"], args.threads)
    changes = {"examples": str(file), "save": str(weights), "warmup": 1, "steps": steps - 1}
    grouped = {"groups": True, "precision": args.precision}
    trainer(case, args.threads, folder, **changes, **grouped)
    case.task.network.load_state_dict(lmexp.load(run).network.state_dict())
    ours = case.held_out()
    case.task.network.load_state_dict(case.to_ours(weights))
    theirs = case.held_out()
    met = ours <= theirs + MORE_LOSS
    tokens = int(case.lengths[rows].sum())
    return int(not met), (
        f"after {steps} steps, {tokens:,} tokens: loss on held-out text {ours:.3f}, of the "
        f"Trainer's weights {theirs:.3f}; at most {MORE_LOSS} more: {'met' if met else 'MISSED'}"
    )


def write_weights(tensors: Mapping[str, Tensor], path: Path) -> None:
    """A file for _trainer.py."""
    save_file({name: tensor.detach().clone() for name, tensor in tensors.items()}, path)


def mean_loss(task: Any, batch: Any) -> Tensor:
    """Of one batch."""
    sums, _ = task.sums(batch, None)
    mean: Tensor = sums.nll / sums.tokens
    return mean


def options_of(length: int, lr: float, lr_warmup: int, weights: Path) -> dict[str, Any]:
    """Those of either program of _trainer.py."""
    return {"max_length": length, "lr": lr, "lr_warmup": lr_warmup, "weights": str(weights)}


def same_schedule(lr: float, lr_warmup: int) -> Sequence[str]:
    """Of train.py, what options_of says to the Trainer."""
    return f"optimizer.lr={lr}", "schedule=constant", f"schedule.warmup_steps={lr_warmup}"
