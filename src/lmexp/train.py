"""One run: corpus, tokenizer, data, network, task, trainer, fit, test."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lmexp.breakdown import find_breakdown
from lmexp.budget import asked_of
from lmexp.callbacks import Recorder, Segments
from lmexp.cpu import cure_allocator
from lmexp.errors import one_line, say
from lmexp.failures import FailureKeeper
from lmexp.final_test import sample_of, tested
from lmexp.hardware import peak_flops_of_all
from lmexp.keeping import Keeper
from lmexp.launch_ranks import LOST
from lmexp.networks.flops import flops_per_token
from lmexp.parts import Parts, Recipe, assemble, start_facts, use_hardware
from lmexp.ranks import Ranks, is_lost, is_of_communication, join, leave
from lmexp.record import NoRecord, Record, environment, write_environment
from lmexp.record_files import SUMMARY, read_figure
from lmexp.report import NoProgress, Progress, print_end, print_start
from lmexp.stopping import Ballot, Signals, Stopper, Terminated
from lmexp.targets import build
from lmexp.tasks.interface import Interrupted, NonFiniteError
from lmexp.trainer import build_trainer, time_limit


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
        cure_allocator()
        settings = build(recipe["trainer"], tuple(allow_targets))
        hardware = use_hardware(settings)
        ranks = join(hardware.accelerator)
        try:
            parts = assemble(recipe, folder, tuple(allow_targets), settings, hardware, ranks)
            status = _recorded(parts, _record(parts, allow_targets), signals)
            _end_together(ranks, signals)
            return status
        finally:
            leave()
    except Terminated as ending:
        lost = ""
        if signals.received is not None:
            lost = " again, and obeyed at once: the steps since the last checkpoint are lost"
        say(f"{ending}{lost}: {_what_now(folder)}")
        return 128 + ending.number
    except RuntimeError as error:
        if is_lost(error):
            say(f"another process of this run has ended: {_what_now(folder)}")
            return LOST
        if is_of_communication(error):
            say(f"the processes of this run cannot talk to one another: {one_line(error)}")
            return 1
        if "DataLoader worker" not in str(error):
            raise
        say(f"{one_line(error)} data.num_workers=0 reads without such: {_what_now(folder)}")
        return 1
    finally:
        signals.restore()


def _what_now(folder: Path) -> str:
    has_begun = (folder / SUMMARY).exists()
    return f"go on with python train.py resume={folder}" if has_begun else "nothing had begun yet"


def _record(parts: Parts, allow_targets: Sequence[str]) -> Record | NoRecord:
    if not parts.ranks.is_first:
        return NoRecord()
    mirror = build(parts.recipe["logger"], tuple(allow_targets))
    return Record(parts.folder, [mirror], parts.recipe)


def _recorded(parts: Parts, record: Record | NoRecord, signals: Signals) -> int:
    """Train; however it ends, the record says so."""
    try:
        return _train(parts, record, signals)
    except Terminated as ending:
        record.close("stopped")
        if not ending.is_agreed:
            raise
        if parts.ranks.is_first:
            say(f"{ending}: {_what_now(parts.folder)}")
        return 128 + ending.number
    except BaseException:
        with contextlib.suppress(OSError):  # a full disk may be what ended the run
            record.close("failed")  # unless it was closed with another status before
        raise


def _end_together(ranks: Ranks, signals: Signals) -> None:
    """Wait for the first rank, which may have files to close: who ends early seems to have failed.

    A signal is obeyed at once: nothing is left to be saved.
    """
    signals.waits_for_step = False
    signals.received = None  # what came has been obeyed, or came too late
    if ranks.is_first:
        ranks.arrive("the end")
    ranks.wait("the end", count=1)
    ranks.arrive("gone from here")
    if ranks.is_first:  # it may be the host of what the others look at
        ranks.wait("gone from here", seconds=5.0)


def _train(parts: Parts, record: Record | NoRecord, signals: Signals) -> int:
    """Fit and test, each from where an earlier session left it."""
    cost = _cost(parts)
    progress: Progress | NoProgress = NoProgress()
    if parts.ranks.is_first:
        progress = _begin(parts, record, cost)
    failures = FailureKeeper(parts.folder, parts.ranks)
    recorder, keeper, stopper, segments = _callbacks(parts, record, progress, signals, cost)
    trainer = build_trainer(
        parts.hardware,
        [recorder, keeper, stopper, failures],
        parts.ranks,
        strategy=parts.settings.strategy,
        sharded_checkpoints=parts.settings.sharded_checkpoints,
        validates_first=parts.validation_is_due,
    )
    parts.ranks.arrive("at the start")
    parts.ranks.wait("at the start")
    try:
        with progress:
            trainer.fit(parts.task, segments, parts.data.val_dataloader(), ckpt_path=parts.saved)
        _obey(parts.task)  # a signal that came while the last step was validated or saved
        summary = tested(parts, trainer, recorder)
        _obey(parts.task)
    except Interrupted:
        raise Terminated(parts.task.ballot.signal, is_agreed=True) from None
    except NonFiniteError as error:
        last = parts.folder / "checkpoints" / "last.ckpt"
        kept = f"the last good checkpoint is {last}" if last.exists() else "there is none yet"
        advice = ["a lower optimizer.lr", "task.clip_norm=1.0"]
        if parts.hardware.precision != "32-true":
            advice.append("trainer.precision=32-true")
        if parts.ranks.is_first:
            say(f"{error}: no checkpoint was overwritten, {kept}; try {' or '.join(advice)}")
            for folder in failures.kept:
                say(f"the batch is kept: python -m lmexp replay {folder} looks into it")
        record.close("failed")
        return 1
    record.summary({**summary, **stopper.ending()})
    if parts.ranks.is_first:
        found = find_breakdown(read_figure(parts.folder, "train/loss"))
        record.summary({} if found is None else found.facts())
    ended = record.close("finished")
    if parts.ranks.is_first:
        print_end(ended, parts.folder)
    return 0


def _obey(task: Any) -> None:
    task.vote()
    if task.ballot.signal is not None:
        raise Terminated(task.ballot.signal, is_agreed=True)


def _begin(parts: Parts, record: Record | NoRecord, cost: Mapping[str, float]) -> Progress:
    """Cut the record back to the checkpoint, write down what this session runs on, say so."""
    if record.step > parts.task.steps_done == 0:
        say(f"{parts.folder} holds no checkpoint yet: the run begins anew")
    record.cut_back(parts.task.steps_done)
    facts = parts.data.facts()
    write_environment(parts.folder, environment(seed=parts.recipe["seed"], data=facts))
    record.summary(cost)
    print_start(start_facts(parts, facts, cost))
    return Progress(parts.total_steps, first_step=parts.task.steps_done)


def _cost(parts: Parts) -> dict[str, float]:
    parameters = sum(parameter.numel() for parameter in parts.task.network.parameters())
    flops = flops_per_token(parts.task.network, parts.data.row_length)
    machines = parts.ranks.world_size // parts.hardware.devices
    is_recorded = parts.ranks.is_first
    return {
        "parameters": parameters,
        "flops_per_token": flops,
        **asked_of(parts.recipe),
        "peak_flops": machines * peak_flops_of_all(parts.hardware) if is_recorded else 1.0,
    }


def _callbacks(
    parts: Parts,
    record: Record | NoRecord,
    progress: Progress | NoProgress,
    signals: Signals,
    cost: Mapping[str, float],
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
        sample=lambda: sample_of(parts),
    )
    limit = time_limit(settings.max_time, parts.recipe["budget"]["minutes"])
    stopper = Stopper(parts.total_steps, limit, settings.patience)
    progress.end_after(stopper.seconds_left)
    parts.task.ballot = Ballot(signals, stopper.is_late, is_first=parts.ranks.is_first)
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
        ranks=parts.ranks,
    )
    return recorder, keeper, stopper, segments
