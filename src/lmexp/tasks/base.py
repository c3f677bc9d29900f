"""What every task does alike: the optimizer's step, what it leaves out, and what is saved of it."""

import math
from collections.abc import Callable
from typing import Any

from torch import nn
from torch.optim import Optimizer

from lmexp.batch import TrainStep
from lmexp.ema import ParameterAverage
from lmexp.networks.interface import State
from lmexp.optimizers import fuse, norm_and_factor, parameter_groups, rescale
from lmexp.schedules import Schedule
from lmexp.seeds import seed_torch
from lmexp.tasks.examples import ExampleKeeping
from lmexp.tasks.guard import MOST_IN_A_ROW, Guard
from lmexp.tasks.interface import NonFiniteError, Sample
from lmexp.tasks.pieces import in_order, on_cpu

MakeOptimizer = Callable[[list[dict[str, Any]]], Optimizer]


class Task(ExampleKeeping):
    """A network under training. A subclass says what its loss is and what validation reports.

    Args:
        network: what is trained.
        optimizer: builds one from parameter groups; None where nothing will be trained.
        schedule: factor on the learning rate by step; None likewise.
        seed: of the run; dropout masks are a function of (seed, step, micro-batch).
        clip_norm: largest norm of a step's gradient; None does not clip.
        ema_decay: of the moving average that is validated in the network's stead; None has none.
    """

    monitor = "val/loss"  # what says which checkpoint is best
    greater_is_better = False
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
        super().__init__(network, seed)
        self.schedule = schedule
        self.clip_norm = clip_norm
        self.average = ParameterAverage(network, ema_decay) if ema_decay is not None else None
        self.layer_decay: float | None = None  # see tuning.Tuning
        self.updates_done = 0  # steps that changed the weights
        self.learning_rate = math.nan
        self.gradient_norm = math.nan
        self.guard = Guard()
        self.last_step: TrainStep | None = None
        self.left_out = ""  # why the guard left out the last step, if it did
        self._make_optimizer = optimizer
        self._rescale = 1.0

    @property
    def reads_per_label(self) -> float:
        """Tokens that are read for each that is predicted."""
        return float(getattr(self.network, "reads_per_label", 1.0))

    def wants_sample(self, data: Any) -> bool:
        """Whether sample() is to be called while the network is trained."""
        return False

    def sample(self, data: Any) -> Sample:
        """Outputs of the network as it stands, the same draws every time."""
        raise NotImplementedError(f"{type(self).__name__} has no samples")

    def scores(self, data: Any, split: str) -> dict[str, float | str]:
        """Figures of whole outputs over a prepared split, beside those of validated()."""
        return {}

    def configure_optimizers(self) -> Optimizer:
        """The recipe's optimizer over decay groups; fused where there is no GradScaler."""
        if self._make_optimizer is None:
            raise ValueError(f"{type(self).__name__} was built without an optimizer to train with")
        groups = parameter_groups(self.network, self.layer_decay)
        if self.shards is not None:
            groups = self.shards.groups(groups)
        optimizer = self._make_optimizer(groups)
        for group in optimizer.param_groups:
            group["base_lr"] = group["lr"] = group["lr"] * group.get("lr_factor", 1.0)
        if self.trainer.scaler is None:
            fuse(optimizer)
        return optimizer

    def on_fit_start(self) -> None:
        """The network may have moved or been cut since it was built."""
        if self.average is not None:
            self.average.follow(self.shards)
        self.join_gradients()

    def training_step(self, step: TrainStep, batch_idx: int) -> None:
        """One optimizer step, or none where the guard leaves it out.

        Raises:
            NonFiniteError: before any weight is touched, on all ranks alike.
            MemoryError: one row is too much for a device.
        """
        before = self.carried if step.carries else [None] * len(step.micro_batches)
        self.last_step, self.left_out = step, ""
        self.add_up(step, before)
        try:
            if not math.isfinite(self.last_sums.objective):
                raise NonFiniteError(f"the loss of step {self.steps_done} is not finite")
            if self.last_sums.tokens and not self._leaps_up(before):
                self._update()
                self.guard.took()
        except NonFiniteError as error:
            self.carried = before
            if not self.guard.may_skip_nonfinite():
                if self.guard.on_nonfinite == "skip":
                    raise NonFiniteError(
                        f"{error}, nor were the {MOST_IN_A_ROW} before it, which "
                        "trainer.on_nonfinite=skip left out: more in a row are no accident"
                    ) from None
                raise
            self.guard.skip_nonfinite()
            self._leave_out(f"{error}: left out")
        self.steps_done += 1

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
        self.forget_gradients()
        self.left_out = why
        self.tell(why)

    def _update(self) -> None:
        optimizer = self.optimizers()
        assert not isinstance(optimizer, list)
        assert self.schedule is not None
        factor = self.schedule.factor(self.updates_done)
        for group in optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor
        self.learning_rate = max(group["lr"] for group in optimizer.param_groups)
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
        self.gradient_norm, factor = norm_and_factor(
            gradients, self._rescale, self.clip_norm, *whose
        )
        if not math.isfinite(self.gradient_norm) and self.trainer.scaler is None:
            raise NonFiniteError(f"the gradient of step {self.steps_done} is not finite")
        rescale(gradients, factor, optimizer)

    def on_validation_start(self) -> None:
        """Begin a validation, with randomness that is a function of the step."""
        seed_torch(self.seed, self.steps_done)
        self.put_average_in()
        self.begin_validation()

    def begin_validation(self) -> None:
        """Forget what the last one has added up."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it is validated")

    def on_validation_epoch_end(self) -> None:
        """The callbacks have seen the average; training goes on with the weights."""
        self.put_weights_back()

    def on_test_start(self) -> None:
        """As a validation."""
        self.on_validation_start()

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """As of a validation."""
        self.validation_step(batch, batch_idx)

    def on_test_epoch_end(self) -> None:
        """As of a validation."""
        self.on_validation_epoch_end()

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
