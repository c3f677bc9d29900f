"""Faults, put into a process from outside: nothing in lmexp knows of them.

A moment is MODULE:CLASS.METHOD:N, the N-th call (from 1) of a method, before it does anything.
"""

import functools
import importlib
import json
import os
import signal


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


def send_signal(moment: str, name: str, to: str = "self") -> None:
    """Send a signal to this process or to the launcher, its parent."""

    def act(method, args, kwargs):
        os.kill(os.getpid() if to == "self" else os.getppid(), getattr(signal, name))
        return method(*args, **kwargs)

    _at(moment, act)


def spoil(moment: str) -> None:
    """The N-th loss that a task computes is NaN."""
    import torch

    def act(method, args, kwargs):
        sums, state = method(*args, **kwargs)
        return sums._replace(objective=sums.objective * torch.nan), state

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

    A row of text is named by its first token's place, a pair by its number.
    """
    from lmexp import loaders, pair_data

    for module, steps in ((loaders, loaders.TrainSteps), (pair_data, pair_data.PairSteps)):
        _write_rows_of(module, steps, file)


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
        with open(file, "a") as lines:  # noqa: PTH123
            lines.write(json.dumps(line) + "\n")
        return step

    module.deal, steps.__getitem__ = noted, written
