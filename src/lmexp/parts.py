"""All that a run is made of, built from its recipe: data, network, task, and where it goes on."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lmexp import checkpoint as checkpoints
from lmexp import tokenizers
from lmexp.budget import in_words, keep
from lmexp.build import build_data, build_task
from lmexp.environment import usable_cores
from lmexp.errors import say
from lmexp.hardware import Hardware, choose, expected_seconds
from lmexp.ranks import Ranks, is_among_ranks, local_world_size
from lmexp.recompute import recompute_blocks
from lmexp.record_files import read_summary
from lmexp.report import expected_time
from lmexp.run_folder import RECIPE, write_recipe
from lmexp.sharding import blocks, ways_in
from lmexp.starting import Start, data_of, put_in, start_of
from lmexp.tasks.guard import Guard
from lmexp.trainer import TrainerSettings, time_limit

Recipe = Mapping[str, Any]


@dataclass
class Parts:
    """All that a run is made of."""

    recipe: Recipe
    folder: Path
    settings: TrainerSettings
    hardware: Hardware
    data: Any
    task: Any
    total_steps: int
    saved: Path | None  # the checkpoint that is gone on from
    validation_is_due: bool
    ranks: Ranks


def use_hardware(settings: TrainerSettings) -> Hardware:
    """What this process trains on, and how many of its kind this machine has.

    Raises:
        ValueError: this machine does not have it, or the launcher has started another number.
    """
    devices = settings.devices
    if is_among_ranks():
        started = local_world_size()
        if devices not in ("auto", started):
            raise ValueError(
                f"trainer.devices={devices}, and the launcher has started {started} processes on "
                f"this machine: write trainer.devices={started}, or leave it out"
            )
        devices = started
    uses_all = settings.strategy != "auto"
    hardware = choose(settings.accelerator, devices, settings.precision, uses_all=uses_all)
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    elif hardware.accelerator == "cpu" and hardware.devices > 1 and not _has_own_cores():
        torch.set_num_threads(max(1, usable_cores() // hardware.devices))
    return hardware


def _has_own_cores() -> bool:
    """Whether somebody has said already which share of the machine a process may use."""
    return "OMP_NUM_THREADS" in os.environ or "SLURM_STEP_ID" in os.environ  # srun binds its tasks


def assemble(
    recipe: Recipe,
    folder: Path,
    allow_targets: tuple[str, ...],
    settings: TrainerSettings,
    hardware: Hardware,
    ranks: Ranks,
) -> Parts:
    """Build what the recipe names, and find the checkpoint to go on from.

    Raises:
        ValueError: the folder's checkpoints are damaged or of another run, the data are others than
            the run began with, or the ranks do not read the same.
    """
    if hardware.devices != ranks.local_world_size:
        raise ValueError(
            f"{hardware.devices} devices, and {ranks.local_world_size} processes were started for "
            "them here: unset RANK and WORLD_SIZE, or start one process a device"
        )
    announce = say if ranks.is_first else _ignore
    if settings.strategy == "fsdp" and ranks.world_size == 1:
        announce("trainer.strategy=fsdp on one device: nothing is shared, checkpoints are files")
    (folder / "checkpoints").mkdir(exist_ok=True)
    path = checkpoints.newest_good(folder, warn=announce)
    saved = _read(path, folder, recipe)
    start = start_of(recipe, allow_targets) if saved is None else None
    data = _prepared(recipe, saved, start, allow_targets, announce, ranks)
    data.pin_memory = hardware.accelerator == "cuda"
    if ranks.is_first:
        tokenizers.save(data.tokenizer, folder / "tokenizer.json")
    done = saved["training"]["steps_done"] if saved is not None else 0
    steps = settings.total_steps(data.steps_per_epoch)
    sized, total_steps = keep(recipe, data, steps, allow_targets)
    if ranks.is_first and sized is not recipe:
        write_recipe(sized, folder)  # with the widths that a budget gave
    recipe = sized
    task = build_task(recipe, data.vocab, total_steps, allow_targets)
    task.network.reads_per_label = getattr(data, "reads_per_label", task.reads_per_label)
    if start is not None:
        for line in put_in(task, start):
            announce(line)
    task.nominal_tokens, task.micro_batches = data.tokens_per_step, data.micro_batches
    task.ranks, task.tell = ranks, announce
    task.guard = Guard(settings.on_nonfinite, settings.on_spike, settings.spike_deviations)
    if settings.activation_checkpointing:
        recompute_blocks(task.network)
    if settings.compile:
        _compile(task.network, by_block=settings.strategy == "fsdp")
    data.start_at(divmod(done, data.steps_per_epoch))
    task.steps_done = done
    due = bool(saved is not None and saved["validation_is_due"])
    return Parts(recipe, folder, settings, hardware, data, task, total_steps, path, due, ranks)


def _read(path: Path | None, folder: Path, recipe: Recipe) -> dict[str, Any] | None:
    """The checkpoint to go on from, if there is one."""
    if path is not None:
        saved = checkpoints.read(path)
        _check_same_run(saved, recipe, path)
        return saved
    if read_summary(folder).get("status") == "finished":
        raise ValueError(
            f"{folder} is finished and has lost its checkpoints: bring one back into checkpoints/, "
            "or begin another run without resume="
        )
    return None


def _check_same_run(saved: Mapping[str, Any], recipe: Recipe, path: Path | None) -> None:
    """A checkpoint that was copied in is refused before it is loaded."""
    if "averaged" in saved:
        raise ValueError(
            f"{path} is an average of steps {', '.join(map(str, saved['averaged']))}, without an "
            "optimizer's state: no training goes on from it; put the run's own checkpoint back"
        )
    had = saved["recipe"]
    for name in ("model", "task", "tuning", "tokenizer", "optimizer", "schedule", "seed"):
        if had.get(name) != recipe.get(name):
            raise ValueError(
                f"{path} is of another run: its recipe has {name}={had.get(name)}, and "
                f"{RECIPE} beside it has {name}={recipe.get(name)}: put the run's own checkpoint "
                "back"
            )


def _compile(network: Any, *, by_block: bool) -> None:
    """All ways into the network; or into its blocks, between which weights are gathered."""
    inner = [(block, "forward") for block in blocks(network)] if by_block else []
    for module, name in inner or ways_in(network):
        setattr(module, name, torch.compile(getattr(module, name)))


def _prepared(
    recipe: Recipe,
    saved: Mapping[str, Any] | None,
    start: Start | None,
    allow_targets: tuple[str, ...],
    announce: Callable[[str], None],
    ranks: Ranks,
) -> Any:
    """The data module, with a checkpoint's tokenizer if there is one; the same on all ranks."""
    if saved is not None:
        data = build_data(recipe, tokenizers.from_state(saved["tokenizer"]), allow_targets)
    else:
        data = data_of(recipe, start, allow_targets)
    if "val" not in data.corpus.splits:
        raise ValueError(
            "the data has no validation split, which training is steered by: write for example "
            "data.corpus.val_fraction=0.05"
        )
    began_with = saved["data_hash"] if saved is not None else None
    splits = data.corpus.splits
    fit = saved is None and start is None
    data.prepare(fit=fit, splits=splits, data_hash=began_with, announce=announce)
    ranks.arrive("prepared")
    ranks.wait("prepared")  # for as long as it takes
    done = saved["training"]["steps_done"] if saved is not None else 0
    _check_same_everywhere(data, f"after step {done}", ranks)
    return data


def _check_same_everywhere(data: Any, checkpoint: str, ranks: Ranks) -> None:
    """Machines may see other files under the same names."""
    mine = {
        "the data": f"{data.data_hash[:12]}…",
        "the tokenizer": f"{data.tokenizer.hash()[:12]}…",
        "the checkpoint": checkpoint,
    }
    for what, first in ranks.from_first(mine).items():
        if mine[what] != first:
            raise ValueError(
                f"{what} of rank {ranks.number} is {mine[what]}, that of rank 0 {first}: all "
                "machines have to see the same run folder and the same data"
            )


def _ignore(text: str) -> None:
    """The first rank says it."""


def _trained(network: Any) -> str | None:
    """How many parameters are trained, where it is not all of them."""
    counts = [(parameter.numel(), parameter.requires_grad) for parameter in network.parameters()]
    trained = sum(count for count, is_trained in counts if is_trained)
    total = sum(count for count, _ in counts)
    return None if trained == total else f"{trained:,} parameters: {trained / total:.1%}"


def start_facts(
    parts: Parts, facts: Mapping[str, Any], cost: Mapping[str, float]
) -> dict[str, Any]:
    """What a run says of itself before it trains."""
    epochs = parts.total_steps / parts.data.steps_per_epoch
    train, counted = facts["train"], getattr(parts.data, "counted", "tokens")
    splits = parts.data.corpus.splits
    dropped = {split: facts[split]["dropped"] for split in splits if facts[split]["dropped"]}
    shared = {split: facts[split]["lines_in_train"] for split in splits if split != "train"}
    left = (parts.total_steps - parts.task.steps_done) * parts.data.tokens_per_step
    left *= parts.task.reads_per_label
    seconds = expected_seconds(left * cost["flops_per_token"], cost["peak_flops"])
    limit = time_limit(parts.settings.max_time, parts.recipe["budget"]["minutes"])
    optimizer = parts.recipe["optimizer"]
    lines = {
        "run": str(parts.folder),
        "goes on after": f"step {parts.task.steps_done:,}" if parts.saved is not None else None,
        "model": f"{parts.recipe['model']['_target_']}, {cost['parameters']:,} parameters",
        "trained": _trained(parts.task.network),
        "task": parts.recipe["task"]["_target_"],
        "optimizer": f"{optimizer['_target_']}, lr {optimizer['lr']:g}, by "
        f"{parts.recipe['schedule']['_target_']}",
        "data": f"{facts['source']}: {train['tokens']:,} tokens to train on",
        "dropped or changed": dropped or "nothing",
        "lines also in train": shared,
        "tokenizer": f"{facts['vocab_size']:,} ids",
        "padding": f"{facts['padding']:.1%}; {facts['padding_of_random_batches']:.1%} in random "
        "batches"
        if "padding" in facts
        else None,
        "steps": f"{parts.total_steps:,} of {parts.data.tokens_per_step:,} {counted}: "
        f"{epochs:.2f} epochs",
        "budget": in_words(parts.recipe, cost),
        "time": expected_time(seconds, limit),
        "hardware": f"{parts.hardware.reason}; {torch.get_num_threads()} threads",
    }
    return {name: line for name, line in lines.items() if line is not None}
