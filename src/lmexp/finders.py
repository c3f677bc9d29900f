"""Short trials before a run: which learning rate, how many micro-batches.

Both train a throw-away copy of the recipe's network on its own data as the run would, and leave
nothing behind.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from lmexp.batch import TrainStep, move
from lmexp.build import build_task
from lmexp.hardware import autocast, choose
from lmexp.optimizers import norm_and_factor, parameter_groups, rescale
from lmexp.seeds import seed_torch
from lmexp.starting import data_of, put_in, start_of
from lmexp.targets import build

Recipe = Mapping[str, Any]

# The range test's length, and that it ends at four times the best loss: as in fastai's and
# Lightning's finders. The range lies around the recipe's own rate, since AdamW's usual rates and
# those of SGD are a factor of 10,000 apart.
RATE_STEPS = 100
BELOW, ABOVE = 1e-4, 1e3  # times the recipe's rate
DIVERGED = 4.0  # times the best loss

# Losses of single batches are noisy: the slope is that of an exponential average over about five
# steps, between steps that are five apart, which is a factor of 2.3 of the rate at 100 steps.
SMOOTHING = 0.8
SLOPE_STEPS = 5
FEWEST_TRIALS = 2 * SLOPE_STEPS

TIMED_STEPS = 3  # of which the fastest counts: the first also allocates


class RateTrial(NamedTuple):
    """One step of the learning-rate range test."""

    learning_rate: float
    loss: float  # nats per token, before the step


class BatchTrial(NamedTuple):
    """One size of micro-batch."""

    micro_batches: int
    rows: int  # of a micro-batch, at most
    seconds: float  # of a whole step
    fits: bool  # False: out of memory
    loss: float  # nats per token of the first step; how it is cut changes it by rounding alone
    gradient_norm: float  # of the first step, before clipping; likewise


class StepFigures(NamedTuple):
    """What a step found before it changed the weights."""

    loss: float  # nats per token
    gradient_norm: float  # before clipping


def find_lr(
    recipe: Recipe, allow_targets: Sequence[str] = (), *, steps: int = RATE_STEPS
) -> list[RateTrial]:
    """The learning-rate range test (Smith 2017, section 3.3).

    The rate rises geometrically from step to step, from far below the recipe's to far above it; the
    test ends early when the loss has grown to four times its smallest or is not finite.
    """
    trial = _Trial(recipe, allow_targets)
    lowest, highest = (recipe["optimizer"]["lr"] * factor for factor in (BELOW, ABOVE))
    trials: list[RateTrial] = []
    for index, step in enumerate(trial.steps(steps)):
        rate = lowest * (highest / lowest) ** (index / max(1, steps - 1))
        loss = trial.gradient(step).loss
        if not math.isfinite(loss):
            break
        trials.append(RateTrial(rate, loss))
        if loss > DIVERGED * min(trial.loss for trial in trials):
            break
        trial.update(rate)
    return trials


def suggested_lr(trials: Sequence[RateTrial]) -> float:
    """The rate at which the smoothed loss falls fastest per factor of the rate.

    Raises:
        ValueError: too few steps had a finite loss, or it never fell.
    """
    if len(trials) < FEWEST_TRIALS:
        raise ValueError(
            f"the loss was finite for {len(trials)} steps only, and {FEWEST_TRIALS} are needed: "
            "try a smaller optimizer.lr, around which the test looks"
        )
    smooth, average = [], trials[0].loss
    for trial in trials:
        average = SMOOTHING * average + (1 - SMOOTHING) * trial.loss
        smooth.append(average)
    slopes = [after - before for before, after in zip(smooth, smooth[SLOPE_STEPS:], strict=False)]
    if min(slopes) >= 0:
        raise ValueError(
            f"the loss fell at no rate from {trials[0].learning_rate:.1e} to "
            f"{trials[-1].learning_rate:.1e}: try an optimizer.lr far from these"
        )
    return trials[slopes.index(min(slopes)) + SLOPE_STEPS // 2].learning_rate


def find_batch(recipe: Recipe, allow_targets: Sequence[str] = ()) -> list[BatchTrial]:
    """A step in 1, 2, 4, … micro-batches: which fit, and how long each takes.

    The gradient is the same in all of them; fewer fill a device better and need more memory. The
    optimizer's memory is part of it.
    """
    trials = []
    rows = rows_of_step(recipe["data"])
    for exponent in range(rows.bit_length()):
        pieces = 2**exponent
        cut = {**recipe, "trainer": {**recipe["trainer"], "micro_batches": pieces}}
        try:
            seconds, first = _timed(cut, allow_targets)
        except torch.OutOfMemoryError:
            seconds, first = math.inf, StepFigures(math.nan, math.nan)
        if math.isinf(seconds):
            torch.cuda.empty_cache()  # here nothing of the trial is alive any more
        trials.append(
            BatchTrial(pieces, math.ceil(rows / pieces), seconds, math.isfinite(seconds), *first)
        )
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


def _timed(recipe: Recipe, allow_targets: Sequence[str]) -> tuple[float, StepFigures]:
    """Seconds of a step, the best of some, and what the first one found."""
    trial, found, best = _Trial(recipe, allow_targets), [], math.inf
    step = next(trial.steps(1))
    for _ in range(TIMED_STEPS):
        start = time.perf_counter()
        found.append(trial.gradient(step))
        trial.update(recipe["optimizer"]["lr"])
        if trial.device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return best, found[0]


def rows_of_step(data: Recipe) -> int:
    """Rows of a step, or pairs if all of them were as long as they may be."""
    return max(1, int(data["batch_size"] or data["batch_tokens"] // data["max_length"]))


class _Trial:
    """The recipe's network, data and optimizer, and steps as tasks.base takes them.

    Args:
        recipe: frozen and checked.
        allow_targets: packages of the user's own.
    """

    def __init__(self, recipe: Recipe, allow_targets: Sequence[str]) -> None:
        settings = build(recipe["trainer"], allow_targets)
        hardware = choose(settings.accelerator, settings.devices, settings.precision)
        self.device = torch.device(hardware.accelerator)
        start = start_of(recipe, allow_targets)
        self.data = data_of(recipe, start, allow_targets)
        self.data.prepare(fit=start is None, splits=("train",))
        self.task = build_task(recipe, self.data.vocab, 1, allow_targets)
        if start is not None:
            put_in(self.task, start)
        dtype = torch.bfloat16 if hardware.precision == "bf16-true" else None
        self.task.to(self.device, dtype).train()
        groups = parameter_groups(self.task.network, self.task.layer_decay)
        self.optimizer = build(recipe["optimizer"], allow_targets, params=groups)
        self.precision = hardware.precision
        is_scaled = hardware.precision == "16-mixed"  # as Lightning scales it
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=is_scaled)
        self.carried: list[Any] = []
        self.steps_done = 0

    def steps(self, count: int) -> Iterator[TrainStep]:
        """The run's first ones."""
        self.data.start_at((0, 0))
        for _, step in zip(range(count), self.data.train_dataloader(), strict=False):
            yield step

    def gradient(self, step: TrainStep) -> StepFigures:
        """Backward through a whole step: the gradient of its mean loss, clipped."""
        if not step.carries:
            self.carried = [None] * len(step.micro_batches)
        self.optimizer.zero_grad()
        self.task.steps_done = self.steps_done
        nominal, objective, tokens = self.data.tokens_per_step, 0.0, 0.0
        for index, batch in enumerate(step.micro_batches):
            seed_torch(self.task.seed, self.steps_done, index)
            with autocast(self.device, self.precision):
                sums, state = self.task.sums(move(batch, self.device), self.carried[index])
            self.carried[index] = state
            self.scaler.scale(sums.objective / nominal).backward()
            objective += float(sums.objective.detach())
            tokens += float(sums.tokens)
        self.scaler.unscale_(self.optimizer)
        tokens = max(1.0, tokens)
        return StepFigures(objective / tokens, self._clip(nominal / tokens))

    def _clip(self, factor: float) -> float:
        """From sum / nominal to the mean over the tokens; then clip. Returns the norm before."""
        found = [parameter.grad for parameter in self.task.network.parameters()]
        gradients = [gradient for gradient in found if gradient is not None]
        norm, factor = norm_and_factor(gradients, factor, self.task.clip_norm)
        rescale(gradients, factor)
        return norm

    def update(self, rate: float) -> None:
        """One step of the optimizer at a rate."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("lr_factor", 1.0)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.steps_done += 1
