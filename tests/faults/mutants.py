"""The bugs that the checks of this folder guard against, each put in on purpose.

A check that stays green with its bug in would prove nothing (test_mutants.py).
"""

from pathlib import Path


def draws_from_one_stream() -> None:
    """Dropout goes on drawing where it stopped, instead of being a function of the step."""
    from lmexp.tasks import accumulation

    accumulation.seed_torch = lambda *parts: None


def repeats_a_step() -> None:
    """A resumed run begins a step too early."""
    from lmexp import buckets, data

    for module in (data.TextDataModule, buckets.Buckets):
        start_at = module.start_at

        def early(self, position, start_at=start_at):
            epoch, step = position
            start_at(self, (epoch, max(0, step - 1)))

        module.start_at = early


def forgets_carried_state() -> None:
    """A resumed recurrent network begins from zero."""
    from lmexp.tasks.base import Task

    load = Task.on_load_checkpoint

    def forgetful(self, checkpoint):
        load(self, checkpoint)
        self.carried = [None] * len(self.carried)

    Task.on_load_checkpoint = forgetful


def forgets_the_average() -> None:
    """The moving average begins anew with every session."""
    from lmexp.ema import ParameterAverage

    ParameterAverage.restore = lambda self, state: None


def adds_no_gradients_up() -> None:
    """Every rank trains for itself."""
    from lmexp.gradient_sum import GradientSum

    GradientSum.begin = GradientSum.finish = lambda self: None


def deals_too_little() -> None:
    """The last micro-batch of a step is read by nobody."""
    from lmexp import buckets, loaders

    for module in (loaders, buckets):
        deal = module.deal

        def careless(micro_batches, rank, world_size, deal=deal):
            mine = deal(micro_batches, rank, world_size)
            return [mine[0], *(rows[:0] for rows in mine[1:])] if rank else mine

        module.deal = careless


def pads_by_repeating() -> None:
    """Ranks without an example score one a second time, as DistributedSampler does."""
    from lmexp import batch_plan, buckets

    deal = batch_plan.deal

    def repeating(batches, rank, world_size):
        mine = deal(batches, rank, world_size)
        return [rows if len(rows) else batches[0] for rows in mine]

    batch_plan.deal = buckets.deal = repeating


def gathers_in_another_order() -> None:
    """Outputs are lined up by rank, not by example."""
    from lmexp.tasks.text_to_text import TextToText

    outputs = TextToText.outputs

    def shuffled(self, *args):
        found = outputs(self, *args)
        return found[1::2] + found[::2]

    TextToText.outputs = shuffled


def writes_in_place() -> None:
    """A checkpoint is written under its final name."""
    from lmexp import checkpoint

    checkpoint.fill_atomically = lambda path, fill: fill(path)


def believes_any_file() -> None:
    """A checkpoint is read without being checked."""
    from lmexp import checkpoint

    checkpoint.verify = lambda path: None


def votes_for_nothing() -> None:
    """A rank keeps its signal to itself."""
    from lmexp.stopping import Ballot

    cast = Ballot.cast
    Ballot.cast = lambda self: [0.0 for _ in cast(self)]


def leaves_the_others() -> None:
    """A rank that gets a signal ends at once, without a word."""
    import os

    from lmexp.stopping import Signals

    Signals._handle = lambda self, number, frame: os._exit(128 + number)


def takes_every_signal_for_another() -> None:
    """What is passed on makes a rank quit that knows already."""
    from lmexp import forwarding, stopping

    forwarding.SAME_SECONDS = stopping.SAME_SECONDS = 0.0


def looks_at_its_own_loss() -> None:
    """Each rank judges its own loss, and none the gradient."""
    from lmexp.tasks import base
    from lmexp.tasks.base import Task

    base.norm_and_factor = lambda gradients, factor, clip: (1.0, factor)
    add_up = Task._attempt

    def alone(self, step, before):
        own = []
        backward = self._backward

        def noted(step, before):
            own[:] = backward(step, before)
            return [[0.0, nll, tokens] for _, nll, tokens in own]

        self._backward = noted
        done = add_up(self, step, before)
        self._backward = backward
        self.last_sums = self.last_sums._replace(objective=sum(row[0] for row in own))
        return done

    Task._attempt = alone


def saves_what_is_not_finite() -> None:
    """The loss is looked at after the update."""
    import math

    from lmexp.tasks import base

    update = base.Task._update
    base.norm_and_factor = lambda gradients, factor, clip: (1.0, factor)

    def add_up(self, step, before, add_up=base.Task._attempt):
        done = add_up(self, step, before)
        if not math.isfinite(self.last_sums.objective):
            update(self)
        return done

    base.Task._attempt = add_up


def sees_no_spikes() -> None:
    """No loss is too high."""
    from lmexp.tasks.guard import Guard

    Guard.is_spike = lambda self, loss: False


def keeps_half_a_gradient() -> None:
    """A step that is begun anew adds to what the first attempt left."""
    from lmexp.tasks.base import Task

    Task.forget_gradients = lambda self: None


def takes_a_folder_that_is_there() -> None:
    """Two runs of one second share a folder."""
    from lmexp import launch

    def claim(parent: Path) -> Path:
        folder = parent / "now"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    launch.claim = claim


def keeps_the_lines_after_a_checkpoint() -> None:
    """The record is not cut back on resume."""
    from lmexp import record

    record.cut_after = lambda path, step=0.0, cut=record.cut_after: cut(path)


def keeps_every_loss() -> None:
    """Something of each step stays in memory."""
    import torch

    from lmexp.tasks.base import Task

    update, kept = Task._update, []

    def hoarding(self):
        update(self)
        kept.append(torch.zeros(4_000))

    Task._update = hoarding


def opens_without_closing() -> None:
    """Each hundredth step leaves a file open."""
    from lmexp.tasks.base import Task

    update, kept = Task._update, []

    def careless(self):
        update(self)
        if self.steps_done % 100 == 0:
            kept.append(open("/dev/null"))  # noqa: PTH123, SIM115

    Task._update = careless


def fills_the_disk_of_a_rank() -> None:
    """No bug of ours: the fourth folder of parts is one too many for the disk."""
    import errno
    import os

    from torch.distributed.checkpoint.filesystem import FileSystemWriter

    write, calls = FileSystemWriter.write_data, iter(range(1, 100))

    def full(self, *arguments):
        if next(calls) == 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(self, *arguments)

    FileSystemWriter.write_data = full
