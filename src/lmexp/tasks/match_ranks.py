"""How well right candidates are found: where each stands among all, and figures of that.

Shapes: N queries, D width of a vector.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

RECALLS = (1, 10)  # candidates among which the right one has to be
BLOCK = 256  # texts read, or queries compared with all candidates, at once


def ranks_of(
    queries: Sequence[Tensor],
    keys: Sequence[tuple[int, ...]],
    candidates: dict[tuple[int, ...], Tensor],
) -> list[int]:
    """Where the right candidate of each query stands, from 1.

    Of candidates with equal scores the right one counts as the last.

    Args:
        queries: (D,) each.
        keys: of the right candidate of each.
        candidates: (D,) each, by key.
    """
    place = {key: number for number, key in enumerate(candidates)}
    matrix = torch.stack(list(candidates.values()))
    right = torch.tensor([place[key] for key in keys])
    found: list[int] = []
    for begin in range(0, len(queries), BLOCK):
        scores = torch.stack(list(queries[begin : begin + BLOCK])) @ matrix.T
        own = scores.gather(1, right[begin : begin + BLOCK, None])
        found += (scores >= own).sum(dim=1).tolist()
    return found


def shares(ranks: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """(N,) what `ranked` takes the means of, of each query."""
    recalls = {f"recall_at_{k}": (ranks <= k).astype(np.float64) for k in RECALLS}
    return {**recalls, "mrr": 1 / ranks}


def ranked(ranks: Sequence[int], candidates: int) -> dict[str, float]:
    """Recall among the first and the mean reciprocal rank (Voorhees 1999), in [0, 1].

    Args:
        ranks: from ranks_of.
        candidates: how many there were.
    """
    count = len(ranks)
    recalls = {f"recall_at_{k}": sum(rank <= k for rank in ranks) / count for k in RECALLS}
    mrr = sum(1 / rank for rank in ranks) / count
    return {**recalls, "mrr": mrr, "pairs": float(count), "candidates": float(candidates)}
