"""Command `plan`: what a run would do, before any of it is done.

The text is read and tokenised, as the run would do first; it finds the result in the cache.
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from typing import Any

from lmexp.launch import add_overrides

Recipe = Mapping[str, Any]
CURVE_POINTS = 64
SHOWN_LABELS = 12
LABELLED = ("tags", "labels", "questions")  # kinds of text
PAIRS = ("pairs", "matches")
EXAMPLES = {"tags": "sentences", "questions": "questions"}


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
    if recipe.get("resume") is not None:
        raise ValueError(
            f"resume={recipe['resume']}: plan is of a run that has not begun; what has begun is "
            f"shown by lmexp show {recipe['resume']}"
        )
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

    from lmexp.budget import keep
    from lmexp.build import build_task
    from lmexp.hardware import choose
    from lmexp.report import print_start
    from lmexp.rules import share_out
    from lmexp.starting import data_of, start_of
    from lmexp.targets import build

    settings = build(recipe["trainer"], allow_targets)
    asked = settings.accelerator, settings.devices, settings.precision
    hardware = choose(*asked, uses_all=settings.strategy != "auto")
    share_out(recipe, hardware.devices)
    start = start_of(recipe, allow_targets)
    data = data_of(recipe, start, allow_targets)
    if reads_data:
        data.prepare(fit=start is None, splits=data.corpus.splits, announce=print)
    vocab = data.vocab
    if not getattr(vocab, "labels", True):
        named = recipe["task"].get("class_weights") or ("O",)  # others: after reading the text
        vocab = vocab._replace(labels=tuple(map(str, named)))
    total = settings.total_steps(data.steps_per_epoch) if reads_data else settings.max_steps
    if reads_data:
        recipe, total = keep(recipe, data, total, tuple(allow_targets))
    with torch.device("meta"):
        network = build_task(recipe, vocab, None, allow_targets).network
    if reads_data:
        network.reads_per_label = getattr(data, "reads_per_label", 1.0)
    facts = {"run": recipe["name"], **_network_facts(recipe, network, data, reads_data)}
    if reads_data:
        facts |= _data_facts(data, total)
        facts["time"] = _time_text(recipe, network, data, total, hardware)
    else:
        facts["data"] = "not read: --no-data"
    facts["hardware"] = hardware.reason
    if reads_data or _size_is_known(recipe, data):
        facts |= _memory_facts(recipe, data, hardware, allow_targets)
        if reads_data:
            facts["disk"] += f"; {size(_token_bytes(data))} of tokens"
    print_start(facts)
    if total is not None:
        print(rate_curve(recipe, total, allow_targets))


def _size_is_known(recipe: Recipe, data: Any) -> bool:
    """Whether tokenizer and labels are known before the text is read."""
    has_size = recipe["tokenizer"].get("vocab_size", 0) is not None
    return has_size and bool(getattr(data.vocab, "labels", True))


def _network_facts(recipe: Recipe, network: Any, data: Any, reads_data: bool) -> dict[str, Any]:
    from lmexp.memory import count_parameters, output_layers
    from lmexp.networks.flops import flops_per_token

    facts = {"network": f"{type(network).__name__} by {recipe['model']['_target_']}"}
    count = count_parameters(network)
    flops = flops_per_token(network, data.max_length)
    passes = f"forward and backward, at {data.max_length} tokens"
    if _kind(data) == "pairs":
        passes += ", of source and target"
    if not reads_data and not _size_is_known(recipe, data):
        flops -= sum(flops_per_token(part, data.max_length) for part in output_layers(network))
        return facts | {
            "parameters": f"{count.inner:,} without embedding and output layer",
            "FLOPs per token": f"{flops:,.0f} without the output layer; {passes}",
            "vocabulary": "known after reading the text",
        }
    return facts | {
        "parameters": f"{count.total:,}, {count.total - count.embedding:,} of them outside the "
        "embedding",
        "FLOPs per token": f"{flops:,.0f} {passes}",
        "vocabulary": _vocabulary_text(data)
        + (", at most" if not reads_data and "vocab_size" in recipe["tokenizer"] else ""),
    }


def _kind(data: Any) -> str:
    return str(getattr(data, "text_kind", "text"))  # a module of the user's own may not say it


def _vocabulary_text(data: Any) -> str:
    if _kind(data) in LABELLED:
        return f"{data.vocab.text.size:,} ids" + _labels_text(data.vocab.labels)
    if _kind(data) not in PAIRS:
        return f"{data.vocab.size:,} ids"
    source, target = data.vocab.source.size, data.vocab.target.size
    return f"{source:,} ids" if data.joint else f"{source:,} ids of sources, {target:,} of targets"


def _labels_text(labels: Sequence[str]) -> str:
    if not labels:
        return ""
    some = ", ".join(labels[:SHOWN_LABELS])
    return f"; {len(labels):,} labels: {some}{', …' if len(labels) > SHOWN_LABELS else ''}"


def _data_facts(data: Any, total_steps: int) -> dict[str, Any]:
    facts = data.facts()
    tokens = {split: facts[split]["tokens"] for split in data.corpus.splits}
    cut = f"in {data.micro_batches} micro-batches, " if data.micro_batches > 1 else ""
    counted = "tokens"
    if _kind(data) in PAIRS:
        counted = getattr(data, "counted", "tokens")
        tokens = {
            split: f"{facts[split]['pairs']:,} pairs, {facts[split]['source_tokens']:,} source and "
            f"{facts[split]['tokens']:,} target tokens"
            for split in data.corpus.splits
        }
        budget = f"{data.batch_size} pairs" if data.batch_size else f"{data.batch_tokens:,} tokens"
        predicted = "of targets" if counted == "tokens" else counted
        step = (
            f"{budget} at most, {cut}{data.tokens_per_step:,} {predicted} on average; padding "
            f"{facts['padding']:.1%}, in random batches {facts['padding_of_random_batches']:.1%}"
        )
    elif _kind(data) in LABELLED:
        tokens = {
            split: f"{facts[split]['examples']:,} {EXAMPLES.get(_kind(data), 'texts')}, "
            f"{facts[split]['tokens']:,} tokens"
            for split in data.corpus.splits
        }
        counted = data.counted
        budget = data.batch_size or f"{data.batch_tokens:,} tokens of"
        step = (
            f"{budget} rows at most, {cut}{data.tokens_per_step:,} {counted} on average; padding "
            f"{facts['padding']:.1%}, in random batches {facts['padding_of_random_batches']:.1%}"
        )
    elif _kind(data) in ("segments", "sentences"):
        budget = data.batch_size or f"{data.batch_tokens:,} tokens of"
        labels = "hidden tokens" if _kind(data) == "segments" else "tokens"
        step = (
            f"{budget} sequences at most, {cut}{data.tokens_per_step:,} {labels} on average; "
            f"padding {facts['padding']:.1%}, in random batches "
            f"{facts['padding_of_random_batches']:.1%}"
        )
    else:
        step = (
            f"{data.rows:,} rows of {data.max_length:,} tokens, {cut}{data.tokens_per_step:,} "
            "in all"
        )
    return {
        "data": facts["source"],
        "tokens": tokens,
        "a step": step,
        "steps": f"{total_steps:,}: {total_steps / data.steps_per_epoch:.2f} epochs of "
        f"{data.steps_per_epoch:,} steps, {total_steps * data.tokens_per_step:,} {counted}",
    }


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


def _time_text(recipe: Recipe, network: Any, data: Any, total_steps: int, hardware: Any) -> str:
    """An estimate: the arithmetic alone, at a speed that this machine reaches in half."""
    from lmexp.hardware import USED_SHARE, expected_seconds, peak_flops_of_all
    from lmexp.networks.flops import flops_per_token
    from lmexp.report import expected_time
    from lmexp.trainer import time_limit

    peak = peak_flops_of_all(hardware)
    read = data.tokens_per_step * network.reads_per_label * total_steps
    flops = flops_per_token(network, data.row_length) * read
    limit = time_limit(recipe["trainer"]["max_time"], recipe["budget"]["minutes"])
    return (
        f"{expected_time(expected_seconds(flops, peak), limit)}: {USED_SHARE:.0%} of the "
        f"{peak / 1e9:,.0f} GFLOP/s here; small networks take longer"
    )


def _memory_facts(
    recipe: Recipe, data: Any, hardware: Any, allow_targets: Sequence[str]
) -> dict[str, Any]:
    from lmexp.finders import rows_of_step
    from lmexp.memory import Memory, device_memory

    rows = math.ceil(rows_of_step(recipe["data"]) / data.micro_batches)
    memory = device_memory(
        recipe, data.vocab, rows, hardware.precision, allow_targets, hardware.devices
    )
    parts = [
        f"{size(count)} {name}" for name, count in zip(Memory._fields, memory, strict=True) if count
    ]
    if memory.activations is None:
        parts.append("activations not measured")
    holders = hardware.devices if recipe["trainer"]["strategy"] == "fsdp" else 1
    one = holders * (memory.weights + memory.optimizer + memory.average)
    count = recipe["trainer"]["keep_last"] + recipe["trainer"]["keep_best"]
    return {
        "memory per device": f"{size(memory.total)}: {', '.join(parts)}",
        "disk": f"{size(count * one)} for {count} checkpoints of {size(one)}",
    }


def _token_bytes(data: Any) -> int:
    stores = [data.store(split) for split in data.corpus.splits]
    if _kind(data) in PAIRS:
        return sum(store.source.nbytes + store.target.nbytes for store in stores)
    return sum(store.nbytes if _kind(data) in LABELLED else store.tokens.nbytes for store in stores)


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
