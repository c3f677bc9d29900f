"""How a network reads the rows that are generated: step by step, or all of them again each time.

Shapes: B rows, T tokens of the longest row, D model width.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from lmexp.networks.interface import Decoder, Memory, StepDecoder


class Windows:
    """The newest tokens of each row: all that the network sees of it.

    A network of learned positions reads at most `max_length` tokens. A row that outgrows them goes
    on with its newest half, read again at positions from 0 up, until that has grown to max_length:
    each new token then costs one more on average, in a batch as many as there are lengths. nanoGPT
    keeps max_length tokens instead and reads them all for every new token. What is seen is a
    function of the row's own length.

    Args:
        prompts: ids of each row; of a longer one the newest max_length are seen.
        max_length: of the network; None: any number.
    """

    def __init__(self, prompts: Sequence[Sequence[int]], max_length: int | None) -> None:
        self.max_length = max_length
        first = 0 if max_length is None else -max_length
        self.rows = [list(prompt[first:]) for prompt in prompts]

    def append(self, ids: Sequence[int]) -> bool:
        """One more token for every row; whether one of them has begun a new window."""
        for row, token_id in zip(self.rows, ids, strict=True):
            row.append(token_id)
        if self.max_length is None:
            return False
        full = [row for row in self.rows if len(row) > self.max_length]
        for row in full:
            del row[: -max(1, self.max_length // 2)]
        return bool(full)

    def padded(self, pad_id: int) -> tuple[Tensor, Tensor]:
        """(B, T) int64 on the CPU, padded on the right, and the (B,) lengths."""
        lengths = torch.tensor([len(row) for row in self.rows])
        ids = torch.full((len(self.rows), int(lengths.max())), pad_id)
        for line, row in zip(ids, self.rows, strict=True):
            line[: len(row)] = torch.tensor(row)
        return ids, lengths


class Reader(Protocol):
    """Gives the logits after each row, (B, V)."""

    def read(self) -> Tensor:
        """After the prompts."""
        ...

    def read_next(self, ids: Tensor) -> Tensor:
        """After one more token a row, (B,)."""
        ...


class StepReader:
    """Each token is read once, into the network's own state: a cache, or what a cell carries.

    Args:
        network: what reads.
        windows: of the rows, with their prompts.
        pad_id: fills shorter rows.
        memory: what an encoder left of the source of each row, or a point of a latent space, (Z,),
            for each; None: there is none.
    """

    def __init__(
        self,
        network: StepDecoder,
        windows: Windows,
        pad_id: int,
        memory: Memory | Tensor | None = None,
    ) -> None:
        self.network, self.windows, self.pad_id, self.memory = network, windows, pad_id, memory
        self.device = network.output.weight.device

    def read(self) -> Tensor:
        """After the rows as they stand, from an empty state."""
        ids, lengths = self.windows.padded(self.pad_id)
        mask = None  # the fast path of the networks
        if lengths.min() < ids.shape[1]:
            mask = (torch.arange(ids.shape[1]) < lengths[:, None]).to(self.device)
        state = self.network.start(self.memory)
        logits, self.state = self.network.step(ids.to(self.device), state, mask)
        return logits

    def read_next(self, ids: Tensor) -> Tensor:
        """After one more token a row; where a window is new all rows are read again."""
        if self.windows.append(ids.tolist()):
            return self.read()
        logits, self.state = self.network.step(ids[:, None], self.state)
        return logits


class WholeReader:
    """A forward pass over the whole window for every token: the reference for StepReader.

    Args:
        network: what reads.
        windows: of the rows, with their prompts.
        pad_id: fills shorter rows.
    """

    def __init__(self, network: Decoder, windows: Windows, pad_id: int) -> None:
        self.network, self.windows, self.pad_id = network, windows, pad_id
        self.device = network.output.weight.device

    def read(self) -> Tensor:
        """After the rows as they stand."""
        ids, lengths = (tensor.to(self.device) for tensor in self.windows.padded(self.pad_id))
        mask = torch.arange(ids.shape[1], device=self.device) < lengths[:, None]
        hidden = self.network.hidden(ids, mask)  # (B, T, D)
        rows = torch.arange(len(hidden), device=self.device)
        logits: Tensor = self.network.output(hidden[rows, lengths - 1])
        return logits

    def read_next(self, ids: Tensor) -> Tensor:
        """After one more token a row."""
        self.windows.append(ids.tolist())
        return self.read()
