"""Recurrent language models: RNN (Elman 1990), LSTM (Zaremba et al. 2014), GRU (Cho et al. 2014).

Shapes: B rows, T tokens, L layers, D model width, V vocabulary, S segments, n new tokens.
"""

from dataclasses import asdict, dataclass
from functools import partial
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

from lmexp.networks.interface import Vocab
from lmexp.networks.layers import Dropout, LockedDropout
from lmexp.networks.segments import Segments

Cell = Literal["rnn", "lstm", "gru"]
CellState = tuple[Tensor, ...]  # of each layer: (L, B, D), hidden and, of an LSTM, cell


@dataclass(frozen=True)
class Recurrent:
    """Sizes of a recurrent network.

    Args:
        cell: rnn (tanh), lstm or gru, as in torch.nn.
        d_model: D, width of embeddings and of every layer.
        num_layers: L.
        dropout: on the embeddings, between layers and before the output; never from one time step
            to the next (Zaremba et al. 2014).
        variational: one mask a sequence (Gal & Ghahramani 2016) instead of one a token.
        tied: the output layer shares the embedding's matrix (Press & Wolf 2017).
    """

    carries_state: ClassVar[bool] = True

    cell: Cell
    d_model: Annotated[int, Gt(0)]
    num_layers: Annotated[int, Gt(0)]
    dropout: Annotated[float, Ge(0), Lt(1)]
    variational: bool
    tied: bool

    def decoder(self, vocab: Vocab) -> "RecurrentDecoder":
        """A language model: each token from those before it."""
        return RecurrentDecoder(vocab.size, **asdict(self))


class RecurrentDecoder(nn.Module):
    """Embedding, stacked recurrent layers, output layer.

    Args:
        vocab_size: V.
        cell: rnn, lstm or gru.
        d_model: D.
        num_layers: L.
        dropout: in [0, 1).
        variational: one dropout mask a sequence.
        tied: the output layer shares the embedding's matrix.
    """

    def __init__(
        self,
        vocab_size: int,
        cell: Cell,
        d_model: int,
        num_layers: int,
        dropout: float,
        variational: bool,
        tied: bool,
    ) -> None:
        super().__init__()
        kind = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[cell]
        self.embed = nn.Embedding(vocab_size, d_model)
        self.dropout = LockedDropout(dropout) if variational else Dropout(dropout)
        self.layers = nn.ModuleList(
            kind(d_model, d_model, batch_first=True) for _ in range(num_layers)
        )
        self.output = nn.Linear(d_model, vocab_size, bias=False)
        if tied:
            self.output.weight = self.embed.weight
        self.num_states = 2 if cell == "lstm" else 1
        self._initialise()

    def _initialise(self) -> None:
        """U(-0.1, 0.1) for the vocabulary (Zaremba et al. 2014), torch's U(-1/sqrt(D), 1/sqrt(D))
        for the layers, 0 for biases but 1 for an LSTM's forget gate (Jozefowicz et al. 2015)."""
        for weight in (self.embed.weight, self.output.weight):
            nn.init.uniform_(weight, -0.1, 0.1)
        for name, parameter in self.layers.named_parameters():
            if "bias" in name:
                nn.init.zeros_(parameter)
            if "bias_ih" in name and self.num_states == 2:  # gates: input, forget, cell, output
                nn.init.ones_(parameter.chunk(4)[1])

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        document_ids: Tensor | None = None,
    ) -> Tensor:
        """(B, T) token ids -> (B, T, V) logits; position t sees ids 0..t of its document."""
        logits: Tensor = self.output(self.hidden(input_ids, attention_mask, document_ids))
        return logits

    def hidden(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        document_ids: Tensor | None = None,
    ) -> Tensor:
        """(B, T) token ids -> (B, T, D), what the output layer reads.

        attention_mask is accepted and unused: padding is on the right, where no earlier position
        can see it.
        """
        return self.hidden_carried(input_ids, None, document_ids)[0]

    def hidden_carried(
        self, input_ids: Tensor, state: CellState | None, document_ids: Tensor | None = None
    ) -> tuple[Tensor, CellState]:
        """(B, T) ids -> (B, T, D) and the state after the last column; None starts from zero.

        Where document_ids changes along a row the state starts from zero again; column 0 goes on
        from `state`. States are (L, B, D), in the dtype of the weights, not detached.
        """
        segments = None if document_ids is None else Segments.of_documents(document_ids)
        return self._run(input_ids, state or (), segments)

    def start(self, memory: None = None) -> CellState:
        """The state before the first token."""
        return ()

    def step(
        self, ids: Tensor, state: CellState, attention_mask: Tensor | None = None
    ) -> tuple[Tensor, CellState]:
        """(B, n) more token ids -> (B, V) logits after each row's last real one, and the state."""
        if attention_mask is None or bool(attention_mask.all()):
            x, state = self._run(ids, state, None)
            x = x[:, -1]
        else:
            lengths = attention_mask.sum(dim=1)
            x, state = self._run(ids, state, Segments.of_lengths(lengths, ids.shape[1]))
            x = x[torch.arange(len(ids), device=ids.device), (lengths - 1).clamp(min=0)]
        logits: Tensor = self.output(x)
        return logits, state

    def reorder(self, state: CellState, rows: Tensor) -> CellState:
        """The state of the given rows (R,) int64; repeats allowed."""
        return tuple(part.index_select(1, rows) for part in state)

    def _run(
        self, ids: Tensor, state: CellState, segments: Segments | None
    ) -> tuple[Tensor, CellState]:
        """(B, T) ids, state () or (L, B, D) each -> (B, T, D) and the state after each row."""
        dtype = self.embed.weight.dtype
        x = self.dropout(self.embed(ids))
        after: list[CellState] = []
        for index, layer in enumerate(self.layers):
            before = tuple(part[index] for part in state) or (
                x.new_zeros(self.num_states, *x[:, 0].shape, dtype=dtype).unbind()
            )
            if segments is None:
                x, last = _run_layer(layer, x, before)
            else:
                x, last = segments.run(partial(_run_layer, layer), x, before)
            x = self.dropout(x)
            after.append(tuple(part.to(dtype) for part in last))
        return x, tuple(torch.stack(parts) for parts in zip(*after, strict=True))


def _run_layer(layer: nn.Module, x: Tensor, state: CellState) -> tuple[Tensor, CellState]:
    """(B, T, D), one (B, D) or two -> (B, T, D), as many after the last column."""
    if _stays_float32(layer, x.device):
        with torch.autocast("cpu", enabled=False):
            return _read(layer, x.float(), state)
    return _read(layer, x, state)


def _read(layer: nn.Module, x: Tensor, state: CellState) -> tuple[Tensor, CellState]:
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
