"""Short trials before a run: which learning rate, how many micro-batches.

Both train a throw-away copy of the recipe's network on its own data and leave nothing behind.
"""

import contextlib
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from lmexp.batch import TrainStep, move
from lmexp.build import build_data, build_task
from lmexp.hardware import Hardware, choose
from lmexp.optimizers import parameter_groups
from lmexp.seeds import seed_torch
from lmexp.targets import build

Recipe = Mapping[str, Any]


class RateTrial(NamedTuple):
    """One step of the learning-rate range test."""

    learning_rate: float
    loss: float  # nats per token, before the step


class BatchTrial(NamedTuple):
    """One size of micro-batch."""

    micro_batches: int
    rows: int  # of a micro-batch, at most
    seconds: float  # of a whole step's forward and backward passes
    fits: bool  # False: out of memory


def find_lr(
    recipe: Recipe,
    allow_targets: Sequence[str] = (),
    *,
    steps: int = 100,
    lowest: float = 1e-6,
    highest: float = 1.0,
) -> list[RateTrial]:
    """The learning-rate range test (Smith 2017, section 3.3).

    The rate rises geometrically from step to step; the test ends early when the loss has grown to
    four times its smallest.
    """
    hardware, task, data = _prepared(recipe, allow_targets)
    optimizer = build(recipe["optimizer"], allow_targets, params=parameter_groups(task.network))
    trials: list[RateTrial] = []
    for index, step in enumerate(_steps(data, steps)):
        rate = lowest * (highest / lowest) ** (index / max(1, steps - 1))
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        loss = _gradient(task, step, hardware)
        if not math.isfinite(loss):
            break
        trials.append(RateTrial(rate, loss))
        if loss > 4 * min(trial.loss for trial in trials):
            break
        optimizer.step()
    return trials


def suggested_lr(trials: Sequence[RateTrial]) -> float:
    """The rate at which the smoothed loss falls fastest per factor of the rate.

    Raises:
        ValueError: fewer than ten steps had a finite loss.
    """
    if len(trials) < 10:
        raise ValueError(
            f"the loss was finite for {len(trials)} steps only: try a smaller lowest rate"
        )
    smooth, average = [], trials[0].loss
    for trial in trials:
        average = 0.8 * average + 0.2 * trial.loss
        smooth.append(average)
    slopes = [after - before for before, after in zip(smooth, smooth[5:], strict=False)]
    return trials[slopes.index(min(slopes)) + 2].learning_rate


def find_batch(recipe: Recipe, allow_targets: Sequence[str] = ()) -> list[BatchTrial]:
    """A step in 1, 2, 4, … micro-batches: which fit, and how long each takes.

    The gradient is the same in all of them; fewer fill a device better and need more memory.
    """
    trials = []
    rows = _rows(recipe)
    for exponent in range(rows.bit_length()):
        pieces = 2**exponent
        trainer = {**recipe["trainer"], "micro_batches": pieces}
        hardware, task, data = _prepared({**recipe, "trainer": trainer}, allow_targets)
        step = next(_steps(data, 1))
        seconds, fits = math.inf, True
        try:
            for _ in range(3):
                start = time.perf_counter()
                _gradient(task, step, hardware)
                seconds = min(seconds, time.perf_counter() - start)
        except torch.OutOfMemoryError:
            fits = False
            torch.cuda.empty_cache()
        trials.append(BatchTrial(pieces, math.ceil(rows / pieces), seconds, fits))
    return trials


def suggested_batch(trials: Sequence[BatchTrial]) -> BatchTrial:
    """The fastest that fits.

    Raises:
        ValueError: not even single rows fit.
    """
    fitting = [trial for trial in trials if trial.fits]
    if not fitting:
        raise ValueError(
            "not even micro-batches of one row fit into memory: lower data.max_length or the "
            "sizes of the model"
        )
    return min(fitting, key=lambda trial: trial.seconds)


def _rows(recipe: Recipe) -> int:
    data = recipe["data"]
    return int(data["batch_size"] or data["batch_tokens"] // data["max_length"])


def _prepared(recipe: Recipe, allow_targets: Sequence[str]) -> tuple[Hardware, Any, Any]:
    settings = build(recipe["trainer"], allow_targets)
    hardware = choose(settings.accelerator, settings.devices, settings.precision)
    data = build_data(recipe, build(recipe["tokenizer"], allow_targets), allow_targets)
    data.prepare(splits=("train",))
    task = build_task(recipe, data.vocab, 1, allow_targets).to(hardware.accelerator)
    task.train()
    return hardware, task, data


def _steps(data: Any, count: int) -> Iterator[TrainStep]:
    data.start_at((0, 0))
    for _, step in zip(range(count), data.train_dataloader(), strict=False):
        yield step


def _gradient(task: Any, step: TrainStep, hardware: Hardware) -> float:
    """Backward through a whole step; its mean loss."""
    device = torch.device(hardware.accelerator)
    dtypes = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
    dtype = dtypes.get(hardware.precision)
    context = torch.autocast(device.type, dtype) if dtype is not None else contextlib.nullcontext()
    objective, tokens = 0.0, 0.0
    for index, batch in enumerate(step.micro_batches):
        seed_torch(task.seed, 0, index)
        with context:
            sums, _ = task.sums(move(batch, device), None)
        (sums.objective / max(1, _positions(step))).backward()
        objective += float(sums.objective.detach())
        tokens += float(sums.tokens)
    return objective / max(1.0, tokens)


def _positions(step: TrainStep) -> int:
    """Positions of a step, padding included: near enough to scale a trial's gradient by."""
    return sum(batch.labels.numel() for batch in step.micro_batches)
