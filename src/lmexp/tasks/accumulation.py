"""The gradient and the loss of an optimizer step, exactly weighted however the step is cut.

They are sums over all micro-batches of all ranks, divided by the number of predicted tokens in all
of them. Lightning's own accumulation would divide by the number of micro-batches and know nothing
of tokens; it is handed a whole step (a TrainStep), and the optimization is manual.
"""

import math
from collections.abc import Callable
from typing import Any

import lightning
import torch
from torch import nn

from lmexp.batch import TrainStep
from lmexp.gradient_sum import GradientSum
from lmexp.networks.interface import State
from lmexp.ranks import Ranks
from lmexp.seeds import seed_torch
from lmexp.sharding import Shards
from lmexp.tasks.interface import Ballot, NoBallot, Sums, nobody
from lmexp.tasks.pieces import cut, cut_state, joined, lacks_memory, rows


class Accumulating(lightning.LightningModule):
    """A network whose gradients are added up over the micro-batches of a step and over all ranks.

    Args:
        network: what is trained.
        seed: of the run; dropout masks are a function of (seed, step, micro-batch).
    """

    rows_are_apart = True  # the loss of a row does not depend on those beside it

    def __init__(self, network: nn.Module, seed: int) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network = network
        self.seed = seed
        self.nominal_tokens = 1  # predicted tokens of a full step: keeps 16-bit gradients in range
        self.micro_batches = 1  # of a step, over all ranks
        self.steps_done = 0  # steps of the plan
        self.carried: list[State | None] = []  # one a micro-batch, where state is carried
        self.last_sums = Sums(0.0, 0.0, 0)  # of the last step
        self.ranks = Ranks()  # this process alone, unless told otherwise
        self.ballot: Ballot = NoBallot()
        self.pieces = 1  # of a micro-batch: more, once a device had too little memory for one
        self.tell: Callable[[str], None] = nobody  # remarks for people
        self.shards: Shards | None = None  # of the network, where ranks share it
        self._gradient_sum: GradientSum | Shards | None = None  # over several ranks

    def sums(self, batch: Any, carried: State | None) -> tuple[Sums, State | None]:
        """The loss of one micro-batch, and the state to carry into the next step's."""
        raise NotImplementedError(f"{type(self).__name__} does not say what its loss is")

    def join_gradients(self) -> None:
        """Once the network is where it is trained: begin with the same weights on all ranks."""
        if self.shards is not None:
            self._gradient_sum = self.shards
        elif self.ranks.world_size > 1 and self._gradient_sum is None:
            for tensor in (*self.network.parameters(), *self.network.buffers()):
                self.ranks.broadcast(tensor.detach())  # other machines may round otherwise
            trained = [p for p in self.network.parameters() if p.requires_grad]
            self._gradient_sum = GradientSum(trained)

    def add_up(self, step: TrainStep, before: list[State | None]) -> None:
        """Leave each parameter the sum of a step's gradients, and last_sums the step's loss.

        Args:
            step: this rank's micro-batches of it.
            before: the state carried into each.

        Raises:
            MemoryError: one row is too much for a device; with fsdp, one micro-batch.
        """
        while not self._attempt(step, before):
            self._cut_finer(step)

    def _attempt(self, step: TrainStep, before: list[State | None]) -> bool:
        """Gradients and sums of a step, over all ranks; False where one had too little memory."""
        try:
            parts = self._backward(step, before)
            is_done = True
        except (RuntimeError, MemoryError) as error:
            if not lacks_memory(error):
                raise
            if self.shards is not None:  # the others wait for this rank's part
                raise MemoryError(
                    f"out of memory in step {self.steps_done}: with trainer.strategy=fsdp a step "
                    "cannot be begun anew, as the other ranks are in the midst of it: write for "
                    f"example trainer.micro_batches={2 * self.micro_batches} instead of "
                    f"{self.micro_batches} in a new run, or resume this one on more devices"
                ) from None
            parts, is_done = [[0.0, 0.0, 0.0]], False
        if self._gradient_sum is not None:
            self._gradient_sum.finish()
        mine = map(math.fsum, zip(*parts, strict=True))
        votes = [float(not is_done), *self.ballot.cast()]
        objective, nll, tokens, lacking, *votes = self.ranks.total(*mine, *votes)
        self.last_sums = Sums(objective, nll, tokens)
        self.ballot.count(votes)
        return not lacking

    def _backward(self, step: TrainStep, before: list[State | None]) -> list[list[float]]:
        """Add this rank's gradients up; the sums of each piece of its micro-batches."""
        self.carried, parts = [], []
        for index, batch in enumerate(step.micro_batches):
            seed_torch(self.seed, self.steps_done, self.ranks.place(index))
            pieces, after = cut(batch, self.pieces), []
            for piece, state in zip(pieces, cut_state(before[index], len(pieces)), strict=True):
                sums, state_after = self.sums(piece, state)
                after.append(state_after)
                is_last = index == len(step.micro_batches) - 1 and len(after) == len(pieces)
                if is_last and self._gradient_sum is not None:
                    self._gradient_sum.begin()
                self.manual_backward(sums.objective / self.nominal_tokens)
                parts.append(torch.stack([value.detach().float() for value in sums]))
            self.carried.append(joined(after))
        sums_of_parts: list[list[float]] = torch.stack(parts).tolist()  # waits for the device
        return sums_of_parts

    def _cut_finer(self, step: TrainStep) -> None:
        """After a device had too little memory: begin the step anew, in pieces half as large."""
        if not self.rows_are_apart:
            raise MemoryError(
                f"out of memory in step {self.steps_done}: in this task the loss of a row depends "
                "on those beside it, so that a micro-batch cannot be cut: write for example "
                f"trainer.micro_batches={2 * self.micro_batches} instead of {self.micro_batches} "
                "in a new run, or a smaller data.max_length"
            )
        most = max(self.ranks.gathered(max(map(rows, step.micro_batches))))
        if self.pieces >= most:
            raise MemoryError(
                f"out of memory in step {self.steps_done}, with each micro-batch cut into pieces "
                "of one row: write a "
                "smaller data.max_length or a smaller model"
            )
        self.forget_gradients()
        self.pieces = min(2 * self.pieces, most)
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.empty_cache()
        self.tell(
            f"out of memory in step {self.steps_done}: from now on each micro-batch is cut into "
            f"{self.pieces} pieces: the same gradient but for other dropout masks"
        )

    def forget_gradients(self) -> None:
        """Those of a step that is left out or begun anew."""
        held = self.network.parameters() if self.shards is None else self.shards.parts.values()
        for parameter in held:
            parameter.grad = None

    def vote(self) -> None:
        """Agree on what the ballot asks, outside of a step; every rank has to come here."""
        self.ballot.count(self.ranks.total(*self.ballot.cast()))
