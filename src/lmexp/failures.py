"""What is kept of a step that ended a training, or was left out, under failures/ of the run.

failures/step_1234/state.ckpt     the run without that step: weights, optimizer, carried state
failures/step_1234/batch.pt       all that the step read, micro-batch by micro-batch
failures/step_1234/failure.json   what was wrong
"""

import json
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning import Callback

from lmexp import batch as batches
from lmexp.atomic import fill_atomically, write_atomically
from lmexp.batch import TrainStep
from lmexp.ranks import Ranks
from lmexp.tasks.interface import NonFiniteError

MOST_KEPT = 3  # left-out steps of a session: each is as large as a checkpoint
STATE, BATCH, FAILURE = "state.ckpt", "batch.pt", "failure.json"


class FailureKeeper(Callback):
    """Keeps the steps that ended a training, or were left out.

    Args:
        folder: of the run.
        ranks: each has a share of the micro-batches.
    """

    def __init__(self, folder: Path, ranks: Ranks) -> None:
        self._folder = folder / "failures"
        self._ranks = ranks
        self.kept: list[Path] = []

    def on_train_batch_end(
        self, trainer: lightning.Trainer, task: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """A step that was left out; of many the first few."""
        if task.left_out and len(self.kept) < MOST_KEPT:
            self._keep(trainer, task, task.left_out)

    def on_exception(self, trainer: lightning.Trainer, task: Any, exception: BaseException) -> None:
        """The step that ended the training, on all ranks alike; a validation has no step."""
        if isinstance(exception, NonFiniteError) and exception.is_of_a_step:
            self._keep(trainer, task, str(exception))

    def _keep(self, trainer: lightning.Trainer, task: Any, what: str) -> None:
        step: TrainStep = task.last_step
        done = task.steps_done - bool(task.left_out)  # steps before this one
        folder = self._folder / f"step_{done}"
        self.kept.append(folder)
        folder.mkdir(parents=True, exist_ok=True)
        everyone = self._ranks.gathered([_plain(batch) for batch in step.micro_batches])
        trainer.save_checkpoint(folder / STATE)
        if not self._ranks.is_first:
            return
        dealt = [batch for same in zip(*everyone, strict=True) for batch in same]
        in_order = dealt[: task.micro_batches]  # ranks with nothing left to do had empty ones
        fill_atomically(folder / BATCH, lambda file: torch.save(in_order, file))
        facts = {
            "step": done,
            "epoch": step.epoch,
            "step_in_epoch": step.step,
            "what": what,
            "carries": step.carries,
            "precision": trainer.precision,
            "ranks": self._ranks.world_size,
            "pieces": task.pieces,
        }
        write_atomically(folder / FAILURE, json.dumps(facts, indent=1) + "\n")


def _plain(batch: Any) -> dict[str, Any]:
    """A batch as torch.load reads it with weights_only."""
    fields = {
        name: value if value is None else value.cpu() for name, value in batch._asdict().items()
    }
    return {"class": type(batch).__name__, **fields}


def read_batches(folder: Path) -> list[Any]:
    """The micro-batches that were kept, in the order of the step."""
    kept = torch.load(folder / BATCH, map_location="cpu", weights_only=True)
    return [getattr(batches, fields.pop("class"))(**fields) for fields in kept]
