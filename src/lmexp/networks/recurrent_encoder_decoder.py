"""Recurrent encoder-decoder with attention (Bahdanau et al. 2015, Luong et al. 2015).

Shapes: B sequences, S source tokens, T target tokens, n new ones, L layers of each side, D model
width, V vocabulary.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from lmexp.networks.interface import Memory
from lmexp.networks.layers import Dropout, LockedDropout
from lmexp.networks.recurrent_encoder import BidirectionalLayer, mirrored
from lmexp.networks.recurrent_encoder_decoder_attention import Attention, SourceAttention
from lmexp.networks.segments import (
    Cell,
    Segments,
    count_states,
    initialise_biases,
    make_layer,
    run_layers,
)


class RecurrentState(NamedTuple):
    """What the decoder remembers between steps."""

    cells: tuple[Tensor, ...]  # (L, B, D), hidden and, of an LSTM, cell
    keys: Tensor  # (B, S, D), of the source
    memory: Memory  # the source
    sources: Tensor  # (B,) int64: which source each row reads


class RecurrentEncoderDecoder(nn.Module):
    """Bidirectional encoder, decoder with attention after its layers, output layer.

    Args:
        source_size: V of the source.
        target_size: V of the target.
        shares_embeddings: one matrix for both sides, which then have one vocabulary.
        attention: additive or dot.
        Others: those of Recurrent. tied: the output layer shares the target's embedding.
    """

    def __init__(
        self,
        source_size: int,
        target_size: int,
        shares_embeddings: bool,
        attention: Attention,
        cell: Cell,
        d_model: int,
        num_layers: int,
        dropout: float,
        variational: bool,
        tied: bool,
    ) -> None:
        super().__init__()
        self.target_embed = nn.Embedding(target_size, d_model)
        self.source_embed = self.target_embed
        if not shares_embeddings:
            self.source_embed = nn.Embedding(source_size, d_model)
        self.dropout = LockedDropout(dropout) if variational else Dropout(dropout)
        self.encoder_layers = nn.ModuleList(
            BidirectionalLayer(cell, d_model) for _ in range(num_layers)
        )
        self.decoder_layers = nn.ModuleList(
            make_layer(cell, d_model, d_model) for _ in range(num_layers)
        )
        num_states = count_states(self.decoder_layers[0])
        self.bridge = nn.Linear(d_model, num_states * num_layers * d_model)
        self.attention = SourceAttention(d_model, attention)
        self.output = nn.Linear(d_model, target_size, bias=False)
        if tied:
            self.output.weight = self.target_embed.weight
        self._initialise()

    def _initialise(self) -> None:
        """As RecurrentDecoder: U(-0.1, 0.1) for vocabularies, torch's own for other matrices."""
        for weight in (self.source_embed.weight, self.target_embed.weight, self.output.weight):
            nn.init.uniform_(weight, -0.1, 0.1)
        for layers in (self.encoder_layers, self.decoder_layers):
            for layer in layers.modules():
                if isinstance(layer, nn.RNNBase):
                    initialise_biases(layer)
        nn.init.zeros_(self.bridge.bias)

    def forward(self, source_ids: Tensor, source_mask: Tensor, target_ids: Tensor) -> Tensor:
        """(B, S) ids, (B, S) bool, (B, T) ids -> (B, T, V); position t sees target ids 0..t."""
        logits: Tensor = self.output(self.hidden(source_ids, source_mask, target_ids))
        return logits

    def hidden(self, source_ids: Tensor, source_mask: Tensor, target_ids: Tensor) -> Tensor:
        """(B, S) ids, (B, S) bool, (B, T) ids -> (B, T, D), what the output layer reads.

        Padding of the target is on the right, where no earlier position can see it.
        """
        memory = self.encode(source_ids, source_mask)
        x, _ = self._run(target_ids, self._first_cells(memory), None)
        keys = self.attention.key(memory.hidden)
        hidden: Tensor = self.dropout(self.attention(x, keys, *memory))
        return hidden

    def encode(self, source_ids: Tensor, source_mask: Tensor) -> Memory:
        """(B, S) ids and bool -> hidden states of the source; no token sees padding."""
        mirror = mirrored(source_mask)
        x = self.source_embed(source_ids)
        for layer in self.encoder_layers:
            x = layer(self.dropout(x), mirror)
        return Memory(x, source_mask)

    def cross_attention(
        self, source_ids: Tensor, source_mask: Tensor, target_ids: Tensor
    ) -> Tensor:
        """The arguments of forward -> (1, B, 1, T, S): where each target token looks.

        A row of weights sums up to 1. The axes of length 1 are a transformer's layers and heads.
        """
        memory = self.encode(source_ids, source_mask)
        x, _ = self._run(target_ids, self._first_cells(memory), None)
        weights = self.attention.weights(x, self.attention.key(memory.hidden), memory.mask)
        return weights[None, :, None]

    def start(self, memory: Memory) -> RecurrentState:
        """The state before the first token of the target."""
        rows = torch.arange(len(memory.mask), device=memory.mask.device)
        keys = self.attention.key(memory.hidden)
        return RecurrentState(self._first_cells(memory), keys, memory, rows)

    def step(
        self, ids: Tensor, state: RecurrentState, attention_mask: Tensor | None = None
    ) -> tuple[Tensor, RecurrentState]:
        """(B, n) more target ids -> (B, V) logits after each row's last real one, and the state."""
        if attention_mask is None or bool(attention_mask.all()):
            x, cells = self._run(ids, state.cells, None)
            x = x[:, -1:]
        else:
            lengths = attention_mask.sum(dim=1)
            x, cells = self._run(ids, state.cells, Segments.of_lengths(lengths, ids.shape[1]))
            rows = torch.arange(len(ids), device=ids.device)
            x = x[rows, (lengths - 1).clamp(min=0)].unsqueeze(1)
        x = self.attention(x, state.keys, *state.memory)
        logits: Tensor = self.output(self.dropout(x[:, 0]))
        return logits, state._replace(cells=cells)

    def reorder(self, state: RecurrentState, rows: Tensor) -> RecurrentState:
        """The state of the given rows (R,) int64; repeats allowed.

        What belongs to the source is copied only where rows change their source: the beams of a
        sentence among themselves do not.
        """
        cells = tuple(part.index_select(1, rows) for part in state.cells)
        sources = state.sources[rows]
        if torch.equal(sources, state.sources):
            return state._replace(cells=cells)
        memory = Memory(*(part.index_select(0, rows) for part in state.memory))
        return RecurrentState(cells, state.keys.index_select(0, rows), memory, sources)

    def _run(
        self, ids: Tensor, cells: tuple[Tensor, ...], segments: Segments | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """(B, T) target ids -> (B, T, D) states of the last layer, and all after each row."""
        x = self.dropout(self.target_embed(ids))
        return run_layers(self.decoder_layers, x, cells, segments, self.dropout)

    def _first_cells(self, memory: Memory) -> tuple[Tensor, ...]:
        """tanh(W s) for each layer (Bahdanau et al. 2015, appendix A.2.2), (L, B, D) each.

        s is what the encoder's last layer says at its end in either direction; the paper takes
        one of them.
        """
        batch, _, d_model = memory.hidden.shape
        width = d_model - d_model // 2
        last = (memory.mask.sum(dim=1) - 1).clamp(min=0)
        ahead = memory.hidden[torch.arange(batch, device=last.device), last, :width]
        back = memory.hidden[:, 0, width:]
        cells = torch.tanh(self.bridge(torch.cat([ahead, back], dim=-1)))
        cells = cells.to(self.bridge.weight.dtype)
        cells = cells.view(batch, -1, len(self.decoder_layers), d_model)
        return cells.permute(1, 2, 0, 3).contiguous().unbind()
