"""The plan of batches of pairs: which pairs each step reads, a pure function of (seed, epoch).

Pairs of equal lengths stand side by side, so that little is padded. As in batch_plan, steps are
cut first and micro-batches out of them: neither their number nor the number of ranks changes what a
step learns from.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]  # numbers of pairs


class Lengths(NamedTuple):
    """Tokens of each pair, its ends included: parallel arrays of int64 (N,)."""

    source: NDArray[np.int64]
    target: NDArray[np.int64]


class BucketPlan:
    """Steps of pairs of similar length.

    Pairs are sorted by the longer of their lengths, then by the difference of both; those of equal
    lengths are shuffled anew each epoch. A step is a stretch of that order, and steps are shuffled
    too. Where steps are cut depends on the lengths alone: every epoch has the same few shapes.

    Args:
        lengths: of the pairs.
        batch_size: pairs of a step, over all micro-batches and ranks; or
        batch_tokens: tokens of either side of a step, padding included, at most: of a pair that is
            longer by itself a step of its own is made.
        micro_batches: in how many parts a step is cut, as evenly as possible.
        seed: of the order.

    Raises:
        ValueError: not exactly one of batch_size and batch_tokens is given.
    """

    def __init__(
        self,
        lengths: Lengths,
        *,
        batch_size: int | None,
        batch_tokens: int | None,
        micro_batches: int,
        seed: int,
    ) -> None:
        if (batch_size is None) == (batch_tokens is None):
            raise ValueError(
                f"data.batch_size={batch_size} and data.batch_tokens={batch_tokens}: "
                "give exactly one of them, the other is null"
            )
        order = _sorted(lengths)
        longest = np.maximum(*lengths)[order]
        if batch_tokens is not None:
            self._cuts = _cut_by_tokens(longest, batch_tokens)
        else:
            self._cuts = np.arange(0, len(order), batch_size)
        self.steps_per_epoch = len(self._cuts)
        self._lengths = lengths
        self._micro_batches = micro_batches
        self._seed = seed
        self._drawn: tuple[int, Rows, Rows] | None = None  # epoch, pairs, order of the steps

    def step(self, epoch: int, step: int) -> list[Rows]:
        """Pairs of every micro-batch, shorter ones first; one without pairs is an empty array."""
        if self._drawn is None or self._drawn[0] != epoch:
            generator = np.random.default_rng([self._seed, epoch])
            shuffled = generator.permutation(len(self._lengths.target))
            pairs = shuffled[_sorted(Lengths(*(side[shuffled] for side in self._lengths)))]
            self._drawn = epoch, pairs, generator.permutation(self.steps_per_epoch)
        _, pairs, order = self._drawn
        number = order[step]
        end = self._cuts[number + 1] if number + 1 < len(self._cuts) else len(pairs)
        return np.array_split(pairs[self._cuts[number] : end], self._micro_batches)

    def padding(self) -> float:
        """Share of padding among the tokens of both sides of an epoch, in [0, 1)."""
        steps = np.split(_sorted(self._lengths), self._cuts[1:])
        return padding_share(self._lengths, steps, self._micro_batches)

    def random_padding(self) -> float:
        """The same, if as many pairs a step were drawn from all lengths."""
        shuffled = np.random.default_rng(self._seed).permutation(len(self._lengths.target))
        steps = np.array_split(shuffled, self.steps_per_epoch)
        return padding_share(self._lengths, steps, self._micro_batches)


def _sorted(lengths: Lengths) -> Rows:
    """By the longer side, then by which side it is and how much shorter the other.

    The second order rises and falls in turn, so that no step pads from one extreme to the other.
    On Multi30k with 4,096 tokens a step 3.4% are padding; sorted by the target first, 5.0%.
    """
    longer = np.maximum(*lengths)
    difference = lengths.source - lengths.target
    turns = np.where(longer % 2 == 0, difference, -difference)
    return np.lexsort((turns, longer))  # by the last key first; stable


def _cut_by_tokens(longest: NDArray[np.int64], budget: int) -> NDArray[np.int64]:
    """Where steps begin, if rows times the longest of them may be `budget`.

    Args:
        longest: (N,) the longer side of each pair, in the order that is cut.
        budget: in tokens.
    """
    cuts = [0]
    while (begin := cuts[-1]) < len(longest):
        most = max(1, budget // int(longest[begin]))
        running = np.maximum.accumulate(longest[begin : begin + most])
        fits = running * np.arange(1, len(running) + 1) <= budget
        rows = len(fits) if fits.all() else max(1, int(fits.argmin()))
        cuts.append(begin + rows)
    return np.array(cuts[:-1], dtype=np.int64)


def padding_share(lengths: Lengths, steps: list[Rows], micro_batches: int) -> float:
    """Share of padding in steps that are each cut into micro-batches."""
    real = padded = 0
    for step in steps:
        for rows in np.array_split(step, micro_batches):
            for side in lengths:
                if len(rows):
                    real += int(side[rows].sum())
                    padded += len(rows) * int(side[rows].max())
    return 1 - real / padded if padded else 0.0


class PairScoringPlan:
    """Every pair once, longest first: padding is small and memory fails early.

    Args:
        lengths: of the pairs.
        batch_size: pairs of a batch.
    """

    def __init__(self, lengths: Lengths, batch_size: int) -> None:
        order = _sorted(lengths)[::-1]
        cuts = range(0, len(order), batch_size)
        self._batches = [order[cut : cut + batch_size] for cut in cuts]

    def batches(self) -> list[Rows]:
        """Pairs of each batch."""
        return self._batches
