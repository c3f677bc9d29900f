"""The plan of batches: which tokens each step reads, a pure function of (seed, epoch).

A global order is cut into steps, a step into micro-batches, micro-batches are dealt to ranks. So
the position of a run is two integers, (epoch, step), and neither the number of micro-batches nor
the number of ranks changes what a step learns from.

A window of L tokens that starts at s reads tokens s..s+L-1 and predicts tokens s+1..s+L.
"""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Starts = NDArray[np.int64]  # where in the token stream each row of a micro-batch begins


class Plan(Protocol):
    """What a loader asks of a plan."""

    steps_per_epoch: int

    def step(self, epoch: int, step: int) -> list[Starts]:
        """Starts of every micro-batch of a step; one without rows is an empty array."""
        ...

    def width(self, step: int) -> int:
        """Tokens a row of this step reads."""
        ...

    def carries(self, step: int) -> bool:
        """True where each row goes on where the same row of the step before ended."""
        ...


class WindowPlan:
    """Shuffled windows of equal length: an offset and a permutation drawn per epoch.

    Every token is predicted once an epoch but for the ragged ends, fewer than 2 max_length tokens;
    the offset moves them, so that over the epochs every token is learnt in many contexts.

    Args:
        num_tokens: length of the token stream.
        max_length: tokens a window reads.
        batch_size: windows a step, over all micro-batches and ranks.
        micro_batches: in how many parts a step is cut, as evenly as possible.
        seed: of the order.

    Raises:
        ValueError: the stream is too short for one window, or for one step.
    """

    def __init__(
        self, num_tokens: int, max_length: int, batch_size: int, micro_batches: int, seed: int
    ) -> None:
        if num_tokens <= max_length:
            raise ValueError(
                f"{num_tokens:,} tokens of training text are shorter than one block of "
                f"max_length={max_length} and the token after it: "
                f"write data.max_length={max(1, (num_tokens - 1) // 2)} or give more text"
            )
        self.num_windows = max(1, (num_tokens - max_length) // max_length)
        if self.num_windows < batch_size:
            raise ValueError(
                f"{num_tokens:,} tokens of training text make {self.num_windows} blocks of "
                f"max_length={max_length}, fewer than the {batch_size} of one step: "
                f"write data.batch_size={self.num_windows} or data.batch_tokens="
                f"{self.num_windows * max_length}, a smaller data.max_length, "
                "or give more text"
            )
        self.steps_per_epoch = -(-self.num_windows // batch_size)
        self._max_length = max_length
        self._batch_size = batch_size
        self._micro_batches = micro_batches
        self._seed = seed
        self._spare = min(max_length - 1, num_tokens - 1 - self.num_windows * max_length)
        self._drawn: tuple[int, int, NDArray[np.uint32]] | None = None  # epoch, offset, order

    def step(self, epoch: int, step: int) -> list[Starts]:
        """Starts of every micro-batch; the last step of an epoch may be smaller."""
        if self._drawn is None or self._drawn[0] != epoch:
            generator = np.random.default_rng([self._seed, epoch])
            offset = int(generator.integers(self._spare + 1))
            order = np.arange(self.num_windows, dtype=np.uint32)  # 2^32 windows are 16 GB of order
            generator.shuffle(order)
            self._drawn = epoch, offset, order
        _, offset, order = self._drawn
        rows = order[step * self._batch_size : (step + 1) * self._batch_size].astype(np.int64)
        return np.array_split(offset + rows * self._max_length, self._micro_batches)

    def width(self, step: int) -> int:
        """max_length, in every step."""
        return self._max_length

    def carries(self, step: int) -> bool:
        """Never: windows are shuffled."""
        return False


class LanePlan:
    """Contiguous lanes: row r of each step goes on where row r of the step before ended.

    Truncated back-propagation through time (Zaremba et al. 2014, section 4): the stream is cut into
    `lanes` parts of equal length, read side by side. Fewer than `lanes` tokens are left over an
    epoch; which ones is drawn. The last step of an epoch may be narrower.

    Args:
        num_tokens: length of the token stream.
        max_length: tokens a row reads in a step.
        lanes: rows of every step; a property of the recipe, never of the number of ranks.
        micro_batches: in how many parts the lanes are cut, as evenly as possible.
        seed: of the offset.

    Raises:
        ValueError: a lane would be shorter than max_length.
    """

    def __init__(
        self, num_tokens: int, max_length: int, lanes: int, micro_batches: int, seed: int
    ) -> None:
        self.lane_length, self._spare = divmod(max(0, num_tokens - 1), lanes)
        if self.lane_length < max_length:
            shorter = max(1, self.lane_length)
            raise ValueError(
                f"{num_tokens:,} tokens of training text in {lanes} lanes are {self.lane_length} "
                f"tokens a lane, shorter than one block of max_length={max_length}: "
                f"write data.max_length={shorter}, a smaller data.batch_size, or give more text"
            )
        self.steps_per_epoch = -(-self.lane_length // max_length)
        self._max_length = max_length
        self._lanes = lanes
        self._micro_batches = micro_batches
        self._seed = seed

    def step(self, epoch: int, step: int) -> list[Starts]:
        """Starts of every micro-batch; a lane stays in its micro-batch and row."""
        offset = int(np.random.default_rng([self._seed, epoch]).integers(self._spare + 1))
        lanes = np.arange(self._lanes, dtype=np.int64) * self.lane_length
        return np.array_split(offset + lanes + step * self._max_length, self._micro_batches)

    def width(self, step: int) -> int:
        """max_length, or what is left of the lanes in the last step of an epoch."""
        return min(self._max_length, self.lane_length - step * self._max_length)

    def carries(self, step: int) -> bool:
        """False in the first step of an epoch."""
        return step > 0


def deal(micro_batches: list[Starts], rank: int, world_size: int) -> list[Starts]:
    """The micro-batches of one rank: number rank, rank + world_size, …

    Every rank gets as many; one with nothing left gets an empty micro-batch.
    """
    each = -(-len(micro_batches) // world_size)
    mine = micro_batches[rank::world_size]
    return mine + [np.empty(0, dtype=np.int64)] * (each - len(mine))


class Spans(NamedTuple):
    """Rows of an evaluation, as parallel arrays of int64 (B,)."""

    starts: Starts  # first token read
    lengths: Starts  # tokens read
    scored_from: Starts  # first position of the row whose prediction counts


class ScoringPlan:
    """Windows that predict each token of every document exactly once, its first one excepted.

    A window reads at most `context` tokens of one document; the next begins `stride` tokens later
    and scores only what the one before did not. With stride = context windows are disjoint; with a
    smaller one every token but a document's first has at least context - stride tokens before it.

    Args:
        document_starts: (documents,) first token of each, rising.
        num_tokens: end of the last document.
        context: tokens a window reads, at most.
        stride: tokens from one window to the next, at most context.
        batch_size: windows of a batch.
        carry: one window a batch, in document order, so that state can be carried from each to the
            next; otherwise longest first, so that padding is small and memory fails early.
    """

    def __init__(
        self,
        document_starts: Starts,
        num_tokens: int,
        context: int,
        stride: int,
        *,
        batch_size: int,
        carry: bool,
    ) -> None:
        predictions = np.diff(document_starts, append=num_tokens) - 1
        more = -(-np.maximum(predictions - context, 0) // stride)
        windows = np.where(predictions > 0, 1 + more, 0)
        self._document = np.repeat(np.arange(len(document_starts)), windows)
        number = np.arange(len(self._document)) - (np.cumsum(windows) - windows)[self._document]
        self._inside = number * stride  # tokens from the start of the document
        self._spans = Spans(
            starts=document_starts[self._document] + self._inside,
            lengths=np.minimum(context, predictions[self._document] - self._inside),
            scored_from=np.where(number > 0, context - stride, 0),
        )
        self._batch_size = batch_size
        self._carry = carry

    def batches(self, rank: int, world_size: int) -> list[Starts]:
        """Rows of each batch of one rank.

        Every rank gets as many batches, some perhaps without rows. With carry a document stays on
        one rank.
        """
        if not self._carry:
            order = np.lexsort((self._spans.starts, -self._spans.lengths))
            cuts = range(0, len(order), self._batch_size)
            return deal([order[cut : cut + self._batch_size] for cut in cuts], rank, world_size)
        owner = self._document % world_size
        mine = list(np.flatnonzero(owner == rank)[:, None])
        most = int(np.bincount(owner).max())
        return mine + [np.empty(0, dtype=np.int64)] * (most - len(mine))

    def spans(self, rows: Starts) -> Spans:
        """What to read for some rows."""
        return Spans(*(column[rows] for column in self._spans))

    def carries(self, rows: Starts) -> bool:
        """True where the batch before ended at the token that this one reads first."""
        return self._carry and bool(len(rows)) and bool(self._inside[rows[0]] > 0)
