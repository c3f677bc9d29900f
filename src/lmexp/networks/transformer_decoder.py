"""Transformer decoder: a language model.

Shapes: B sequences, T tokens, n new tokens, D model width, H query heads, G key and value heads,
K = D / H, C columns of cache, V vocabulary.
"""

import torch
from torch import Tensor, nn

from lmexp.networks.attention import (
    SelfAttention,
    TransformerLayer,
    cached_bias,
    causal_bias,
    first_gain,
    initialise,
)
from lmexp.networks.cache import KeyValueCache, LayerCache, cache_dtype
from lmexp.networks.layers import (
    Activation,
    Dropout,
    Norm,
    Positions,
    Rotation,
    document_positions,
    make_norm,
    position_table,
    positioned,
    product_dtype,
)


class TransformerDecoder(nn.Module):
    """Embedding, layers, output layer.

    Args:
        vocab_size: V.
        Others: those of Transformer.
    """

    def __init__(
        self,
        vocab_size: int,
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
        self.d_model = d_model
        self.num_kv_heads = num_kv_heads
        self.head_width = d_model // num_heads
        self.rotary_width = self.head_width if positions == "rotary" else None
        self.embed = nn.Embedding(vocab_size, d_model)
        self.positions = position_table(positions, max_length, d_model)
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(
            TransformerLayer(
                d_model,
                num_heads,
                num_kv_heads,
                d_ff,
                activation,
                norm,
                norm_first,
                dropout,
                bias,
                is_causal=True,
            )
            for _ in range(num_layers)
        )
        self.norm: nn.Module = nn.Identity()  # after a norm in the last layer another does nothing
        if norm_first:
            self.norm = make_norm(norm, d_model, bias=bias)
        self.output = nn.Linear(d_model, vocab_size, bias=False)
        if tied:
            self.output.weight = self.embed.weight
        initialise(self, d_model, 2 * num_layers)
        last_gain = self.layers[-1].get_parameter("feed_forward_norm.weight")
        nn.init.constant_(last_gain, first_gain(d_model, tied=tied, norm_first=norm_first))

    @property
    def max_length(self) -> int | None:
        """Tokens in a sequence, at most; None: any number."""
        return None if self.positions is None else self.positions.num_embeddings

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
        added: Tensor | None = None,
    ) -> Tensor:
        """(B, T) token ids -> (B, T, D), what the output layer reads.

        attention_mask is accepted and unused: padding is on the right, where no earlier position
        can see it. `added` (B, 1, D) is added to the embedding of every token of a row.
        """
        length, device = input_ids.shape[1], input_ids.device
        bias, positions = None, torch.arange(length, device=device)
        if document_ids is not None:
            positions = document_positions(document_ids)
            dtype = product_dtype(self.embed.weight)
            bias = causal_bias(length, document_ids, device, dtype)
        x, turn = self._embed(input_ids, positions, length, added)
        for layer in self.layers:
            x = layer(x, bias, turn)
        normed: Tensor = self.norm(x)
        return normed

    def self_attention(self, input_ids: Tensor) -> Tensor:
        """(B, T) token ids -> (L, B, H, T, T): where each token looks, itself and those before it.

        A row of weights sums up to 1. Computed beside a forward pass, which keeps none of them.
        """
        found: list[Tensor] = []
        handles = [
            module.register_forward_pre_hook(
                lambda attention, arguments: found.append(attention.weights(*arguments))
            )
            for module in self.layers.modules()  # in the order of the layers
            if isinstance(module, SelfAttention)
        ]
        try:
            self.hidden(input_ids)
        finally:
            for handle in handles:
                handle.remove()
        return torch.stack(found)

    def start(self, memory: None = None) -> KeyValueCache:
        """The state before the first token."""
        return KeyValueCache()

    def step(
        self,
        ids: Tensor,
        state: KeyValueCache,
        attention_mask: Tensor | None = None,
        added: Tensor | None = None,
    ) -> tuple[Tensor, KeyValueCache]:
        """(B, n) more token ids -> (B, V) logits after each row's last real one, and the state.

        Time and memory of a step grow with the length read so far, never with its square. The
        given state's storage is used again: go on from the returned one alone, or from `reorder`.
        """
        batch, new = ids.shape
        shape = (batch, self.num_kv_heads, new, self.head_width)
        like = torch.empty(0, device=ids.device, dtype=cache_dtype(self.embed.weight))
        before = state.make_room(len(self.layers), shape, like)
        state = before.read(new, attention_mask)
        bias = cached_bias(state, new)
        x, turn = self._embed(ids, before.positions(new, ids.device), state.length, added)
        for layer, keys, values in zip(self.layers, state.keys, state.values, strict=True):
            x = layer(x, bias, turn, LayerCache(keys, values, before.length))
        logits: Tensor = self.output(self.norm(state.last_real(x, before)))
        return logits, state

    def reorder(self, state: KeyValueCache, rows: Tensor) -> KeyValueCache:
        """The state of the given rows (R,) int64; repeats allowed."""
        return state.reorder(rows)

    def _embed(
        self, ids: Tensor, positions: Tensor, length: int, added: Tensor | None
    ) -> tuple[Tensor, Rotation | None]:
        """(B, T) ids and their (T,) or (B, T) positions, below length -> (B, T, D), rotation."""
        x = self.embed(ids) if added is None else self.embed(ids) + added
        x, turn = positioned(x, positions, length, self.positions, self.rotary_width)
        return self.dropout(x), turn
