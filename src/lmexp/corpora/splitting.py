"""How a text without an official split is cut into three: always in the same way."""

import hashlib
from typing import NamedTuple

from lmexp.corpora.piece import Split


class Fractions(NamedTuple):
    """Parts of the text that become val and test; the rest is train."""

    val: float
    test: float

    def check(self) -> None:
        """Raise ValueError if nothing is left to train on, or a part is negative."""
        if min(self) < 0 or sum(self) >= 1:
            raise ValueError(
                f"data.corpus.val_fraction={self.val} and test_fraction={self.test}: both are at "
                "least 0 and together less than 1, for example 0.05 and 0.05"
            )

    def bounds(self, size: int) -> tuple[int, int]:
        """Where val and where test begin in a text of `size` characters."""
        return int(size * round(1 - self.val - self.test, 9)), int(size * round(1 - self.test, 9))

    def of_position(self, position: int, size: int) -> Split:
        """The split that a position belongs to: train, then val, then test."""
        val, test = self.bounds(size)
        return "train" if position < val else "val" if position < test else "test"

    def of_key(self, key: bytes) -> Split:
        """The split of whatever has this key: equal keys, equal splits."""
        number = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little") / 2**64
        if number < self.test:
            return "test"
        return "val" if number < self.test + self.val else "train"
