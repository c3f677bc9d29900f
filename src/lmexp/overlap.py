"""Exact overlap between the splits of a corpus, by 64-bit hashes."""

import json
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from lmexp.atomic import write_atomically
from lmexp.cache import locked

_BLOCK_HASHES = 1_000_000  # compared at once


class Hashed(Protocol):
    """A store, of text or of pairs."""

    folder: Path
    line_hashes: NDArray[np.uint64]  # of pairs: of the sources
    document_hashes: NDArray[np.uint64]  # of pairs: of both sides


class Overlap(NamedTuple):
    """What of one split occurs, exactly, in the training split too."""

    lines: int  # not blank, each occurrence counted
    documents: int


def cached_overlap(part: Hashed, train: Hashed) -> Overlap:
    """overlap(part, train), computed once: kept beside the counts of part."""
    path = part.folder / f"overlap-{train.folder.name}.json"
    with locked(path):
        if not path.exists():
            write_atomically(path, json.dumps(overlap(part, train)))
    return Overlap(*json.loads(path.read_text(encoding="utf-8")))


def overlap(part: Hashed, train: Hashed) -> Overlap:
    """Exact overlap of a smaller split with the training split, by 64-bit hashes.

    Reads the hashes of train block by block: memory is 17 bytes a line (or document) of part, and
    16 MB.
    """
    return Overlap(
        lines=_occurring(part.line_hashes, train.line_hashes),
        documents=_occurring(part.document_hashes, train.document_hashes),
    )


def _occurring(part: NDArray[np.uint64], train: NDArray[np.uint64]) -> int:
    wanted, times = np.unique(part, return_counts=True)
    found = np.zeros(len(wanted), dtype=bool)
    for begin in range(0, len(train) if len(wanted) else 0, _BLOCK_HASHES):
        block = train[begin : begin + _BLOCK_HASHES]
        places = np.minimum(np.searchsorted(wanted, block), len(wanted) - 1)
        found[places[wanted[places] == block]] = True
    return int(times[found].sum())
