"""What every task does alike: one optimizer step out of micro-batches, exactly weighted.

The gradient of a step is the sum over all its micro-batches divided by the number of predicted
tokens in all of them, however the step is cut. Lightning hands over a whole step (a TrainStep), so
the optimization is manual: Lightning's own accumulation would divide by the number of micro-batches
and know nothing of tokens.
"""

import math
from collections.abc import Callable
from typing import Any

import lightning
import torch
from torch import nn
from torch.optim import Optimizer

from lmexp.batch import TrainStep
from lmexp.ema import ParameterAverage
from lmexp.gradient_sum import GradientSum
from lmexp.networks.interface import State
from lmexp.optimizers import fuse, parameter_groups, rescale_and_clip
from lmexp.ranks import Ranks
from lmexp.schedules import Schedule
from lmexp.seeds import seed_torch
from lmexp.sharding import LACKS_MEMORY, Shards
from lmexp.tasks.guard import Guard
from lmexp.tasks.interface import Ballot, NoBallot, NonFiniteError, Sample, Sums, nobody
from lmexp.tasks.pieces import cut, cut_state, in_order, joined, lacks_memory, on_cpu, rows

MakeOptimizer = Callable[[list[dict[str, Any]]], Optimizer]


class Task(lightning.LightningModule):
    """A network under training. A subclass says what its loss is and what validation reports.

    Args:
        network: what is trained.
        optimizer: builds one from parameter groups; None where nothing will be trained.
        schedule: factor on the learning rate by step; None likewise.
        seed: of the run; dropout masks are a function of (seed, step, micro-batch).
        clip_norm: largest norm of a step's gradient; None does not clip.
        ema_decay: of the moving average that is validated in the network's stead; None has none.
    """

    monitor = "val/loss"  # what is best where it is least
    text_kind = "text"  # what it reads: text, or pairs of texts

    def __init__(
        self,
        network: nn.Module,
        optimizer: MakeOptimizer | None,
        schedule: Schedule | None,
        *,
        seed: int,
        clip_norm: float | None,
        ema_decay: float | None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network = network
        self.schedule = schedule
        self.seed = seed
        self.clip_norm = clip_norm
        self.average = ParameterAverage(network, ema_decay) if ema_decay is not None else None
        self.nominal_tokens = 1  # predicted tokens of a full step: keeps 16-bit gradients in range
        self.micro_batches = 1  # of a step, over all ranks
        self.steps_done = 0  # steps of the plan
        self.updates_done = 0  # of them, those that changed the weights
        self.carried: list[State | None] = []  # one a micro-batch, where state is carried
        self.last_sums = Sums(0.0, 0.0, 0)  # of the last step
        self.learning_rate = math.nan
        self.gradient_norm = math.nan
        self.ranks = Ranks()  # this process alone, unless told otherwise
        self.ballot: Ballot = NoBallot()
        self.guard = Guard()
        self.pieces = 1  # of a micro-batch: more, once a device had too little memory for one
        self.tell: Callable[[str], None] = nobody  # remarks for people
        self.last_step: TrainStep | None = None
        self.left_out = ""  # why the guard left out the last step, if it did
        self.shards: Shards | None = None  # of the network, where ranks share it
        self._gradient_sum: GradientSum | Shards | None = None  # over several ranks
        self._make_optimizer = optimizer
        self._rescale = 1.0

    def sums(self, batch: Any, carried: State | None) -> tuple[Sums, State | None]:
        """The loss of one micro-batch, and the state to carry into the next step's."""
        raise NotImplementedError(f"{type(self).__name__} does not say what its loss is")

    def sample(self, data: Any) -> Sample | None:
        """Outputs of the network as it stands, the same draws every time; None: not wanted."""
        return None

    def scores(self, data: Any, split: str) -> dict[str, float | str]:
        """Figures of whole outputs over a prepared split, beside those of validated()."""
        return {}

    def configure_optimizers(self) -> Optimizer:
        """The recipe's optimizer over decay groups; fused where there is no GradScaler."""
        if self._make_optimizer is None:
            raise ValueError(f"{type(self).__name__} was built without an optimizer to train with")
        groups = parameter_groups(self.network)
        if self.shards is not None:
            groups = self.shards.groups(groups)
        optimizer = self._make_optimizer(groups)
        for group in optimizer.param_groups:
            group["base_lr"] = group["lr"]
        if self.trainer.scaler is None:
            fuse(optimizer)
        return optimizer

    def on_fit_start(self) -> None:
        """The network may have moved or been cut since it was built."""
        if self.average is not None:
            self.average.follow(self.shards)
        if self.shards is not None:
            self._gradient_sum = self.shards
        elif self.ranks.world_size > 1 and self._gradient_sum is None:
            for tensor in (*self.network.parameters(), *self.network.buffers()):
                self.ranks.broadcast(tensor.detach())  # other machines may round otherwise
            trained = [p for p in self.network.parameters() if p.requires_grad]
            self._gradient_sum = GradientSum(trained)

    def training_step(self, step: TrainStep, batch_idx: int) -> None:
        """One optimizer step, or none where the guard leaves it out.

        Raises:
            NonFiniteError: before any weight is touched, on all ranks alike.
            MemoryError: one row is too much for a device.
        """
        before = self.carried if step.carries else [None] * len(step.micro_batches)
        self.last_step, self.left_out = step, ""
        while not self._add_up(step, before):
            self._cut_finer(step)
        try:
            if not math.isfinite(self.last_sums.objective):
                raise NonFiniteError(f"the loss of step {self.steps_done} is not finite")
            if self.last_sums.tokens and not self._leaps_up(before):
                self._update()
                self.guard.took()
        except NonFiniteError as error:
            self.carried = before
            if not self.guard.may_skip_nonfinite():
                raise
            self.guard.skip_nonfinite()
            self._leave_out(f"{error}: left out")
        self.steps_done += 1

    def _add_up(self, step: TrainStep, before: list[State | None]) -> bool:
        """Gradients and sums of a step, over all ranks; False where one had too little memory."""
        try:
            parts = self._backward(step, before)
            is_done = True
        except (RuntimeError, MemoryError) as error:
            if not lacks_memory(error):
                raise
            if self.shards is not None:  # the others wait for this rank's part
                raise MemoryError(LACKS_MEMORY.format(step=self.steps_done)) from None
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
        most = max(self.ranks.gathered(max(map(rows, step.micro_batches))))
        if self.pieces >= most:
            raise MemoryError(
                f"one row of step {self.steps_done} takes more memory than a device has: write a "
                "smaller data.max_length or a smaller model"
            )
        self._forget_gradients()
        self.pieces = min(2 * self.pieces, most)
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.empty_cache()
        self.tell(
            f"out of memory in step {self.steps_done}: from now on each micro-batch is cut into "
            f"{self.pieces} pieces, with the same gradient"
        )

    def _forget_gradients(self) -> None:
        for parameter in self.network.parameters():
            parameter.grad = None

    def _leaps_up(self, before: list[State | None]) -> bool:
        """Whether the step's loss leaps up, and the guard wants no such step."""
        loss = self.last_sums.nll / self.last_sums.tokens
        if not self.guard.is_spike(loss):
            return False
        what = f"the loss of step {self.steps_done} leaps up to {loss:.4g}"
        if self.guard.on_spike == "report":
            self.tell(what)
            return False
        self.guard.skip_spike()
        self.carried = before
        self._leave_out(f"{what}: left out")
        return True

    def _leave_out(self, why: str) -> None:
        self._forget_gradients()
        self.left_out = why
        self.tell(why)

    def vote(self) -> None:
        """Agree on what the ballot asks, outside of a step; every rank has to come here."""
        self.ballot.count(self.ranks.total(*self.ballot.cast()))

    def _update(self) -> None:
        optimizer = self.optimizers()
        assert not isinstance(optimizer, list)
        assert self.schedule is not None
        factor = self.schedule.factor(self.updates_done)
        for group in optimizer.param_groups:
            self.learning_rate = group["lr"] = group["base_lr"] * factor
        self._rescale = self.nominal_tokens / self.last_sums.tokens
        scaler = self.trainer.scaler
        scale = scaler.get_scale() if scaler is not None else 0.0
        optimizer.step()
        optimizer.zero_grad()
        if scaler is not None and scaler.get_scale() < scale:
            return  # the scaler met an infinite gradient and left the weights alone
        self.updates_done += 1
        if self.average is not None:
            self.average.update()

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """From sum / nominal to the mean over the tokens that there were; then clip."""
        gradients = [
            parameter.grad
            for group in optimizer.param_groups
            for parameter in group["params"]
            if parameter.grad is not None
        ]
        whose = () if self.shards is None else (self.ranks,)
        self.gradient_norm = rescale_and_clip(gradients, self._rescale, self.clip_norm, *whose)
        if not math.isfinite(self.gradient_norm) and self.trainer.scaler is None:
            raise NonFiniteError(f"the gradient of step {self.steps_done} is not finite")

    def put_average_in(self) -> None:
        """Validate the average, where there is one; until put_weights_back."""
        if self.average is not None:
            self.average.put_in()

    def put_weights_back(self) -> None:
        """Go on with the weights that are trained."""
        if self.average is not None:
            self.average.put_back()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what Lightning does not know of; leave out its loops and epochs (see Segments)."""
        del checkpoint["loops"], checkpoint["epoch"]
        checkpoint["global_step"] = self.updates_done
        carried = self.ranks.gathered(on_cpu(self.carried))  # on the first rank at least
        checkpoint["training"] = {
            "steps_done": self.steps_done,
            "updates_done": self.updates_done,
            "carried": in_order(carried)[: self.micro_batches],
            "schedule": self.schedule.state() if self.schedule is not None else {},
            "average": self.average.state() if self.average is not None else None,
            "guard": self.guard.state(),
            "pieces": self.pieces,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from on_save_checkpoint's."""
        training = checkpoint["training"]
        self.steps_done, self.updates_done = training["steps_done"], training["updates_done"]
        carried = [state if state is None else tuple(state) for state in training["carried"]]
        idle = -len(carried) % self.ranks.world_size  # ranks with nothing left to do in a step
        self.carried = [*carried, *[None] * idle][self.ranks.number :: self.ranks.world_size]
        self.guard.restore(training["guard"])
        self.pieces = training["pieces"]
        if self.schedule is not None:
            self.schedule.restore(training["schedule"])
        if self.average is not None:
            self.average.restore(training["average"])
