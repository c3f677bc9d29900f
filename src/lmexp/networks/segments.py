"""Stacked recurrent layers, and rows of several documents, each read from a fresh state.

Shapes: B rows, T tokens, L layers, D model width, S segments (stretches of a row that are read on
end).
"""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from operator import neg
from typing import Literal

import torch
from torch import Tensor, nn

Cell = Literal["rnn", "lstm", "gru"]
State = tuple[Tensor, ...]  # hidden and, of an LSTM, cell
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


def make_layer(cell: Cell, d_input: int, d_model: int) -> nn.RNNBase:
    """One of torch's layers, of one direction, that reads (B, T, d_input)."""
    kinds = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
    layer: nn.RNNBase = kinds[cell](d_input, d_model, batch_first=True)
    return layer


def run_layers(
    layers: nn.ModuleList, x: Tensor, state: State, segments: Segments | None, between: nn.Module
) -> tuple[Tensor, State]:
    """Read rows with one layer after another.

    Args:
        layers: L, from make_layer.
        x: (B, T, D).
        state: (L, B, D) each, before column 0; (): zeros.
        segments: None: each row is read on end.
        between: what stands between layers.

    Returns:
        (B, T, D), and the state after each row, in the dtype of the weights.
    """
    after: list[State] = []
    for index, layer in enumerate(layers):
        dtype = next(layer.parameters()).dtype
        if index:
            x = between(x)
        before = tuple(part[index] for part in state) or (
            x.new_zeros(count_states(layer), *x[:, 0].shape, dtype=dtype).unbind()
        )
        if segments is None:
            x, last = run_layer(layer, x, before)
        else:
            x, last = segments.run(partial(run_layer, layer), x, before)
        after.append(tuple(part.to(dtype) for part in last))
    return x, tuple(torch.stack(parts) for parts in zip(*after, strict=True))


def run_layer(layer: nn.Module, x: Tensor, state: State) -> tuple[Tensor, State]:
    """(B, T, D), one (B, D) or two -> (B, T, D), as many after the last column."""
    if _stays_float32(layer, x.device):
        with torch.autocast("cpu", enabled=False):
            return _read(layer, x.float(), state)
    return _read(layer, x, state)


def count_states(layer: nn.Module) -> int:
    """Tensors that a layer carries from step to step."""
    return 2 if isinstance(layer, nn.LSTM) else 1


def initialise_biases(layer: nn.Module) -> None:
    """0, but 1 for an LSTM's forget gate (Jozefowicz et al. 2015)."""
    for name, parameter in layer.named_parameters():
        if "bias" in name:
            nn.init.zeros_(parameter)
        if "bias_ih" in name and isinstance(layer, nn.LSTM):  # gates: input, forget, cell, output
            nn.init.ones_(parameter.chunk(4)[1])


def _read(layer: nn.Module, x: Tensor, state: State) -> tuple[Tensor, State]:
    hidden, *cell = (part.unsqueeze(0) for part in state)
    x, after = layer(x, (hidden, *cell) if cell else hidden)
    return x, tuple(part.squeeze(0) for part in (after if cell else (after,)))


def _stays_float32(layer: nn.Module, device: torch.device) -> bool:
    """Whether autocast would ask oneDNN for an LSTM that it has not: bfloat16 on an older CPU."""
    return (
        device.type == "cpu"
        and isinstance(layer, nn.LSTM)
        and torch.is_autocast_enabled("cpu")
        and torch._C._has_mkldnn
        and not torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )
