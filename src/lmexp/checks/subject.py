"""What is checked: recipe, data, task, a few examples, and the task once it knows them."""

import copy
import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import nn

from lmexp.batch import IGNORE, TrainStep
from lmexp.build import build_task
from lmexp.checks.guesses import blind_loss, goal_of
from lmexp.checks.outputs import OF_KIND, Output, outputs
from lmexp.checks.rows import IDS, apart, cropped, is_known, length, together
from lmexp.optimizers import parameter_groups
from lmexp.seeds import seed_torch
from lmexp.starting import Start, data_of, put_in, start_of
from lmexp.targets import build

Recipe = Mapping[str, Any]

EXAMPLES = 8  # that have to be learnt by heart
TOKENS = 16  # that an example should have, about: more only takes longer
MOST_PADDING = 8  # columns
READ_STEPS = 4  # of the training data, from which the examples are taken
STEPS = 300  # in which they have to be learnt, at each rate
WARMUP_STEPS = 10
MEASURE_EVERY = 10
FALLING = 0.9  # of the loss after half of the steps: it would go on
RATES = (1.0, 10.0, 0.1)  # times the recipe's, until one will do: a narrow network wants more


class Learnt(NamedTuple):
    """A copy of the task that was trained on the examples."""

    task: Any  # in evaluation mode
    first: float  # nats, of the drawn weights
    last: float
    is_falling: bool  # at the end, from what it was after half of the steps
    blind: float  # the least that a network gets to which does not read its inputs
    goal: float  # where training ends
    steps: int
    rate: float
    ran_out: bool  # of time, before it had taken its steps


class Subject:
    """A recipe's data and task, on the CPU in float32, as a run begins with them.

    Args:
        recipe: composed and checked.
        allow_targets: packages of the user's own.
        seconds: that learning the examples may take.
        compiles: whether torch.compile is to be tried.
        announce: told what takes long.

    Raises:
        ValueError: the data cannot be read, or the parts do not go together.
    """

    def __init__(
        self,
        recipe: Recipe,
        allow_targets: Sequence[str] = (),
        *,
        seconds: float,
        compiles: bool = False,
        announce: Callable[[str], None] | None = None,
    ) -> None:
        self.recipe, self.allow_targets = recipe, tuple(allow_targets)
        self.seconds, self.compiles = seconds, compiles
        self.start: Start | None = start_of(recipe, allow_targets)
        self.data = data_of(recipe, self.start, allow_targets)
        self.data.num_workers = 0
        self.data.prepare(fit=self.start is None, splits=self.data.corpus.splits, announce=announce)
        settings = build(recipe["trainer"], allow_targets)
        self.total_steps: int = settings.total_steps(self.data.steps_per_epoch)
        self.task = self.built(recipe)
        self.kind = str(self.task.text_kind)
        self.steps = self._read()
        self.batch = self.steps[0].micro_batches[0]
        self.rows = _examples(self.steps) if self.is_readable else []

    def built(self, recipe: Recipe) -> Any:
        """The task of a recipe with these data, in evaluation mode; see build_task."""
        task = build_task(recipe, self.data.vocab, self.total_steps, self.allow_targets)
        if self.start is not None:
            put_in(task, self.start)
        return task.eval()

    @property
    def is_readable(self) -> bool:
        """Whether batches and outputs are of kinds that can be taken apart."""
        return self.kind in OF_KIND and is_known(self.batch)

    @property
    def examples(self) -> Any:
        """All rows in one batch."""
        return together(self.rows)

    @property
    def room(self) -> int:
        """Columns of padding that the examples may have more: their network takes no more."""
        limits = (getattr(self.task.network, "max_length", None), self.data.max_length)
        longest = length(self.examples)
        return max(0, min(MOST_PADDING, *(int(n) - longest for n in limits if n is not None)))

    @property
    def sizes(self) -> dict[str, int]:
        """The vocabulary of each field of ids."""
        vocab = self.data.vocab
        source = getattr(vocab, "source", getattr(vocab, "text", vocab)).size
        target = getattr(vocab, "target", getattr(vocab, "text", vocab)).size
        return dict(zip(IDS, (source, source, target), strict=True))

    @cached_property
    def learnt(self) -> Learnt:
        """The task after some steps on the examples, at the rate that served best."""
        until = time.monotonic() + self.seconds
        trials: list[Learnt] = []
        for factor in RATES:
            trials.append(self._trained(self.recipe["optimizer"]["lr"] * factor, until))
            if trials[-1].last < trials[-1].goal or trials[-1].ran_out:
                break
        best = min(trials, key=lambda trial: (math.isnan(trial.last), trial.last))
        is_falling = any(trial.is_falling for trial in trials)
        return best._replace(ran_out=trials[-1].ran_out, is_falling=is_falling)

    @cached_property
    def moved(self) -> Any:
        """The task with weights that have moved: nothing is hidden behind zeros they began as.

        The drawn ones, where training spoilt them.
        """
        task = self.learnt.task
        is_whole = all(bool(p.isfinite().all()) for p in task.network.parameters())
        return (task if is_whole else self.task).eval()

    @property
    def network(self) -> Any:
        """Of the task with weights that have moved."""
        return self.moved.network

    def outputs(self, batch: Any, network: Any = None) -> list[Output]:
        """What the network says; what is drawn at random is drawn alike every time."""
        seed_torch(0)
        return outputs(self.kind, self.network if network is None else network, batch)

    @cached_property
    def is_steady(self) -> bool:
        """Whether the same batch gives the same outputs twice, however the generators stand."""
        batch, found = self.examples, []
        for seed in range(2):
            seed_torch(seed)
            found.append(outputs(self.kind, self.network, batch))
        pairs = zip(*found, strict=True)
        return all(torch.equal(one.values, other.values) for one, other in pairs)

    def mean_loss(self, task: Any, batch: Any) -> float:
        """Nats per prediction, in evaluation mode, as a run reports it.

        Of a latent space what is minimised: the KL term has hardly any weight at first.
        """
        task.eval()
        seed_torch(0)
        with torch.no_grad():
            sums, _ = task.sums(batch, None)
        value = sums.objective if self.kind == "sentences" else sums.nll
        return float(value) / max(1.0, float(sums.tokens))

    def gradient(self, task: Any, batch: Any) -> None:
        """Leave the gradient of a batch's mean objective in the parameters, in training mode."""
        task.train()
        sums, _ = task.sums(batch, None)
        (sums.objective / max(1.0, float(sums.tokens))).backward()

    def _read(self) -> list[TrainStep]:
        self.data.start_at((0, 0))
        return list(itertools.islice(iter(self.data.train_dataloader()), READ_STEPS))

    def _trained(self, rate: float, until: float) -> Learnt:
        """A copy trained as a run trains, at a constant rate after a short warm-up."""
        task, batch = copy.deepcopy(self.task), self.examples
        groups = parameter_groups(task.network, task.layer_decay)
        optimizer = build(self.recipe["optimizer"], self.allow_targets, params=groups)
        trained = [p for p in task.network.parameters() if p.requires_grad]
        losses = [first := self.mean_loss(task, batch)]
        blind, goal = blind_loss(self, batch), goal_of(self, batch)
        step, ran_out = 0, False
        while step < STEPS and not losses[-1] < goal and not ran_out:
            for group in optimizer.param_groups:
                warmth = min(1.0, (step + 1) / WARMUP_STEPS)
                group["lr"] = rate * group.get("lr_factor", 1.0) * warmth
            seed_torch(0, step)
            task.steps_done = step
            optimizer.zero_grad()
            self.gradient(task, batch)
            nn.utils.clip_grad_norm_(trained, task.clip_norm or float("inf"))
            optimizer.step()
            step += 1
            ran_out = time.monotonic() > until
            if step % MEASURE_EVERY == 0 or step == STEPS or ran_out:
                losses.append(self.mean_loss(task, batch))
        optimizer.zero_grad()
        last, is_falling = losses[-1], losses[-1] < FALLING * losses[len(losses) // 2]
        is_short = ran_out and not last < goal
        return Learnt(task.eval(), first, last, is_falling, blind, goal, step, rate, is_short)


def _examples(steps: Sequence[TrainStep]) -> list[Any]:
    """Rows of some steps that differ in what is read and have something to predict.

    Those of about TOKENS tokens come first.
    """
    found: dict[tuple[int, ...], Any] = {}
    for batch in (batch for step in steps for batch in step.micro_batches):
        for row in apart(batch)[: 8 * EXAMPLES]:
            short = cropped(row, TOKENS)
            ids = next(getattr(short, name) for name in IDS if hasattr(short, name))
            predicted = getattr(short, "labels", getattr(short, "answers", None))
            if predicted is not None and bool((predicted != IGNORE).any()):
                found.setdefault(tuple(ids[0].tolist()), short)
    return sorted(found.values(), key=lambda row: abs(length(row) - TOKENS))[:EXAMPLES]
