"""The processes that train together: who this one is, and what they tell one another.

They find each other by the variables that torchrun sets (RANK, WORLD_SIZE, LOCAL_RANK,
LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT). Those that lmexp starts on one machine get a file to
meet at, RENDEZVOUS, in place of an address: no port can be taken by somebody else.
"""

import math
import os
import re
import threading
import time
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed
from torch.distributed.rendezvous import rendezvous

from lmexp.errors import say
from lmexp.launch_ranks import RENDEZVOUS

T = TypeVar("T")
_OF_THE_LOST = ("Connection closed", "Connection reset", "Broken pipe", "Read error", "recv")
_SILENT_SECONDS = 10.0  # of waiting for other ranks, before a word about it
_LOOK_SECONDS = 0.02  # between two looks of one that waits: a signal is obeyed meanwhile


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together; without arguments the only one.

    Args:
        number: of this one, from 0.
        world_size: how many there are, on all machines.
        local_number: among those of this machine.
        local_world_size: how many this machine has.
        store: what they all can read and write.
        device: of the network's parameters, where sums are formed.
    """

    number: int = 0
    world_size: int = 1
    local_number: int = 0
    local_world_size: int = 1
    store: Any = field(default=None, compare=False)
    device: str = "cpu"

    @property
    def is_first(self) -> bool:
        """Whether it keeps the record."""
        return self.number == 0

    def place(self, index: int) -> int:
        """Where this rank's index-th micro-batch stands in the step, from 0 (batch_plan.deal)."""
        return self.number + index * self.world_size

    def total(self, *values: float) -> list[float]:
        """The sums of each value over all ranks, in float64."""
        if self.world_size == 1:
            return list(values)
        sums = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(sums)
        totals: list[float] = sums.tolist()
        return totals

    def summed(self, array: NDArray[np.float64]) -> NDArray[np.float64]:
        """The sum of arrays of the same shape, one of each rank."""
        if self.world_size == 1:
            return array
        total = torch.tensor(array, device=self.device)
        distributed.all_reduce(total)
        return total.cpu().numpy()

    def gathered(self, mine: T) -> list[T]:
        """What each rank has, in their order, on all of them."""
        if self.world_size == 1:
            return [mine]
        everyone: list[Any] = [None] * self.world_size
        distributed.all_gather_object(everyone, mine)
        return everyone

    def from_first(self, mine: T) -> T:
        """The first rank's value, on all of them."""
        if self.world_size == 1:
            return mine
        told: list[Any] = [mine]
        distributed.broadcast_object_list(told, src=0)
        return told[0]  # type: ignore[no-any-return]

    def broadcast(self, tensor: Tensor) -> None:
        """Give all ranks the first one's values, in place."""
        if self.world_size > 1:
            distributed.broadcast(tensor, src=0)

    def arrive(self, place: str) -> None:
        """Say that this rank has come to a place; see `wait`."""
        if self.world_size > 1:
            self.store.add(place, 1)

    def wait(self, place: str, *, count: int | None = None, seconds: float = math.inf) -> None:
        """Wait, but not longer than some seconds, until `count` ranks, or all, are at a place.

        Python code runs meanwhile, so that signals are obeyed, which no collective allows.
        """
        if self.world_size == 1:
            return
        deadline = time.monotonic() + seconds
        while self.store.add(place, 0) < (self.world_size if count is None else count):
            if time.monotonic() > deadline:
                return
            time.sleep(_LOOK_SECONDS)


def is_among_ranks() -> bool:
    """Whether a launcher has started this process as one of several."""
    return "RANK" in os.environ and os.environ.get("WORLD_SIZE") not in (None, "1")


def local_world_size() -> int:
    """Ranks on this machine, as the launcher says."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", os.environ["WORLD_SIZE"]))


def join(device: str) -> Ranks:
    """Meet the other ranks; alone where no launcher has started several.

    Args:
        device: cpu, cuda or mps.

    Raises:
        ValueError: the environment lacks what is needed to meet.
    """
    if not is_among_ranks():
        return Ranks(device=device)
    number, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    waits = threading.Timer(_SILENT_SECONDS, _say_that_it_waits)
    waits.start()
    try:
        return _meet(number, world_size, device)
    finally:
        waits.cancel()


def _say_that_it_waits() -> None:
    environment = os.environ
    place = f"{environment.get('MASTER_ADDR')}:{environment.get('MASTER_PORT')}"
    say(
        f"rank {environment['RANK']} waits at {environment.get(RENDEZVOUS, place)} for all "
        f"{environment['WORLD_SIZE']} processes: if there are no others, unset RANK and WORLD_SIZE"
    )


def _meet(number: int, world_size: int, device: str) -> Ranks:
    local_number = int(os.environ.get("LOCAL_RANK", number))
    store = meeting_place()
    place = "cpu"
    if device == "cuda":
        place = f"cuda:{local_number}"
        torch.cuda.set_device(place)
    backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
    distributed.init_process_group(backend, store=store, rank=number, world_size=world_size)
    return Ranks(number, world_size, local_number, local_world_size(), store, place)


def meeting_place() -> Any:
    """The store by which the ranks find one another.

    Raises:
        ValueError: the environment lacks its address.
    """
    world_size = int(os.environ["WORLD_SIZE"])
    if RENDEZVOUS in os.environ:
        return distributed.FileStore(  # type: ignore[attr-defined]
            os.environ[RENDEZVOUS], world_size
        )
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise ValueError(
            f"the environment has RANK={os.environ['RANK']} and WORLD_SIZE={world_size} but no "
            f"{' and no '.join(missing)}: start the run with torchrun or srun, or unset RANK and "
            "WORLD_SIZE to train in one process"
        )
    store, _, _ = next(rendezvous("env://"))
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")  # of torchrun, with one store
    return distributed.PrefixStore(f"lmexp/{attempt}", store)  # type: ignore[attr-defined]


def leave() -> None:
    """Part from the other ranks."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def is_lost(error: BaseException) -> bool:
    """Whether an error says that another rank is gone."""
    return is_of_communication(error) and any(words in str(error) for words in _OF_THE_LOST)


def is_of_communication(error: BaseException) -> bool:
    """Whether an error comes from how ranks talk to one another."""
    is_of_gloo = re.search(r"\bgloo\b", str(error), re.IGNORECASE) is not None
    return isinstance(error, distributed.DistError) or is_of_gloo
