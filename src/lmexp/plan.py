"""Command `plan`: what a run would do, before any of it is done.

The text is read and tokenised, as the run would do first; it finds the result in the cache.
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lmexp.launch import add_overrides

Recipe = Mapping[str, Any]
MEASURED_PARAMETERS = 300_000_000  # of a network that one row is run through; larger ones are not
CURVE_POINTS = 64


class Memory(NamedTuple):
    """Bytes on a device."""

    weights: int
    gradients: int
    optimizer: int
    average: int
    activations: int | None  # of one micro-batch; None: not measured

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.optimizer + self.average + (
            self.activations or 0
        )  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command: those of train, and two searches."""
    add_overrides(parser)
    parser.add_argument("--no-data", action="store_true", help="do not read the text")
    parser.add_argument("--find-lr", action="store_true", help="range test of the learning rate")
    parser.add_argument("--find-batch", action="store_true", help="try sizes of micro-batches")


def main(args: argparse.Namespace) -> int:
    """Print the plan; train nothing but what the two searches try."""
    from lmexp.check import check
    from lmexp.recipe import composition
    from lmexp.trial import build_sizes

    composed = composition(args.overrides, args.config_dir, args.allow_targets)
    recipe, allowed = composed.recipe, composed.allow_targets
    check(recipe, allowed, composed.origins)
    build_sizes(recipe, allowed, composed.origins)
    _print_plan(recipe, allowed, reads_data=not args.no_data)
    if args.find_lr:
        _print_rates(recipe, allowed)
    if args.find_batch:
        _print_batches(recipe, allowed)
    return 0


def _print_plan(recipe: Recipe, allow_targets: Sequence[str], *, reads_data: bool) -> None:
    import torch

    from lmexp.build import build_data, build_task
    from lmexp.hardware import choose
    from lmexp.report import print_start
    from lmexp.targets import build

    settings = build(recipe["trainer"], allow_targets)
    hardware = choose(settings.accelerator, settings.devices, settings.precision)
    data = build_data(recipe, build(recipe["tokenizer"], allow_targets), allow_targets)
    if reads_data:
        data.prepare(splits=data.corpus.splits, announce=print)
    with torch.device("meta"):
        task = build_task(recipe, data.vocab, None, allow_targets)
    rows = math.ceil(data.rows / data.micro_batches)
    memory = device_memory(recipe, data.vocab, rows, hardware.precision, allow_targets)
    total = settings.total_steps(data.steps_per_epoch) if reads_data else settings.max_steps
    print_start(
        {
            "run": recipe["name"],
            **_network_facts(recipe, task.network, data),
            **(_data_facts(data, total) if reads_data else {"data": "not read: --no-data"}),
            "hardware": hardware.reason,
            "memory per device": _memory_text(memory),
            "disk": _disk_text(recipe, memory, data if reads_data else None),
        }
    )
    if total is not None:
        print(rate_curve(recipe, total, allow_targets))


def _network_facts(recipe: Recipe, network: Any, data: Any) -> dict[str, Any]:
    from lmexp.networks.flops import flops_per_token

    parameters = sum(parameter.numel() for parameter in network.parameters())
    embedding = network.embed.weight.numel() if hasattr(network, "embed") else 0
    flops = flops_per_token(network, data.max_length)
    return {
        "network": f"{type(network).__name__} by {recipe['model']['_target_']}",
        "parameters": f"{parameters:,}, {parameters - embedding:,} of them outside the embedding",
        "FLOPs per token": f"{flops:,.0f} forward and backward, at {data.max_length} tokens",
        "vocabulary": f"{data.vocab.size:,} ids",
    }


def _data_facts(data: Any, total_steps: int) -> dict[str, Any]:
    facts = data.facts()
    tokens = {split: facts[split]["tokens"] for split in data.corpus.splits}
    cut = f"in {data.micro_batches} micro-batches, " if data.micro_batches > 1 else ""
    return {
        "data": facts["source"],
        "tokens": tokens,
        "a step": f"{data.rows:,} rows of {data.max_length:,} tokens, {cut}"
        f"{data.tokens_per_step:,} in all",
        "steps": f"{total_steps:,}: {total_steps / data.steps_per_epoch:.2f} epochs of "
        f"{data.steps_per_epoch:,} steps, {total_steps * data.tokens_per_step:,} tokens",
    }


def device_memory(
    recipe: Recipe, vocab: Any, rows: int, precision: str, allow_targets: Sequence[str] = ()
) -> Memory:
    """What a step keeps at once: weights, gradients, optimizer, average, activations.

    Activations are those that the backward pass will need, measured with one row on the CPU and
    multiplied; the temporaries of single operators come on top.

    Args:
        recipe: frozen and checked.
        vocab: of the tokenizer.
        rows: of a micro-batch.
        precision: as hardware.choose resolved it.
        allow_targets: packages of the user's own.
    """
    import torch

    from lmexp.build import build_task

    with torch.device("meta"):
        network = build_task(recipe, vocab, None, allow_targets).network
    size = 2 if precision == "bf16-true" else 4
    weights = size * sum(parameter.numel() for parameter in network.parameters())
    average = weights if recipe["task"].get("ema_decay") is not None else 0
    activations = None
    if weights <= size * MEASURED_PARAMETERS:
        network = build_task(recipe, vocab, None, allow_targets).network
        activations = rows * _kept_by_one_row(network, recipe["data"]["max_length"], precision)
    optimizer = round(weights * state_share(recipe["optimizer"], allow_targets))
    return Memory(weights, weights, optimizer, average, activations)


def _kept_by_one_row(network: Any, length: int, precision: str) -> int:
    """Bytes that a forward pass of one row keeps for the backward pass, weights aside."""
    import torch
    from torch.autograd.graph import saved_tensors_hooks

    ours = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in ours:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    reduced = precision in ("bf16-mixed", "16-mixed", "bf16-true")
    ids = torch.zeros(1, length, dtype=torch.int64)
    with (
        saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=reduced),
    ):
        hidden = network.hidden(ids, torch.ones_like(ids, dtype=torch.bool))
    del hidden
    return sum(kept.values())


def state_share(section: Recipe, allow_targets: Sequence[str] = ()) -> float:
    """Numbers that an optimizer keeps per parameter: 2 for AdamW, 0 for plain SGD."""
    import torch
    from torch import Tensor, nn

    from lmexp.optimizers import parameter_groups
    from lmexp.targets import build

    layer = nn.Linear(32, 32)
    optimizer = build(section, allow_targets, params=parameter_groups(layer))
    for parameter in layer.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    states = [value for state in optimizer.state.values() for value in state.values()]
    kept = sum(value.numel() for value in states if isinstance(value, Tensor) and value.ndim)
    return float(kept / sum(parameter.numel() for parameter in layer.parameters()))


def rate_curve(recipe: Recipe, total_steps: int, allow_targets: Sequence[str] = ()) -> str:
    """The learning rate over the run, as text."""
    from lmexp.signatures import find
    from lmexp.targets import allowed_packages, build
    from lmexp.text_plot import text_plot

    section = recipe["schedule"]
    takes = {p.name for p in find(section["_target_"], allowed_packages(allow_targets)).parameters}
    supplied = {"total_steps": total_steps} if "total_steps" in takes else {}
    schedule = build(section, allow_targets, **supplied)
    points = min(total_steps, CURVE_POINTS)
    steps = [round(i * (total_steps - 1) / max(1, points - 1)) for i in range(points)]
    rates = [recipe["optimizer"]["lr"] * schedule.factor(step) for step in steps]
    return text_plot({"learning rate by step": (steps, rates)}, height=8)


def _memory_text(memory: Memory) -> str:
    parts = [f"{size(getattr(memory, name))} {name}" for name in Memory._fields[:4]
             if getattr(memory, name)]  # fmt: skip
    kept = memory.activations
    parts.append("activations not measured" if kept is None else f"{size(kept)} activations")
    return f"{size(memory.total)}: {', '.join(parts)}"


def _disk_text(recipe: Recipe, memory: Memory, data: Any | None) -> str:
    one = memory.weights + memory.optimizer + memory.average
    count = 2 + recipe["trainer"]["keep_best"]
    text = f"{size(count * one)} for {count} checkpoints of {size(one)}"
    if data is not None:
        tokens = sum(data.store(split).tokens.nbytes for split in data.corpus.splits)
        text += f"; {size(tokens)} of tokens"
    return text


def size(count: int) -> str:
    """Bytes as people write them, in powers of 1000."""
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} B"


def _print_rates(recipe: Recipe, allow_targets: Sequence[str]) -> None:
    from lmexp.finders import find_lr, suggested_lr
    from lmexp.text_plot import text_plot

    trials = find_lr(recipe, allow_targets)
    rates = [math.log10(trial.learning_rate) for trial in trials]
    print(text_plot({"loss by log10 of the rate": (rates, [trial.loss for trial in trials])}))
    print(f"try optimizer.lr={suggested_lr(trials):.1e}")


def _print_batches(recipe: Recipe, allow_targets: Sequence[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    from lmexp.finders import find_batch, suggested_batch

    trials = find_batch(recipe, allow_targets)
    table = Table("trainer.micro_batches", "rows", "seconds a step")
    for trial in trials:
        seconds = f"{trial.seconds:.3f}" if trial.fits else "out of memory"
        table.add_row(str(trial.micro_batches), str(trial.rows), seconds)
    Console().print(table)
    print(f"try trainer.micro_batches={suggested_batch(trials).micro_batches}")
