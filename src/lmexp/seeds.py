"""Seeds as pure functions of where a run stands, so that a kill or a logger cannot shift them."""

from collections.abc import Callable

import torch

_MASK = (1 << 64) - 1


def mixed_seed(*parts: int) -> int:
    """One 63-bit seed out of several integers, their order included.

    Each part is absorbed by a splitmix64 round (Steele et al. 2014, figure 17).
    """
    value = 0
    for part in parts:
        value = (value + part + 0x9E3779B97F4A7C15) & _MASK
        value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
        value ^= value >> 31
    return value >> 1


def seed_torch(*parts: int) -> None:
    """Seed torch's generators, those of devices in use included, from the given integers.

    torch.manual_seed would do it too; of devices not in use it keeps the call, with its traceback,
    until they are: 0.3 ms from a shallow stack, more from a deep one, and memory never freed.
    """
    seed = mixed_seed(*parts)
    torch.default_generator.manual_seed(seed)
    is_in_use: Callable[[], bool] = torch.cuda.is_initialized
    if is_in_use():
        torch.cuda.manual_seed_all(seed)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)
