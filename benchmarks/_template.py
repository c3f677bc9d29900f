"""An ordinary Lightning program, as templates have it: what template_faults.py does faults to.

A stock Trainer with DDP, ModelCheckpoint(save_last=True), Lightning's own DistributedSampler. The
network is that of both sides of the comparison.

    python benchmarks/_template.py --folder DIR --devices 2 --steps 40
"""

import argparse
import os
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

LENGTH, ROWS, VALIDATED = 16, 128, 5


class Net(nn.Module):
    """An LSTM with dropout; NAN_AT=<rank>:<call> makes an output NaN, as a bad row would."""

    def __init__(self, vocab_size: int, width: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocab_size, width)
        self.lstm = nn.LSTM(width, width, batch_first=True)
        self.dropout = nn.Dropout(0.2)
        self.output = nn.Linear(width, vocab_size, bias=False)
        self._calls = 0

    def hidden(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        document_ids: Tensor | None = None,
    ) -> Tensor:
        """(B, T) -> (B, T, D)."""
        x: Tensor = self.dropout(self.lstm(self.embed(input_ids))[0])
        self._calls += self.training
        if os.environ.get("NAN_AT") == f"{os.environ.get('LOCAL_RANK', '0')}:{self._calls}":
            return x * torch.nan
        return x

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        document_ids: Tensor | None = None,
    ) -> Tensor:
        """(B, T) -> (B, T, V)."""
        logits: Tensor = self.output(self.hidden(input_ids))
        return logits


@dataclass(frozen=True)
class Architecture:
    """For lmexp's side."""

    width: int

    def decoder(self, vocab: Any) -> nn.Module:
        """The network."""
        return Net(vocab.size, self.width)


class Module(lightning.LightningModule):
    """What a tutorial writes."""

    def __init__(self, width: int, folder: Path) -> None:
        super().__init__()
        self.net = Net(256, width)
        self.folder = folder
        self.validated = 0

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Mean loss of the batch; the step's number is left in a file for who watches."""
        ids = batch[0]
        loss = F.cross_entropy(self.net(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
        if self.global_rank == 0:
            with (self.folder / "steps").open("a") as file:
                file.write(f"{self.global_step} {loss.item()}\n")
        time.sleep(0.02)
        return loss

    def on_validation_start(self) -> None:
        """Begin to count."""
        self.validated = 0

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Count examples, over all ranks."""
        self.validated += len(batch[0])

    def on_validation_epoch_end(self) -> None:
        """Leave the count in a file."""
        total = self.all_gather(torch.tensor(self.validated)).sum().item()
        (self.folder / "validated").write_text(str(total))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def prepare(folder: Path) -> None:
    """What lmexp's side reads: lines of random letters, five of them to validate on."""
    draw = random.Random(0)
    lines = ["".join(draw.choices("abcdefghij ", k=15)) for _ in range(400)]
    (folder / "train.txt").write_text("\n".join(lines) + "\n")
    (folder / "val.txt").write_text("\n".join(lines[:5]) + "\n")
    (folder / "conf" / "model").mkdir(parents=True)
    (folder / "conf" / "model" / "lstm_of_both.yaml").write_text(
        "# @package model\n_target_: _template.Architecture\nwidth: 16\n"
    )


def main() -> None:
    """Train, or go on from last.ckpt."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--devices", type=int, default=2)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--resume", action="store_true")
    args = parser.parse_args()
    lightning.seed_everything(0)
    rows = torch.randint(256, (ROWS, LENGTH + 1), generator=torch.Generator().manual_seed(0))
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=args.devices,
        strategy="ddp" if args.devices > 1 else "auto",
        max_steps=args.steps,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        check_val_every_n_epoch=1,
        callbacks=[ModelCheckpoint(args.folder, save_last=True, every_n_train_steps=5)],
    )
    trainer.fit(
        Module(args.width, args.folder),
        DataLoader(TensorDataset(rows), batch_size=8 // args.devices, shuffle=True),
        DataLoader(TensorDataset(rows[:VALIDATED]), batch_size=1),
        ckpt_path=str(args.folder / "last.ckpt") if args.resume else None,
    )


if __name__ == "__main__":
    main()
