"""What this machine can do, and what a run therefore uses of it.

Every choice is returned with its reason, for the summary at the start of a run.
"""

import functools
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from lmexp.environment import usable_cores

Precision = Literal["auto", "32-true", "bf16-mixed", "bf16-true", "16-mixed"]
Accelerator = Literal["auto", "cpu", "gpu", "mps"]

# Dense products in bf16 or fp16, FLOP/s without sparsity, from NVIDIA's data sheets, by the name
# that the driver gives: cards of one letter and number differ by a third.
_PEAK_16_BITS = {
    "NVIDIA H200": 989e12,
    "NVIDIA H100 80GB HBM3": 989e12,  # SXM
    "NVIDIA H100 NVL": 835e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA A100-PCIE-40GB": 312e12,
    "NVIDIA A100 80GB PCIe": 312e12,
    "NVIDIA L40S": 362e12,
    "NVIDIA L40": 181e12,
    "NVIDIA L4": 121e12,
}
# Width of the square matrices that are multiplied, and products between two waits: waiting for a
# GPU takes as long as a small product.
_MEASURED = {"cpu": (1_024, 1), "cuda": (4_096, 4), "mps": (4_096, 4)}
_WAITS = 10  # the best of them counts; the first warms up


USED_SHARE = 0.5  # of the peak; see expected_seconds


@dataclass(frozen=True)
class Hardware:
    """What a run uses."""

    accelerator: str  # cpu, cuda or mps
    devices: int
    precision: str
    reason: str  # one line, for people


def has_bf16_instructions() -> bool:
    """Whether this CPU multiplies bfloat16 itself; where not it takes hundreds of times longer."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def has_fast_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 faster than float32.

    With AMX, or with AVX-512 by AMD. On an Intel Xeon that has avx512_bf16 without AMX, as virtual
    machines may show it, products in bfloat16 took 1.75 times as long (0.55 to 0.58 of the speed,
    sizes of 256 to 1,536, torch 2.13.0).
    """
    if torch.cpu._is_amx_tile_supported():
        return True
    return bool(torch.cpu._is_avx512_bf16_supported()) and cpu_vendor() != "GenuineIntel"


def cpu_vendor() -> str:
    """As the processor names its maker, "" where Linux does not say."""
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8", errors="replace")
    except OSError:
        return ""
    found = re.search(r"^vendor_id\s*: (\S+)", text, re.MULTILINE)
    return found[1] if found else ""


def choose(
    accelerator: Accelerator, devices: int | str, precision: Precision, *, uses_all: bool = False
) -> Hardware:
    """Resolve `auto`, and refuse what this machine does not have.

    Args:
        accelerator: auto takes a GPU where there is one.
        devices: of this machine.
        precision: auto takes 16 bits where the device multiplies them.
        uses_all: devices=auto means all GPUs, not one.

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
    if accelerator == "mps" and not torch.backends.mps.is_available():
        raise ValueError(
            f"trainer.accelerator=mps, and torch {torch.__version__} finds no Apple GPU here: "
            "use trainer=auto or trainer=cpu"
        )
    every = found if uses_all and accelerator == "gpu" else 1
    count = every if devices == "auto" else int(devices)
    if accelerator == "gpu" and count > found:
        raise ValueError(
            f"trainer.devices={count}, and torch finds {found} CUDA devices: "
            f"write trainer.devices={found}"
        )
    if accelerator == "mps" and count > 1:
        raise ValueError(f"trainer.devices={count}, and there is one Apple GPU: write 1")
    chosen, why = _choose_precision(accelerator, precision)
    name = torch.cuda.get_device_name(0) if accelerator == "gpu" else accelerator
    idle = found - count
    others = f", {idle} more left idle: trainer=ddp" if accelerator == "gpu" and idle > 0 else ""
    kind = {"gpu": "cuda"}.get(accelerator, accelerator)
    return Hardware(kind, count, chosen, f"{count} x {name}{others}; {chosen}: {why}")


def _choose_precision(accelerator: str, precision: Precision) -> tuple[str, str]:
    if accelerator == "cpu" and precision == "16-mixed":
        raise ValueError(
            "trainer.precision=16-mixed needs a GPU: on a CPU Lightning would quietly train in "
            "bf16-mixed; write trainer.precision=bf16-mixed or 32-true"
        )
    if precision != "auto":
        if accelerator == "cpu" and precision != "32-true" and not has_bf16_instructions():
            return (
                precision,
                "as asked, but this CPU has no bfloat16 instructions: 32-true is faster",
            )
        return precision, "as asked"
    if accelerator == "gpu":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16-mixed", "the GPU multiplies bfloat16"
        return "16-mixed", "the GPU has no bfloat16"
    if accelerator == "cpu" and has_fast_bf16():
        return "bf16-mixed", "the CPU multiplies bfloat16"
    if accelerator == "cpu" and has_bf16_instructions():
        return "32-true", "the CPU multiplies bfloat16 slower than float32"
    return "32-true", f"no bfloat16 instructions found on this {accelerator}"


def peak_flops(hardware: Hardware) -> float:
    """FLOP/s of a device in matrix products at the run's precision.

    From the data sheet for the GPUs listed above at 16 bits; measured with products of large square
    matrices everywhere else. Of a CPU without bfloat16 instructions always that of float32, which
    is the higher one.
    """
    dtypes = {"32-true": torch.float32, "16-mixed": torch.float16}
    dtype = dtypes.get(hardware.precision, torch.bfloat16)
    if hardware.accelerator == "cpu" and not has_bf16_instructions():
        dtype = torch.float32
    if hardware.accelerator == "cuda" and dtype != torch.float32:
        listed = _PEAK_16_BITS.get(torch.cuda.get_device_name(0))
        if listed is not None:
            return listed
    return _measured_flops(hardware.accelerator, dtype, torch.get_num_threads())


def peak_flops_of_all(hardware: Hardware) -> float:
    """That of all the devices of a machine; processes on a CPU share its cores."""
    shares = float(hardware.devices)
    if hardware.accelerator == "cpu":
        shares = min(shares, max(1.0, usable_cores() / torch.get_num_threads()))
    return shares * peak_flops(hardware)


@functools.cache
def _measured_flops(device: str, dtype: torch.dtype, threads: int) -> float:
    """FLOP/s of products of two square matrices on so many threads of torch.

    Takes less than a second, once in a process.
    """
    width, products = _MEASURED[device]
    numbers = torch.linspace(-1.0, 1.0, width * width, device=device)  # leaves the generators alone
    left = numbers.view(width, width).to(dtype)
    best = float("inf")
    for _ in range(_WAITS):
        start = time.perf_counter()
        for _ in range(products):
            product = left @ left
        product[0, 0].item()  # waits for a GPU
        best = min(best, time.perf_counter() - start)
    return 2 * width**3 * products / best


def expected_seconds(flops: float, peak: float) -> float:
    """Of so much training: at half of the peak, as transformers of a few million parameters reach.

    On two cores in float32 0.45 to 0.8 of it was seen (docs/benchmarks.md has the larger network);
    networks of a few thousand parameters stay far below.
    """
    return flops / (USED_SHARE * peak)


def autocast(device: str | torch.device, precision: str) -> torch.autocast:
    """The context of products in a mixed precision; of any other one that changes nothing."""
    kind = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(precision)
    return torch.autocast(torch.device(device).type, kind, enabled=kind is not None)
