"""Command `replay`: the step that was not finite, alone: where in the network it begins."""

import argparse
import contextlib
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple


class Replayed(NamedTuple):
    """A micro-batch, computed again."""

    loss: float  # nats per token
    tokens: int
    module: str | None  # the first whose output is not finite, and its kind
    parameters: list[str]  # whose gradients are not finite
    rows: list[int]  # whose loss is not finite

    @property
    def is_finite(self) -> bool:
        """Whether nothing was wrong."""
        return math.isfinite(self.loss) and not self.parameters


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `replay`."""
    parser.add_argument("failure", type=Path, help="a folder failures/step_<n> of a run")
    parser.add_argument(
        "--precision",
        choices=("32-true", "bf16-mixed", "16-mixed"),
        help="instead of the run's: does it go away in float32?",
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda; default cpu")
    parser.add_argument("--allow-targets", action="append", default=[], metavar="PACKAGE")


def main(args: argparse.Namespace) -> int:
    """Print what each micro-batch does; the exit status is 1 if nothing is wrong with any."""
    from lmexp.failures import BATCH, FAILURE, STATE

    missing = [name for name in (STATE, BATCH, FAILURE) if not (args.failure / name).exists()]
    if missing:
        raise FileNotFoundError(
            f"{args.failure} has no {missing[0]}: name a folder failures/step_<n> of a run, which "
            "one keeps when a loss or a gradient is not finite"
        )
    facts = json.loads((args.failure / FAILURE).read_text(encoding="utf-8"))
    precision = args.precision or facts["precision"]
    print(f"{facts['what']} (in {facts['precision']}, on {facts['ranks']} ranks)")
    print(f"again in {precision} on {args.device}:")
    found = replay(args.failure, precision, args.device, args.allow_targets)
    for index, one in enumerate(found):
        print(f"  micro-batch {index}: {_shown(one)}")
    is_same = not all(one.is_finite for one in found)
    print("reproduced" if is_same else "not reproduced: every loss and gradient is finite here")
    return 0 if is_same else 1


def _shown(one: Replayed) -> str:
    lines = [f"loss {one.loss:.6g} over {one.tokens:,} tokens"]
    if one.module is not None:
        lines.append(f"the first output that is not finite: {one.module}")
    if one.rows:
        lines.append(f"rows whose loss is not finite: {', '.join(map(str, one.rows))}")
    if one.parameters:
        more = f" and {len(one.parameters) - 3} more" if len(one.parameters) > 3 else ""
        lines.append(f"gradients that are not finite: {', '.join(one.parameters[:3])}{more}")
    return "\n    ".join(lines)


def replay(
    failure: Path, precision: str, device: str = "cpu", allow_targets: Sequence[str] = ()
) -> list[Replayed]:
    """Forward and backward through each micro-batch of a kept step, with its dropout masks.

    With others where the micro-batches had been cut for want of memory: `pieces` in failure.json.

    Args:
        failure: the folder that keeps it.
        precision: 32-true, bf16-mixed, 16-mixed or bf16-true.
        device: where to.
        allow_targets: packages of your own that the recipe may name.
    """
    import torch

    from lmexp import checkpoint as checkpoints
    from lmexp.failures import FAILURE, STATE, read_batches
    from lmexp.hardware import autocast
    from lmexp.loading import load
    from lmexp.seeds import seed_torch

    facts = json.loads((failure / FAILURE).read_text(encoding="utf-8"))
    training = checkpoints.read(failure / STATE)["training"]
    task = load(failure / STATE, allow_targets).task
    task.put_weights_back()  # what was trained, not its average
    task.steps_done = facts["step"]
    dtype = {"bf16-true": torch.bfloat16}.get(precision)
    task.to(device, dtype).train()
    found = []
    for index, batch in enumerate(read_batches(failure)):
        carried = training["carried"][index] if index < len(training["carried"]) else None
        seed_torch(task.seed, facts["step"], index)
        task.zero_grad()
        with autocast(device, precision):
            found.append(_again(task, batch, carried if facts["carries"] else None, device))
    return found


def _again(task: Any, batch: Any, carried: Any, device: str) -> Replayed:
    def put(value: Any) -> Any:
        return value if value is None else value.to(device)

    batch = type(batch)(*map(put, batch))
    state = None if carried is None else tuple(put(part) for part in carried)
    with _watched(task.network) as first:
        sums, _ = task.sums(batch, state)
    tokens = int(sums.tokens)
    (sums.objective / max(tokens, 1)).backward()  # 16-bit gradients of a sum would overflow
    loss = float(sums.objective.detach()) / max(tokens, 1)
    spoilt = [
        name
        for name, parameter in task.network.named_parameters()
        if parameter.grad is not None and not parameter.grad.isfinite().all()
    ]
    rows = [] if math.isfinite(loss) else _rows(task, batch, state)
    return Replayed(loss, tokens, first[0] if first else None, spoilt, rows)


def _rows(task: Any, batch: Any, state: Any) -> list[int]:
    """The rows of a batch whose loss is not finite, each computed alone."""
    from lmexp.tasks.pieces import cut, cut_state, rows

    count = rows(batch)
    pieces = zip(cut(batch, count), cut_state(state, count), strict=True)
    losses = [task.sums(piece, own)[0].objective.item() for piece, own in pieces]
    return [row for row, loss in enumerate(losses) if not math.isfinite(loss)]


@contextlib.contextmanager
def _watched(network: Any) -> Iterator[list[str]]:
    """The modules whose output is not finite, in the order of their ends."""
    import torch

    found: list[str] = []

    def look(name: str, module: Any, output: Any) -> None:
        outputs = output if isinstance(output, tuple) else (output,)
        tensors = [part for part in outputs if isinstance(part, torch.Tensor)]
        if any(part.is_floating_point() and not part.isfinite().all() for part in tensors):
            found.append(f"{name or 'the network'} ({type(module).__name__})")

    def watch(name: str, module: Any) -> Any:
        return module.register_forward_hook(lambda _, given, output: look(name, module, output))

    hooks = [watch(name, module) for name, module in network.named_modules()]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
