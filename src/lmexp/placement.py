"""Where a trained network runs when it is used, and in which precision."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import nn

PRECISIONS = ("32-true", "bf16-mixed", "bf16-true")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--device and --precision."""
    parser.add_argument(
        "--device", default="auto", help="auto (a GPU if there is one), cpu, cuda, cuda:1 or mps"
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default=PRECISIONS[0],
        help="float32 (default); bf16-mixed: products alone in bfloat16; bf16-true: weights too",
    )


def find_device(name: str) -> "torch.device":
    """The device of that name; auto is the first GPU, else the CPU.

    Raises:
        ValueError: no such device here.
    """
    import torch

    cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    has_mps = torch.backends.mps.is_available()
    here = ["cpu"] + ["mps"] * has_mps + ["cuda"] * bool(cuda) + [f"cuda:{n}" for n in range(cuda)]
    if name == "auto":
        name = "cuda" if cuda else "mps" if has_mps else "cpu"
    if name not in here:
        raise ValueError(f"--device {name}: torch {torch.__version__} finds {', '.join(here)} here")
    return torch.device(name)


def place(module: "nn.Module", device: str, precision: str) -> "torch.autocast":
    """Move a module to a device and dtype, in place; on a CPU cure the allocator as well.

    Returns:
        The context to run it in.
    """
    import torch

    from lmexp.cpu import cure_allocator

    target = find_device(device)
    if target.type == "cpu":
        cure_allocator()
    module.to(target, torch.bfloat16 if precision == "bf16-true" else None)
    return torch.autocast(target.type, torch.bfloat16, enabled=precision == "bf16-mixed")
