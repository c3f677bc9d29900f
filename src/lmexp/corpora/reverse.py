"""Sequences of integers and the same backwards: pairs that a network can learn in a minute."""

import functools
import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterator
from typing import Annotated

from annotated_types import Ge, Gt

from lmexp.corpora.piece import Pair, Split


class Reverse:
    """The source is integers with spaces between, such as 3 17 5, the target the same backwards.

    Every length is as likely as any other, as long as there are enough sequences of it. No source
    is there twice, in one split or in two. val and test do not change with `size`.

    Args:
        size: pairs to train on.
        min_length: integers in a sequence, at least.
        max_length: at most.
        vocabulary: different integers, from 0.
        seed: of the draws.
        val_size: pairs to validate on; 0 for no such split.
        test_size: pairs to test on; 0 for no such split.
        root: data.root, which has to be None: there are no files to look for.

    `pairs(split)` streams; see lmexp.corpora for `splits`, `languages`, `counts`, `fingerprint()`
    and `source`.

    Raises:
        ValueError: a root is given, the lengths are in the wrong order, or there are not twice as
            many different sequences as are wanted.
    """

    languages: tuple[str | None, str | None] = (None, None)
    is_tokenised = False
    source = "sequences of integers, drawn by lmexp"

    def __init__(
        self,
        size: Annotated[int, Gt(0)],
        min_length: Annotated[int, Gt(0)],
        max_length: Annotated[int, Gt(0)],
        vocabulary: Annotated[int, Gt(0)],
        seed: int,
        val_size: Annotated[int, Ge(0)],
        test_size: Annotated[int, Ge(0)],
        root: str | None = None,
    ) -> None:
        if root is not None:
            raise ValueError(
                f"data.root={root}: data=reverse is made by a program and has no files: leave "
                "data.root out, or write data=parallel data.train=…"
            )
        if min_length > max_length:
            raise ValueError(
                f"data.min_length={min_length} is more than max_length={max_length}: write "
                f"data.max_length={min_length} or more"
            )
        wanted = size + val_size + test_size
        if wanted * 2 > vocabulary**max_length:  # the longest alone: draws must not take for ever
            raise ValueError(
                f"{wanted} different sequences are wanted (size, val_size and test_size), but of "
                f"max_length={max_length} integers out of vocabulary={vocabulary} there are "
                f"{vocabulary**max_length}, and half of them can be had: raise max_length or "
                "vocabulary, or lower data.size"
            )
        self._lengths, self._vocabulary, self._seed = (min_length, max_length), vocabulary, seed
        self._sizes: dict[Split, int] = {"val": val_size, "test": test_size, "train": size}
        self.counts: Counter[str] = Counter()

    @property
    def splits(self) -> tuple[Split, ...]:
        """Those that have pairs."""
        names: tuple[Split, ...] = ("train", "val", "test")
        return tuple(name for name in names if self._sizes[name])

    def fingerprint(self) -> str:
        """Hash of all sources, by split."""
        return hashlib.sha256(json.dumps(self._all, sort_keys=True).encode()).hexdigest()

    def pairs(self, split: Split) -> Iterator[Pair]:
        """The pairs of a split; none of a split that is missing."""
        for source in self._all[split]:
            yield Pair(source, " ".join(reversed(source.split(" "))))

    @functools.cached_property
    def _all(self) -> dict[Split, list[str]]:
        """The sources of each split."""
        generator = random.Random(self._seed)
        lengths, numbers = range(self._lengths[0], self._lengths[1] + 1), range(self._vocabulary)
        drawn: dict[str, None] = {}
        wanted = sum(self._sizes.values())
        while len(drawn) < wanted:
            length = generator.choice(lengths)
            drawn[" ".join(map(str, generator.choices(numbers, k=length)))] = None
        sources = iter(drawn)
        return {split: [next(sources) for _ in range(size)] for split, size in self._sizes.items()}
