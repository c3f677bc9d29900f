"""Transformer encoder-decoder (Vaswani et al. 2017): each token of a target from its source.

Shapes: B sequences, S source tokens, T target tokens, n new ones, D model width, H query heads, G
key and value heads, K = D / H, L layers of each side, V vocabulary.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lmexp.networks.attention import (
    TransformerLayer,
    cached_bias,
    first_gain,
    initialise,
    padding_bias,
)
from lmexp.networks.cache import KeyValueCache, LayerCache, cache_dtype
from lmexp.networks.interface import Memory
from lmexp.networks.layers import (
    Activation,
    Dropout,
    Norm,
    Positions,
    Rotation,
    make_norm,
    position_table,
    positioned,
    product_dtype,
)
from lmexp.networks.transformer_encoder_decoder_layers import CrossAttention, CrossLayer


class TransformerState(NamedTuple):
    """What the decoder remembers between steps."""

    cache: KeyValueCache  # of the target
    keys: tuple[Tensor, ...]  # of the source, for each layer: (B, G, S, K)
    values: tuple[Tensor, ...]  # of the source, for each layer: (B, G, S, K)
    bias: Tensor  # (B, 1, 1, S), hides the source's padding
    sources: Tensor  # (B,) int64: which source each row reads


class TransformerEncoderDecoder(nn.Module):
    """Encoder and decoder of L layers each, output layer.

    Args:
        source_size: V of the source.
        target_size: V of the target.
        shares_embeddings: one matrix for both sides, which then have one vocabulary.
        Others: those of Transformer. tied: the output layer shares the target's embedding.
    """

    def __init__(
        self,
        source_size: int,
        target_size: int,
        shares_embeddings: bool,
        d_model: int,
        num_layers: int,
        num_heads: int,
        num_kv_heads: int,
        d_ff: int,
        activation: Activation,
        norm: Norm,
        norm_first: bool,
        positions: Positions,
        max_length: int | None,
        dropout: float,
        bias: bool,
        tied: bool,
    ) -> None:
        super().__init__()
        self.num_kv_heads = num_kv_heads
        self.head_width = d_model // num_heads
        self.rotary_width = self.head_width if positions == "rotary" else None
        self.target_embed = nn.Embedding(target_size, d_model)
        self.source_embed = self.target_embed
        if not shares_embeddings:
            self.source_embed = nn.Embedding(source_size, d_model)
        self.source_positions = position_table(positions, max_length, d_model)
        self.target_positions = position_table(positions, max_length, d_model)
        self.dropout = Dropout(dropout)
        heads, kinds = (num_heads, num_kv_heads), (activation, norm, norm_first)
        sizes: Any = (d_model, *heads, d_ff, *kinds, dropout, bias)
        self.encoder_layers = nn.ModuleList(
            TransformerLayer(*sizes, is_causal=False) for _ in range(num_layers)
        )
        self.decoder_layers = nn.ModuleList(CrossLayer(*sizes) for _ in range(num_layers))
        self.encoder_norm: nn.Module = nn.Identity()  # after a norm in the last layer
        self.decoder_norm: nn.Module = nn.Identity()  # another does nothing
        if norm_first:
            self.encoder_norm = make_norm(norm, d_model, bias=bias)
            self.decoder_norm = make_norm(norm, d_model, bias=bias)
        self.output = nn.Linear(d_model, target_size, bias=False)
        if tied:
            self.output.weight = self.target_embed.weight
        initialise(self, d_model, 3 * num_layers)
        initialise(self.encoder_layers, d_model, 2 * num_layers)  # again: fewer writers there
        last_gain = self.decoder_layers[-1].get_parameter("feed_forward_norm.weight")
        nn.init.constant_(last_gain, first_gain(d_model, tied=tied, norm_first=norm_first))

    @property
    def max_length(self) -> int | None:
        """Tokens of a source and of a target, at most; None: any number."""
        table = self.target_positions
        return None if table is None else table.num_embeddings

    def forward(self, source_ids: Tensor, source_mask: Tensor, target_ids: Tensor) -> Tensor:
        """(B, S) ids, (B, S) bool, (B, T) ids -> (B, T, V); position t sees target ids 0..t."""
        logits: Tensor = self.output(self.hidden(source_ids, source_mask, target_ids))
        return logits

    def hidden(self, source_ids: Tensor, source_mask: Tensor, target_ids: Tensor) -> Tensor:
        """(B, S) ids, (B, S) bool, (B, T) ids -> (B, T, D), what the output layer reads.

        Padding of the target is on the right, where no earlier position can see it.
        """
        memory = self.encode(source_ids, source_mask)
        length, device = target_ids.shape[1], target_ids.device
        source_bias = padding_bias(memory.mask, product_dtype(self.target_embed.weight))
        x, turn = self._embed_target(target_ids, torch.arange(length, device=device), length)
        for layer in self.decoder_layers:
            x = layer(x, None, turn, memory.hidden, source_bias)
        normed: Tensor = self.decoder_norm(x)
        return normed

    def encode(self, source_ids: Tensor, source_mask: Tensor) -> Memory:
        """(B, S) ids and bool -> hidden states of the source; no token sees padding."""
        length, device = source_ids.shape[1], source_ids.device
        bias = padding_bias(source_mask, product_dtype(self.source_embed.weight))
        x = self.source_embed(source_ids)
        positions = torch.arange(length, device=device)
        x, turn = positioned(x, positions, length, self.source_positions, self.rotary_width)
        x = self.dropout(x)
        for layer in self.encoder_layers:
            x = layer(x, bias, turn)
        return Memory(self.encoder_norm(x), source_mask)

    def cross_attention(
        self, source_ids: Tensor, source_mask: Tensor, target_ids: Tensor
    ) -> Tensor:
        """The arguments of forward -> (L, B, H, T, S): where each target token looks.

        A row of weights sums up to 1. Computed beside a forward pass, which keeps none of them.
        """
        found: list[Tensor] = []
        handles = [
            attention.register_forward_pre_hook(
                lambda attention, arguments: found.append(attention.weights(*arguments))
            )
            for attention in self._cross_attentions()
        ]
        try:
            self.hidden(source_ids, source_mask, target_ids)
        finally:
            for handle in handles:
                handle.remove()
        return torch.stack(found)

    def start(self, memory: Memory) -> TransformerState:
        """The state before the first token of the target."""
        dtype = cache_dtype(self.target_embed.weight)
        pairs = [attention.project(memory.hidden) for attention in self._cross_attentions()]
        keys, values = zip(*pairs, strict=True)
        return TransformerState(
            KeyValueCache(),
            tuple(key.to(dtype) for key in keys),
            tuple(value.to(dtype) for value in values),
            padding_bias(memory.mask, dtype),
            torch.arange(len(memory.mask), device=memory.mask.device),
        )

    def step(
        self, ids: Tensor, state: TransformerState, attention_mask: Tensor | None = None
    ) -> tuple[Tensor, TransformerState]:
        """(B, n) more target ids -> (B, V) logits after each row's last real one, and the state.

        The given state's storage is used again: go on from the returned one alone, or from
        `reorder`.
        """
        batch, new = ids.shape
        shape = (batch, self.num_kv_heads, new, self.head_width)
        before = state.cache.make_room(len(self.decoder_layers), shape, state.bias)
        cache = before.read(new, attention_mask)
        bias = cached_bias(cache, new)
        x, turn = self._embed_target(ids, before.positions(new, ids.device), cache.length)
        for index, layer in enumerate(self.decoder_layers):
            own = LayerCache(cache.keys[index], cache.values[index], before.length)
            source = (state.keys[index], state.values[index])
            x = layer(x, bias, turn, source, state.bias, own)
        logits: Tensor = self.output(self.decoder_norm(cache.last_real(x, before)))
        return logits, state._replace(cache=cache)

    def reorder(self, state: TransformerState, rows: Tensor) -> TransformerState:
        """The state of the given rows (R,) int64; repeats allowed.

        What belongs to the source is copied only where rows change their source: the beams of a
        sentence among themselves do not.
        """
        cache, sources = state.cache.reorder(rows), state.sources[rows]
        if torch.equal(sources, state.sources):
            return state._replace(cache=cache)
        return TransformerState(
            cache,
            tuple(keys.index_select(0, rows) for keys in state.keys),
            tuple(values.index_select(0, rows) for values in state.values),
            state.bias.index_select(0, rows),
            sources,
        )

    def _cross_attentions(self) -> list[CrossAttention]:
        parts = self.decoder_layers.modules()  # in the order of the layers
        return [part for part in parts if isinstance(part, CrossAttention)]

    def _embed_target(
        self, ids: Tensor, positions: Tensor, length: int
    ) -> tuple[Tensor, Rotation | None]:
        """As TransformerDecoder._embed."""
        x = self.target_embed(ids)
        x, turn = positioned(x, positions, length, self.target_positions, self.rotary_width)
        return self.dropout(x), turn
