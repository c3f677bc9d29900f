"""The other side of the training benchmarks: one program a process, its speed as one JSON line.

    python benchmarks/_programs.py bare --steps 20 --overrides model=transformer …

Shapes: B sequences, T tokens.
"""

import argparse
import importlib
import json
import os
import statistics
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmexp.cpu import cure_allocator
from lmexp.losses import projected_nll
from lmexp.networks.interface import Vocab
from lmexp.optimizers import parameter_groups
from lmexp.recipe import build, compose

VOCAB = Vocab(size=8_000, pad_id=0, bos_id=2, eos_id=3, mask_id=4)


class Sizes(NamedTuple):
    """What all programs train: GPT-2's kind of network."""

    num_layers: int = 6
    d_model: int = 384
    num_heads: int = 6
    length: int = 256  # T
    rows: int = 16  # B
    vocab_size: int = VOCAB.size


DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Clock:
    """Seconds from the end of the warm-up to the end of the last step."""

    def __init__(self, warmup: int, steps: int) -> None:
        self.warmup, self.steps, self.done = warmup, steps, 0
        self.seconds = 0.0
        self._began = 0.0

    def tick(self) -> None:
        """A step is over."""
        self.done += 1
        if self.done in (self.warmup, self.warmup + self.steps):
            if DEVICE == "cuda":
                torch.cuda.synchronize()
            now = time.perf_counter()
            self.seconds, self._began = now - self._began, now


def rows_of_ids(rows: int, length: int, vocab_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless (B, T) inputs and labels, random: speed does not depend on the text."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(7, vocab_size, (64, rows, length + 1), generator=generator)
    while True:
        for block in ids.to(DEVICE):
            yield block[:, :-1].contiguous(), block[:, 1:].contiguous()


def loop(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Callable[[Tensor, Tensor], Tensor],
    args: argparse.Namespace,
    rows: tuple[int, int, int],
) -> float:
    """The plainest training loop there is; returns tokens a second."""
    batches, clock = rows_of_ids(*rows), Clock(args.warmup, args.steps)
    for _ in range(args.warmup + args.steps):
        inputs, labels = next(batches)
        with torch.autocast(DEVICE, torch.bfloat16, enabled=args.precision == "bf16"):
            value = loss(inputs, labels)
        value.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        clock.tick()
    return args.steps * rows[0] * rows[1] / clock.seconds


def bare(args: argparse.Namespace) -> float:
    """lmexp's network and loss, with all knobs of `python train.py`, in a bare loop."""
    cure_allocator()
    recipe = compose(args.overrides)
    vocab = VOCAB._replace(size=args.vocab_size)
    network = build(recipe["model"]).decoder(vocab).to(DEVICE).train()
    optimizer = torch.optim.AdamW(
        parameter_groups(network), lr=1.0e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True
    )
    carried: list[Any] = [None]

    def loss(inputs: Tensor, labels: Tensor) -> Tensor:
        if recipe["data"]["lanes"] is None:
            hidden = network.hidden(inputs)
        else:
            hidden, state = network.hidden_carried(inputs, carried[0])
            carried[0] = tuple(part.detach() for part in state)
        sums = projected_nll(hidden, network.output.weight, labels)
        return sums.nll / sums.count

    rows, length = recipe["data"]["batch_size"], recipe["data"]["max_length"]
    return loop(network, optimizer, loss, args, (rows, length, vocab.size))


class PlainLSTM(nn.Module):
    """Embedding, nn.LSTM, linear layer: what a tutorial has."""

    def __init__(self, d_model: int, num_layers: int, tied: bool) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCAB.size, d_model)
        self.lstm = nn.LSTM(d_model, d_model, num_layers, batch_first=True)
        self.output = nn.Linear(d_model, VOCAB.size)
        if tied:
            self.output.weight = self.embed.weight


def plain_lstm(args: argparse.Namespace) -> float:
    """A float32 loop over nn.LSTM with carried state, of the recipe's sizes; nothing cured."""
    recipe = compose(args.overrides)
    model = recipe["model"]
    network = PlainLSTM(model["d_model"], model["num_layers"], model["tied"]).to(DEVICE)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1.0e-3, weight_decay=0.1)
    carried: list[Any] = [None]

    def loss(inputs: Tensor, labels: Tensor) -> Tensor:
        hidden, state = network.lstm(network.embed(inputs), carried[0])
        carried[0] = tuple(part.detach() for part in state)
        return F.cross_entropy(network.output(hidden).flatten(0, 1), labels.flatten())

    rows, length = recipe["data"]["batch_size"], recipe["data"]["max_length"]
    return loop(network, optimizer, loss, args, (rows, length, VOCAB.size))


def litgpt(args: argparse.Namespace) -> float:
    """litgpt's GPT. Its package is entered past __init__, which wants packages we do without."""
    package = types.ModuleType("litgpt")
    package.__path__ = [str(Path(os.environ["LITGPT"], "litgpt"))]
    sys.modules["litgpt"] = package
    sizes = Sizes()
    config = importlib.import_module("litgpt.config").Config(
        n_layer=sizes.num_layers,
        n_embd=sizes.d_model,
        n_head=sizes.num_heads,
        block_size=sizes.length,
        padded_vocab_size=sizes.vocab_size,
        intermediate_size=4 * sizes.d_model,
        parallel_residual=False,
        bias=False,
    )
    network = importlib.import_module("litgpt.model").GPT(config).to(DEVICE)
    network.max_seq_length = sizes.length
    optimizer = torch.optim.AdamW(network.parameters(), lr=1.0e-3, weight_decay=0.1, fused=True)
    cross_entropy = importlib.import_module("litgpt.utils").chunked_cross_entropy

    def loss(inputs: Tensor, labels: Tensor) -> Tensor:
        value: Tensor = cross_entropy(network(inputs), labels, chunk_size=0)
        return value

    return loop(network, optimizer, loss, args, (sizes.rows, sizes.length, sizes.vocab_size))


def huggingface(args: argparse.Namespace) -> float:
    """Hugging Face's Trainer on GPT2LMHeadModel, as its documentation uses it."""
    from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback
    from transformers import TrainingArguments as Arguments

    sizes, clock = Sizes(), Clock(args.warmup, args.steps)
    config = GPT2Config(
        vocab_size=sizes.vocab_size,
        n_positions=sizes.length,
        n_embd=sizes.d_model,
        n_layer=sizes.num_layers,
        n_head=sizes.num_heads,
        activation_function="gelu",
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        use_cache=False,
    )

    class Ticks(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock.tick()

    total = args.warmup + args.steps
    ids = torch.randint(7, sizes.vocab_size, (total * sizes.rows, sizes.length))
    arguments = Arguments(
        output_dir=args.folder,
        per_device_train_batch_size=sizes.rows,
        max_steps=total,
        learning_rate=1.0e-3,
        weight_decay=0.1,
        bf16=args.precision == "bf16",
        use_cpu=DEVICE == "cpu",
        logging_steps=10,
        save_strategy="no",
        report_to="none",
    )
    examples: Any = [{"input_ids": row, "labels": row} for row in ids]
    trainer = Trainer(GPT2LMHeadModel(config), arguments, train_dataset=examples)
    trainer.add_callback(Ticks())
    trainer.train()
    return args.steps * sizes.rows * sizes.length / clock.seconds


def ceiling(args: argparse.Namespace) -> float:
    """FLOP/s of a product of two 2,048 x 2,048 matrices: the median of two seconds of them."""
    dtype = torch.bfloat16 if args.precision == "bf16" else torch.float32
    left, right = torch.randn(2, 2_048, 2_048, device=DEVICE).to(dtype)
    seconds, ends = [], time.perf_counter() + 2.0
    while time.perf_counter() < ends:
        began = time.perf_counter()
        (left @ right)[0, 0].item()
        seconds.append(time.perf_counter() - began)
    return 2 * 2_048**3 / statistics.median(seconds)


def main() -> None:
    """Run one program."""
    programs = (bare, plain_lstm, litgpt, huggingface, ceiling)
    by_name = {program.__name__: program for program in programs}
    parser = argparse.ArgumentParser()
    parser.add_argument("program", choices=by_name)
    parser.add_argument("--precision", choices=("bf16", "float32"), default="bf16")
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--vocab_size", type=int, default=VOCAB.size)
    parser.add_argument("--folder", default=".")
    parser.add_argument("--overrides", nargs="*", default=[])
    args = parser.parse_args()
    torch.manual_seed(0)
    print(json.dumps({"per_second": by_name[args.program](args)}))


if __name__ == "__main__":
    main()
