"""Lightning's part in a training whose network is shared out among ranks (sharding)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import ModelParallelStrategy
from lightning.pytorch.trainer.states import TrainerFn
from torch.optim import Optimizer

from lmexp import checkpoint_parts
from lmexp.ranks import Ranks
from lmexp.sharding import Shards, shard


class Sharded(ModelParallelStrategy):
    """Lightning's FSDP2, with checkpoints as of a single process.

    A checkpoint is read whole before the network is cut, and fits any number of ranks.

    Args:
        ranks: this process and the others.
        saves_parts: write a checkpoint as a folder of a file a rank (checkpoint_parts), not as one
            file, for which the first rank gathers all.
    """

    def __init__(self, ranks: Ranks, *, saves_parts: bool) -> None:
        super().__init__(ranks.world_size, 1, save_distributed_checkpoint=False)
        self._ranks, self._saves_parts = ranks, saves_parts

    @property
    def restore_checkpoint_after_setup(self) -> bool:
        """Weights and average are cut once they are read."""
        return False

    @property
    def lightning_restore_optimizer(self) -> bool:
        """By load_optimizer_state_dict."""
        return True

    def setup(self, trainer: lightning.Trainer) -> None:
        """Cut the network the first time; build the optimizer for this rank's part."""
        assert self.accelerator is not None
        assert self.model is not None
        self.accelerator.setup(trainer)
        task: Any = self.lightning_module
        if task.shards is None:
            self.model = self.precision_plugin.convert_module(self.model)
            for tensor in (*task.network.parameters(), *task.network.buffers()):
                self._ranks.broadcast(tensor.detach())  # other machines may round otherwise
            shard(task.network, self.device_mesh["data_parallel"])
            self.model_to_device()
            task.shards = Shards(
                task.network, is_first=self._ranks.is_first, saves_parts=self._saves_parts
            )
            _mend_pieces(task)
        if trainer.state.fn == TrainerFn.FITTING:
            self.setup_optimizers(trainer)
        self.setup_precision_plugin()

    @property
    def _shards(self) -> Shards:
        task: Any = self.lightning_module
        shards: Shards = task.shards
        return shards

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """As Shards.state_dict."""
        assert self.lightning_module is not None
        return self._shards.state_dict(self.lightning_module)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Before the network is cut."""
        assert self.lightning_module is not None
        self.lightning_module.load_state_dict(checkpoint["state_dict"], strict=strict)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """As Shards.optimizer_state; keyed as torch's own."""
        if isinstance(optimizer, LightningOptimizer):
            optimizer = optimizer.optimizer
        return self._shards.optimizer_state(optimizer)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """This rank's part of what a single process would load."""
        states = checkpoint["optimizer_states"]
        for optimizer, state in zip(self.optimizers, states, strict=True):
            self._shards.load_optimizer_state(optimizer, state)

    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any | None = None
    ) -> None:
        """By the first rank, which has it, or by all of them."""
        if self._saves_parts:
            checkpoint_parts.write(checkpoint, Path(filepath), self._ranks)
        elif self.is_global_zero:
            self.checkpoint_io.save_checkpoint(checkpoint, filepath, storage_options)

    def load_checkpoint(
        self, checkpoint_path: Any, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """On every rank, whole."""
        return self.checkpoint_io.load_checkpoint(checkpoint_path)


def _mend_pieces(task: Any) -> None:
    """Ranks would have more or fewer pieces of their micro-batches, and wait for one another."""
    if task.pieces > 1:
        task.tell(
            f"micro-batches, which were cut into {task.pieces} pieces for want of memory, are "
            "whole again: with trainer.strategy=fsdp all ranks take as many"
        )
        task.pieces = 1
