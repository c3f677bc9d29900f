"""Faults, put into a process from outside: nothing in lmexp knows of them.

A moment is MODULE:CLASS.METHOD:N, the N-th call (from 1) of a method, before it does anything.
"""

import functools
import importlib
import json
import os
import signal
import time
from pathlib import Path


def _at(moment: str, act) -> None:
    """Call `act(method, arguments)` in the place of the N-th call of a method."""
    module_name, path, count = moment.split(":")
    owner = importlib.import_module(module_name)
    *names, method_name = path.split(".")
    for name in names:
        owner = getattr(owner, name)
    method = getattr(owner, method_name)
    calls = 0

    @functools.wraps(method)
    def counted(*args, **kwargs):
        nonlocal calls
        calls += 1
        return act(method, args, kwargs) if calls == int(count) else method(*args, **kwargs)

    setattr(owner, method_name, counted)


def note_process(folder: str) -> None:
    """Leave a file named after this process in a folder."""
    Path(folder, f"process-{os.getpid()}").touch()


def send_signal(moment: str, name: str, to: str = "self", stamp: str = os.devnull) -> None:
    """Send a signal to this process or to the launcher, its parent; write down when."""

    def act(method, args, kwargs):
        Path(stamp).write_text(str(time.time()))
        os.kill(os.getpid() if to == "self" else os.getppid(), getattr(signal, name))
        return method(*args, **kwargs)

    _at(moment, act)


def spoil(moment: str) -> None:
    """The N-th loss that a task computes is NaN."""
    leap(moment, float("nan"))


def leap(moment: str, factor: float) -> None:
    """The N-th loss that a task computes, and its gradient, are so many times what they are."""

    def act(method, args, kwargs):
        sums, state = method(*args, **kwargs)
        return sums._replace(objective=sums.objective * factor, nll=sums.nll * factor), state

    _at(moment, act)


def lack_memory(moment: str, most_rows: int) -> None:
    """From the N-th call of a task's sums on, batches of more rows do not fit."""
    import torch

    module_name, path, count = moment.split(":")
    class_name, method_name = path.split(".")
    owner = getattr(importlib.import_module(module_name), class_name)
    method = getattr(owner, method_name)
    calls = 0

    def limited(self, batch, carried):
        nonlocal calls
        calls += 1
        if calls >= int(count) and len(batch[0]) > most_rows:
            raise torch.OutOfMemoryError("simulated")
        return method(self, batch, carried)

    setattr(owner, method_name, limited)


def write_rows(file: str) -> None:
    """Append what each step of this rank reads to a file: epoch, step, and the rows' numbers.

    A row of text is named by its first token's place, a pair, a chunk or a window by its number.
    """
    from lmexp import buckets, loaders

    for steps in (loaders.TrainSteps, buckets.BucketSteps):
        _write_rows_of(importlib.import_module(steps.__module__), steps, file)


def _write_rows_of(module, steps, file: str) -> None:
    deal, read = module.deal, steps.__getitem__
    dealt: list = []

    def noted(micro_batches, rank, world_size):
        mine = deal(micro_batches, rank, world_size)
        dealt[:] = [(rank, [row for rows in mine for row in rows.tolist()])]
        return mine

    def written(self, position):
        step = read(self, position)
        rank, rows = dealt[0]
        line = {"epoch": step.epoch, "step": step.step, "rank": rank, "rows": rows}
        with Path(file).open("a") as lines:
            lines.write(json.dumps(line) + "\n")
        return step

    module.deal, steps.__getitem__ = noted, written


def in_float64() -> None:
    """Networks compute in float64."""
    import torch

    from lmexp import hardware, trainer

    torch.set_default_dtype(torch.float64)
    build_trainer = trainer.build_trainer

    def build(chosen, *args, **kwargs):
        return build_trainer(
            hardware.Hardware(chosen.accelerator, chosen.devices, "64-true", chosen.reason),
            *args,
            **kwargs,
        )

    from lmexp import train

    train.build_trainer = build


def average_means_of_ranks() -> None:
    """What is usually done: each rank's mean loss, and the mean of their gradients."""
    from lmexp.tasks import base
    from lmexp.tasks.interface import Sums

    def add_up(self, step, before):
        nominal, self.nominal_tokens = self.nominal_tokens, 1
        gradient_sum, self._gradient_sum = self._gradient_sum, None  # it would send them undivided
        parts = self._backward(step, before)
        tokens = max(1, sum(part[2] for part in parts))
        for parameter in self.network.parameters():
            if parameter.grad is not None:
                parameter.grad /= tokens * self.ranks.world_size
        gradient_sum.finish()
        self._gradient_sum = gradient_sum
        self.nominal_tokens = nominal
        mine = map(sum, zip(*parts, strict=True))
        self.last_sums = Sums(*self.ranks.total(*mine))
        self._rescale = 1.0
        return True

    update = base.Task._update

    def update_as_it_is(self):
        sums, self.last_sums = self.last_sums, self.last_sums._replace(tokens=self.nominal_tokens)
        update(self)
        self.last_sums = sums

    base.Task._attempt, base.Task._update = add_up, update_as_it_is


def stop_after(step: int) -> None:
    """SIGTERM to this process when so many steps are done."""
    from lmexp.tasks import base

    update = base.Task._update

    def counted(self):
        if self.steps_done + 1 == step:
            os.kill(os.getpid(), signal.SIGTERM)
        update(self)

    base.Task._update = counted


def _at_save(number: int, act) -> None:
    """Call `act(file, bytes)` in the place of writing the N-th checkpoint."""
    import io

    import torch

    save = torch.save
    calls = 0

    def counted(checkpoint, file, **settings):
        nonlocal calls
        calls += not isinstance(file, io.BytesIO)  # to which tensors are pickled
        if calls != number or isinstance(file, io.BytesIO):
            return save(checkpoint, file, **settings)
        content = io.BytesIO()
        save(checkpoint, content)
        return act(file, content.getvalue())

    torch.save = counted


def kill_while_writing(number: int, share: float) -> None:
    """SIGKILL when a share of the N-th checkpoint is written."""

    def act(file, content):
        file.write(content[: int(share * len(content))])
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)

    _at_save(number, act)


def fill_disk(number: int) -> None:
    """Half of the N-th checkpoint fills the disk."""
    import errno

    def act(file, content):
        file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    _at_save(number, act)


def end_with_folder() -> None:
    """As soon as the run has its folder, print it and end."""
    from lmexp import launch

    def end(recipe, folder):
        print(Path(folder).absolute(), flush=True)
        os._exit(0)

    launch.write_recipe = end


def break_mirror(how: str) -> None:
    """Whoever shows the record elsewhere raises at its first line, or never comes back."""
    import threading

    from lmexp import mirrors, record

    def fail(self, step, values):
        if how == "raises":
            raise ConnectionError("the server is gone")
        threading.Event().wait()

    mirrors.CSV.log = fail
    init = record.Record.__init__
    record.Record.__init__ = lambda *args: init(*args, finish_timeout_seconds=1.0)


def note_memory(file: str, every: int) -> None:
    """Append step, resident bytes and the number of open files of this process to a file."""
    from lmexp.tasks import base

    update = base.Task._update
    session = 0

    def noted(self):
        nonlocal session
        update(self)
        session += 1
        if session % every == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            files = len(list(Path("/proc/self/fd").iterdir()))
            line = {"step": session, "bytes": pages * os.sysconf("SC_PAGE_SIZE"), "files": files}
            with Path(file).open("a") as lines:
                lines.write(json.dumps(line) + "\n")

    base.Task._update = noted


def fail_in_worker(how: str, step: int) -> None:
    """The process that reads the data raises, or is killed, at a step."""
    from torch.utils.data import get_worker_info

    from lmexp import buckets, loaders

    for steps in (loaders.TrainSteps, buckets.BucketSteps):
        read = steps.__getitem__

        def failing(self, position, read=read):
            if position == (0, step) and get_worker_info() is not None:
                if how == "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                raise OSError("the disk is gone")
            return read(self, position)

        steps.__getitem__ = failing


def mutant(name: str) -> None:
    """A bug that the checks have to find (mutants.py)."""
    import mutants

    getattr(mutants, name)()
