"""Rows of several documents through a recurrent layer, each document from a fresh state.

Shapes: B rows, T tokens, D model width, S segments (stretches of a row that are read on end).
"""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from operator import neg

import torch
from torch import Tensor

State = tuple[Tensor, ...]
Layer = Callable[[Tensor, State], tuple[Tensor, State]]  # (N, n, D), (N, D)s -> the same


@dataclass(frozen=True)
class Segments:
    """Segments of rows, longest first.

    They run side by side as one batch, which shrinks when the shorter ones end: no time step is
    spent on padding, and short documents need fewer time steps than the row has tokens.
    """

    rows: Tensor  # (S,) int64
    columns: Tensor  # (S,) int64, of the first token
    lengths: list[int]  # S, falling
    last: Tensor  # (B,) int64: which segment ends each row

    @classmethod
    def of_documents(cls, document_ids: Tensor) -> "Segments | None":
        """The documents of each row of (B, T) ids; None where each row holds one document."""
        batch, length = document_ids.shape
        starts = torch.ones_like(document_ids, dtype=torch.bool)
        starts[:, 1:] = document_ids[:, 1:] != document_ids[:, :-1]
        rows, columns = starts.nonzero(as_tuple=True)  # row by row
        if len(rows) == batch:
            return None
        places = rows * length + columns
        ends = torch.cat([places[1:], places.new_full((1,), batch * length)])
        return cls._sorted(rows, columns, ends - places, batch)

    @classmethod
    def of_lengths(cls, lengths: Tensor, length: int) -> "Segments":
        """The first lengths (B,) tokens of each row; those after them are padding."""
        rows = torch.arange(len(lengths), device=lengths.device)
        return cls._sorted(rows, torch.zeros_like(rows), lengths, len(lengths))

    @classmethod
    def _sorted(cls, rows: Tensor, columns: Tensor, lengths: Tensor, batch: int) -> "Segments":
        lengths, order = lengths.sort(descending=True, stable=True)
        rows, columns = rows[order], columns[order]
        ends = torch.zeros(batch, dtype=torch.int64, device=rows.device)
        final = columns == columns.new_zeros(batch).scatter_reduce(0, rows, columns, "amax")[rows]
        ends[rows[final]] = final.nonzero()[:, 0]
        return cls(rows, columns, lengths.tolist(), ends)

    def run(self, layer: Layer, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Read every segment from a state of zeros, those at column 0 from the given one.

        Args:
            layer: reads (N, n, D) from states of N rows.
            x: (B, T, D).
            state: tensors (B, D), of the rows before column 0.

        Returns:
            (B, T, D), 0 outside the segments, and the states after the last segment of each row.
        """
        begins = (self.columns == 0).unsqueeze(1)
        running = tuple(part[self.rows] * begins for part in state)
        flat = x.flatten(0, 1)
        first = self.rows * x.shape[1] + self.columns  # (S,) places in flat
        places, outputs, ended = [], [], []
        done = 0
        for end in sorted({length for length in self.lengths if length}):
            going = bisect_right(self.lengths, -end, key=neg)  # those at least this long
            ended.append(tuple(part[going:] for part in running))
            steps = torch.arange(done, end, device=x.device)
            place = first[:going, None] + steps  # (going, end - done)
            output, running = layer(flat[place], tuple(part[:going] for part in running))
            places.append(place.flatten())
            outputs.append(output.flatten(0, 1))
            done = end
        ended.append(running)
        after = tuple(torch.cat(parts[::-1]) for parts in zip(*ended, strict=True))
        output = torch.cat(outputs)
        y = output.new_zeros(flat.shape).index_copy(0, torch.cat(places), output)
        return y.view_as(x), tuple(part[self.last] for part in after)
