"""The Lightning Trainer of a run, out of conf/trainer."""

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import lightning
from annotated_types import Ge, Gt
from lightning import Callback
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy

from lmexp.checkpoint import SafeCheckpointIO
from lmexp.hardware import Accelerator, Hardware, Precision
from lmexp.ranks import Ranks
from lmexp.sharded_strategy import Sharded
from lmexp.tasks.guard import Nonfinite, Spike

Count = Annotated[int, Gt(0)]
Strategy = Literal["auto", "ddp", "fsdp"]


@dataclass(frozen=True)
class TrainerSettings:
    """How a run is carried out on this machine, and how long it lasts.

    Args:
        accelerator: auto takes a GPU where there is one.
        strategy: one process, or ddp: one a device, each with the whole network, or fsdp: each
            with a part of every parameter (sharding).
        devices: of each machine; auto: one, and with ddp or fsdp all of its GPUs.
        precision: auto takes bf16-mixed where the device has bfloat16 instructions.
        activation_checkpointing: compute the network's layers again in the backward pass instead of
            keeping what they computed.
        compile: torch.compile the network's forward pass; it draws other dropout masks.
        threads: of torch on the CPU; null leaves torch's default.
        sharded_checkpoints: with fsdp, a checkpoint is a folder with a file a rank: nobody gathers
            the whole network, and all write at once.
        max_steps: optimizer steps; null where max_epochs decides.
        max_epochs: passes over the training split; null where max_steps decides.
        max_time: "HH:MM:SS" or "DD:HH:MM:SS"; the run ends at the first step after it, having
            validated and saved; null for no limit.
        micro_batches: pieces into which an optimizer step is cut, over all ranks; auto, one a
            rank, is resolved when the run begins and then belongs to it.
        validate_every_steps: null validates once an epoch.
        checkpoint_every_steps: null saves after every validation only.
        log_every_steps: steps between two lines of metrics.jsonl.
        keep_best: how many of the best checkpoints are kept.
        keep_last: how many of the newest are kept; as many can be averaged.
        on_nonfinite: what is done about a step whose loss or gradient is NaN or infinite; the batch
            is kept under failures/, of steps left out the first three of a session.
        on_spike: what is done about a step whose loss leaps up.
        spike_deviations: see tasks.guard.Guard.
        patience: validations without an improvement before the run ends; null for no limit.
    """

    accelerator: Accelerator
    strategy: Strategy
    devices: Literal["auto"] | Count
    precision: Precision
    activation_checkpointing: bool
    compile: bool
    threads: Count | None
    sharded_checkpoints: bool
    max_steps: Count | None
    max_epochs: Count | None
    max_time: str | None
    micro_batches: Literal["auto"] | Count
    validate_every_steps: Count | None
    checkpoint_every_steps: Count | None
    log_every_steps: Count
    keep_best: Annotated[int, Ge(1)]
    keep_last: Annotated[int, Ge(2)]
    on_nonfinite: Nonfinite
    on_spike: Spike
    spike_deviations: Annotated[float, Gt(0)]
    patience: Count | None

    def __post_init__(self) -> None:
        """Check what a signature cannot say."""
        if (self.max_steps is None) == (self.max_epochs is None):
            raise ValueError(
                f"trainer.max_steps={self.max_steps} and trainer.max_epochs={self.max_epochs}: "
                "give exactly one of the two, null for the other; the schedule needs an end"
            )
        if self.max_time is not None:
            max_seconds(self.max_time)

    def total_steps(self, steps_per_epoch: int) -> int:
        """Optimizer steps of the whole run."""
        if self.max_steps is not None:
            return self.max_steps
        assert self.max_epochs is not None
        return self.max_epochs * steps_per_epoch


def time_limit(max_time: str | None, minutes: float | None) -> float | None:
    """Seconds that training may take: the smaller of two limits, where there are any."""
    given = None if max_time is None else float(max_seconds(max_time))
    limits = [own for own in (given, minutes and 60 * minutes) if own is not None]
    return min(limits, default=None)


def max_seconds(text: str) -> int:
    """Seconds in "HH:MM:SS" or "DD:HH:MM:SS".

    Raises:
        ValueError: another form.
    """
    parts = text.split(":")
    if len(parts) not in (3, 4) or not all(part.isdigit() for part in parts):
        raise ValueError(
            f"trainer.max_time={text!r} is no duration: write '00:10:00' for ten minutes, "
            "'01:00:00:00' for a day"
        )
    units = (86_400, 3_600, 60, 1)[-len(parts) :]
    return sum(int(part) * unit for part, unit in zip(parts, units, strict=True))


class Replicas(DDPStrategy):
    """Lightning's DDP without torch's wrapper: the task adds the gradients up (gradient_sum)."""

    def configure_ddp(self) -> None:
        """Nothing is wrapped."""


def build_trainer(
    hardware: Hardware,
    callbacks: Sequence[Callback],
    ranks: Ranks,
    *,
    strategy: Strategy = "ddp",
    sharded_checkpoints: bool = False,
    validates_first: bool = False,
) -> lightning.Trainer:
    """A Trainer that leaves saving, logging and progress to the given callbacks.

    Lightning sees one of its epochs per validation (train.segments) and no limit: the callbacks
    stop it. Nothing of a resumed run then depends on the state of Lightning's loops.

    Args:
        hardware: from choose().
        callbacks: in the order in which they are called.
        ranks: this process and the others.
        strategy: of several ranks.
        sharded_checkpoints: with fsdp.
        validates_first: make up for the validation that an earlier session was stopped in, as
            Lightning's check of all validation batches before training.
    """
    _quiet()
    accelerator = {"cuda": "gpu"}.get(hardware.accelerator, hardware.accelerator)
    is_alone = ranks.world_size == 1
    several = Sharded(ranks, saves_parts=sharded_checkpoints) if strategy == "fsdp" else Replicas()
    environment = [] if is_alone else [TorchElasticEnvironment()]
    trainer = lightning.Trainer(
        accelerator=accelerator,
        strategy="auto" if is_alone else several,
        devices=ranks.local_world_size,
        num_nodes=ranks.world_size // ranks.local_world_size,
        precision=hardware.precision,  # type: ignore[arg-type]  # a str that choose() checked
        max_epochs=-1,
        num_sanity_val_steps=-1 if validates_first else 0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        inference_mode=False,
        callbacks=list(callbacks),
        plugins=[SafeCheckpointIO(), *environment],
    )
    # Its own handler of SIGTERM waits for all ranks in a broadcast: for ever, if one alone got it.
    trainer._signal_connector.register_signal_handlers = _register_none  # type: ignore[method-assign]
    return trainer


def _register_none() -> None:
    """Signals are ours (stopping.Signals)."""


def _quiet() -> None:
    """Keep from people what they can do nothing about, or what print_start says already."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # Lightning's call, torch's warning
        r"The '\w+' does not have many workers",  # 0 is faster: a batch is one gather (data.py)
    ):
        warnings.filterwarnings("ignore", message)
