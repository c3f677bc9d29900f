"""One run: corpus, tokenizer, data, network, task, trainer, fit, test."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lmexp import checkpoint as checkpoints
from lmexp import tokenizers
from lmexp.build import build_data, build_task
from lmexp.callbacks import Recorder, Segments
from lmexp.cpu import cure_allocator
from lmexp.errors import say
from lmexp.hardware import Hardware, choose, expected_seconds, peak_flops
from lmexp.keeping import Keeper
from lmexp.networks.flops import flops_per_token
from lmexp.record import Record, environment, write_environment
from lmexp.record_files import SUMMARY, read_summary
from lmexp.report import Progress, duration, print_end, print_start
from lmexp.run_folder import RECIPE
from lmexp.stopping import Signals, Stopper, Terminated
from lmexp.targets import build
from lmexp.tasks.base import NonFiniteError
from lmexp.trainer import TrainerSettings, build_trainer, max_seconds

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


def run(recipe: Recipe, folder: Path, *, allow_targets: Sequence[str] = ()) -> int:
    """Train what the recipe describes, or go on with what the folder holds of it, and test it.

    Args:
        recipe: frozen and checked.
        folder: of the run, with recipe.yaml in it.
        allow_targets: packages of the user's own.

    Returns:
        The exit status: 0 when finished, 1 after a non-finite loss, 128 + n after signal n.
    """
    signals = Signals()
    signals.install()
    try:
        parts = _build(recipe, folder, tuple(allow_targets))
        record = Record(folder, [build(recipe["logger"], tuple(allow_targets))], recipe)
        try:
            return _train(parts, record, signals)
        except BaseException:
            with contextlib.suppress(OSError):  # a full disk may be what ended the run
                record.close("failed")  # unless it was closed with another status before
            raise
    except Terminated as ending:
        has_begun = (folder / SUMMARY).exists()
        then = (
            f"go on with python train.py resume={folder}" if has_begun else "nothing had begun yet"
        )
        say(f"{ending}: {then}")
        return 128 + ending.number
    finally:
        signals.restore()


def _build(recipe: Recipe, folder: Path, allow_targets: tuple[str, ...]) -> Parts:
    settings = build(recipe["trainer"], allow_targets)
    hardware = choose(settings.accelerator, settings.devices, settings.precision)
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    cure_allocator()
    (folder / "checkpoints").mkdir(exist_ok=True)
    path = checkpoints.newest_good(folder, warn=say)
    saved = checkpoints.read(path) if path is not None else None
    if saved is None and read_summary(folder).get("status") == "finished":
        raise ValueError(
            f"{folder} is finished and has lost its checkpoints: bring one back into checkpoints/, "
            "or begin another run without resume="
        )
    if saved is not None:
        _check_same_run(saved, recipe, path)
    tokenizer = (
        tokenizers.from_state(saved["tokenizer"])
        if saved is not None
        else build(recipe["tokenizer"], allow_targets)
    )
    data = build_data(recipe, tokenizer, allow_targets)
    if "val" not in data.corpus.splits:
        raise ValueError(
            "the data has no validation split, which training is steered by: write for example "
            "data.corpus.val_fraction=0.05"
        )
    data.pin_memory = hardware.accelerator == "cuda"
    began_with = saved["data_hash"] if saved is not None else None
    data.prepare(fit=saved is None, splits=data.corpus.splits, data_hash=began_with, announce=say)
    tokenizers.save(data.tokenizer, folder / "tokenizer.json")
    total_steps = settings.total_steps(data.steps_per_epoch)
    task = build_task(recipe, data.vocab, total_steps, allow_targets)
    task.nominal_tokens = data.tokens_per_step
    if settings.compile:
        _compile(task.network)
    done = saved["training"]["steps_done"] if saved is not None else 0
    data.start_at(divmod(done, data.steps_per_epoch))
    task.steps_done = done
    due = bool(saved is not None and saved["validation_is_due"])
    return Parts(recipe, folder, settings, hardware, data, task, total_steps, path, due)


def _check_same_run(saved: Mapping[str, Any], recipe: Recipe, path: Path | None) -> None:
    """A checkpoint that was copied in is refused before it is loaded."""
    if "averaged" in saved:
        raise ValueError(
            f"{path} is an average of steps {', '.join(map(str, saved['averaged']))}, without an "
            "optimizer's state: no training goes on from it; put the run's own checkpoint back"
        )
    had = saved["recipe"]
    for name in ("model", "task", "tokenizer", "optimizer", "schedule", "seed"):
        if had.get(name) != recipe[name]:
            raise ValueError(
                f"{path} is of another run: its recipe has {name}={had.get(name)}, and "
                f"{RECIPE} beside it has {name}={recipe[name]}: put the run's own checkpoint back"
            )


def _compile(network: Any) -> None:
    """All ways into the network that training and evaluation take."""
    for name in ("hidden", "hidden_carried"):
        if hasattr(network, name):
            setattr(network, name, torch.compile(getattr(network, name)))


def _train(parts: Parts, record: Record, signals: Signals) -> int:
    """Fit and test, each from where an earlier session left it."""
    if record.step > parts.task.steps_done == 0:
        say(f"{parts.folder} holds no checkpoint yet: the run begins anew")
    record.cut_back(parts.task.steps_done)
    facts = parts.data.facts()
    write_environment(parts.folder, environment(seed=parts.recipe["seed"], data=facts))
    cost = _cost(parts)
    record.summary(cost)
    print_start(_start_facts(parts, facts, cost))
    progress = Progress(parts.total_steps, first_step=parts.task.steps_done)
    recorder, keeper, stopper, segments = _callbacks(parts, record, progress, signals, cost)
    trainer = build_trainer(
        parts.hardware, [recorder, keeper, stopper], validates_first=parts.validation_is_due
    )
    try:
        with progress:
            trainer.fit(parts.task, segments, parts.data.val_dataloader(), ckpt_path=parts.saved)
        signals.waits_for_step = False
        if signals.received is not None:  # after the last step, while it was validated or saved
            raise Terminated(signals.received)
        summary = _test(parts, trainer, recorder)
    except NonFiniteError as error:
        last = parts.folder / "checkpoints" / "last.ckpt"
        kept = f"the last good checkpoint is {last}" if last.exists() else "there is none yet"
        advice = ["a lower optimizer.lr", "task.clip_norm=1.0"]
        if parts.hardware.precision != "32-true":
            advice.append("trainer.precision=32-true")
        say(f"{error}: no checkpoint was overwritten, {kept}; try {' or '.join(advice)}")
        record.close("failed")
        return 1
    except Terminated:
        record.close("stopped")
        raise
    record.summary({**summary, "stopped_because": stopper.reason})
    print_end(record.close("finished"), parts.folder)
    return 0


def _cost(parts: Parts) -> dict[str, float]:
    parameters = sum(parameter.numel() for parameter in parts.task.network.parameters())
    flops = flops_per_token(parts.task.network, parts.data.row_length)
    return {
        "parameters": parameters,
        "flops_per_token": flops,
        "peak_flops": peak_flops(parts.hardware),
    }


def _callbacks(
    parts: Parts, record: Record, progress: Progress, signals: Signals, cost: Mapping[str, float]
) -> tuple[Recorder, Keeper, Stopper, Segments]:
    settings = parts.settings
    segments = Segments(
        iter(parts.data.train_dataloader()),
        parts.task.steps_done,
        parts.total_steps,
        settings.validate_every_steps or parts.data.steps_per_epoch,
    )
    recorder = Recorder(
        record,
        progress,
        segments,
        every=settings.log_every_steps,
        flops_per_token=cost["flops_per_token"],
        peak_flops=cost["peak_flops"],
        scored=parts.data.store("val"),
        sample=lambda: parts.task.sample(parts.data),
    )
    limit = max_seconds(settings.max_time) if settings.max_time is not None else None
    stopper = Stopper(parts.total_steps, limit, settings.patience)
    keeper = Keeper(
        parts.folder,
        {
            "recipe": dict(parts.recipe),
            "tokenizer": parts.data.tokenizer.state(),
            "data_hash": parts.data.data_hash,
        },
        every=settings.checkpoint_every_steps,
        keep_best=settings.keep_best,
        keep_last=settings.keep_last,
        resumed_from=parts.saved,
        recorder=recorder,
        stopper=stopper,
        segments=segments,
        signals=signals,
    )
    return recorder, keeper, stopper, segments


def _start_facts(parts: Parts, facts: Mapping[str, Any], cost: Mapping[str, float]) -> Any:
    epochs = parts.total_steps / parts.data.steps_per_epoch
    train = facts["train"]
    splits = parts.data.corpus.splits
    dropped = {split: facts[split]["dropped"] for split in splits if facts[split]["dropped"]}
    shared = {split: facts[split]["lines_in_train"] for split in splits if split != "train"}
    left = (parts.total_steps - parts.task.steps_done) * parts.data.tokens_per_step
    seconds = expected_seconds(left * cost["flops_per_token"], cost["peak_flops"])
    lines = {
        "run": str(parts.folder),
        "goes on after": f"step {parts.task.steps_done:,}" if parts.saved is not None else None,
        "model": f"{parts.recipe['model']['_target_']}, {cost['parameters']:,} parameters",
        "task": parts.recipe["task"]["_target_"],
        "data": f"{facts['source']}: {train['tokens']:,} tokens to train on",
        "dropped or changed": dropped or "nothing",
        "lines also in train": shared,
        "tokenizer": f"{facts['vocab_size']:,} ids",
        "padding": f"{facts['padding']:.1%}; {facts['padding_of_random_batches']:.1%} in random "
        "batches"
        if "padding" in facts
        else None,
        "steps": f"{parts.total_steps:,} of {parts.data.tokens_per_step:,} tokens: "
        f"{epochs:.2f} epochs",
        "time": f"{duration(seconds)} of training, a rough estimate",
        "hardware": f"{parts.hardware.reason}; {torch.get_num_threads()} threads",
    }
    return {name: line for name, line in lines.items() if line is not None}


def _test(parts: Parts, trainer: Any, recorder: Recorder) -> dict[str, Any]:
    """The best validation, and the test split, where there is one, with its weights."""
    best = parts.folder / "checkpoints" / "best.ckpt"
    saved = checkpoints.read(best)
    parts.task.load_state_dict(saved["state_dict"])
    if parts.task.average is not None:
        parts.task.average.restore(saved["training"]["average"])
    figures = {}
    if "test" in parts.data.corpus.splits:
        trainer.test(parts.task, parts.data.test_dataloader(), verbose=False)
        figures = parts.task.validated(parts.data.store("test"))
    parts.task.put_average_in()
    if "test" in parts.data.corpus.splits:
        figures |= parts.task.scores(parts.data, "test")
    sample = parts.task.sample(parts.data)
    return {
        **{f"best/{name.removeprefix('val/')}": value for name, value in recorder.best.items()},
        **{f"test/{name}": value for name, value in figures.items()},
        "tokens_per_second": recorder.tokens_per_second,
        "text_kind": parts.task.text_kind,
        **({"sample": sample.text} if sample is not None else {}),
    }
