"""What this machine can do, and what a run therefore uses of it.

Every choice is returned with its reason, for the summary at the start of a run.
"""

import time
from dataclasses import dataclass
from typing import Literal

import torch

Precision = Literal["auto", "32-true", "bf16-mixed", "bf16-true", "16-mixed"]
Accelerator = Literal["auto", "cpu", "gpu", "mps"]

# Dense bf16 matrix products, FLOP/s without sparsity, from the makers' data sheets.
_PEAK_BF16 = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12}


@dataclass(frozen=True)
class Hardware:
    """What a run uses."""

    accelerator: str  # cpu, cuda or mps
    devices: int
    precision: str
    reason: str  # one line, for people


def _has_bf16_instructions() -> bool:
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def choose(accelerator: Accelerator, devices: int | str, precision: Precision) -> Hardware:
    """Resolve `auto`, and refuse what this machine does not have.

    Raises:
        ValueError: an accelerator, a number of devices or a precision that is not there.
    """
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if accelerator == "auto":
        accelerator = "gpu" if found else "mps" if torch.backends.mps.is_available() else "cpu"
    if accelerator == "gpu" and not found:
        raise ValueError(
            "trainer.accelerator=gpu, and torch finds 0 CUDA devices here "
            f"(torch {torch.__version__}): use trainer=cpu, or install a CUDA build of torch"
        )
    count = 1 if devices == "auto" else int(devices)
    if accelerator == "gpu" and count > found:
        raise ValueError(
            f"trainer.devices={count}, and torch finds {found} CUDA devices: "
            f"write trainer.devices={found}"
        )
    if count > 1:
        raise ValueError(
            f"trainer.devices={count}: training on several devices is not built yet; "
            "write trainer.devices=1"
        )
    chosen, why = _choose_precision(accelerator, precision)
    name = torch.cuda.get_device_name(0) if accelerator == "gpu" else accelerator
    others = f", {found - 1} more left idle" if accelerator == "gpu" and found > 1 else ""
    kind = {"gpu": "cuda"}.get(accelerator, accelerator)
    return Hardware(kind, count, chosen, f"{count} x {name}{others}; {chosen}: {why}")


def _choose_precision(accelerator: str, precision: Precision) -> tuple[str, str]:
    if accelerator == "cpu" and precision == "16-mixed":
        raise ValueError(
            "trainer.precision=16-mixed needs a GPU: on a CPU Lightning would quietly train in "
            "bf16-mixed; write trainer.precision=bf16-mixed or 32-true"
        )
    if precision != "auto":
        if accelerator == "cpu" and precision != "32-true" and not _has_bf16_instructions():
            return (
                precision,
                "as asked, but this CPU has no bfloat16 instructions: 32-true is faster",
            )
        return precision, "as asked"
    if accelerator == "gpu":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16-mixed", "the GPU multiplies bfloat16"
        return "16-mixed", "the GPU has no bfloat16"
    if accelerator == "cpu" and _has_bf16_instructions():
        return "bf16-mixed", "the CPU multiplies bfloat16"
    return "32-true", f"no bfloat16 instructions found on this {accelerator}"


def peak_flops(hardware: Hardware) -> float:
    """FLOP/s of matrix products at the run's precision, the denominator of the utilisation.

    From the data sheet for the GPUs listed above at 16 bits; measured with a product of two
    1024 x 1024 matrices (the best of ten) everywhere else. Of a CPU without bfloat16 instructions
    always that of float32, which is the higher one.
    """
    reduced = hardware.precision != "32-true"
    if hardware.accelerator == "cpu" and not _has_bf16_instructions():
        reduced = False
    if hardware.accelerator == "cuda" and reduced:
        name = torch.cuda.get_device_name(0)
        for key, peak in _PEAK_BF16.items():
            if key in name:
                return peak
    dtype = torch.bfloat16 if reduced else torch.float32
    left = torch.ones(1024, 1024, dtype=dtype, device=hardware.accelerator)
    best = float("inf")
    for _ in range(10):
        start = time.perf_counter()
        (left @ left)[0, 0].item()
        best = min(best, time.perf_counter() - start)
    return float(2 * 1024**3 / best)
