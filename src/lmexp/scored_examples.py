"""Which examples the batches of an evaluation are of, and sums over the predictions of each.

Shapes: N examples, P predictions of a batch.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class ScoredExamples(NamedTuple):
    """The examples of a split, and those of the batches that this rank scores."""

    unit: str  # what an example is
    keys: NDArray[np.uint64]  # (N,) of what each one is, whatever the tokenizer
    of_batch: Callable[[int], NDArray[np.int64]]  # number of a batch -> the example of each of its
    # rows; of a language model's windows that of each prediction
    known: Mapping[str, NDArray[np.float64]] = {}  # statistics that are known beforehand


class ExampleSums:
    """Sums by example: 8 bytes for each example and name, on every rank.

    Args:
        examples: N.
        names: of what is added up.
    """

    def __init__(self, examples: int, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.table = np.zeros((len(names), examples))

    def add(self, examples: NDArray[np.int64], **values: Any) -> None:
        """Add what was found for some examples, of which one may occur often.

        Args:
            examples: (P,) their numbers.
            values: (P,) of each name, or a number.
        """
        for name, own in values.items():
            np.add.at(self.table[self.names.index(name)], examples, own)
