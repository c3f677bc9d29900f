"""Transformer decoder: a language model.

Shapes: B sequences, T tokens, n new tokens, D model width, H query heads, G key and value heads,
K = D / H, C columns of cache, V vocabulary.
"""

import math

import torch
from torch import Tensor, nn

from lmexp.networks.attention import TransformerLayer, causal_bias, prefers_explicit
from lmexp.networks.cache import KeyValueCache, LayerCache
from lmexp.networks.layers import (
    Activation,
    Dropout,
    Norm,
    Positions,
    Rotation,
    document_positions,
    make_norm,
    rotation,
    sinusoids,
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
        self.is_rotary = positions == "rotary"
        self.embed = nn.Embedding(vocab_size, d_model)
        self.positions = None
        if positions == "learned" and max_length is not None:
            self.positions = nn.Embedding(max_length, d_model)
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
            )
            for _ in range(num_layers)
        )
        self.norm: nn.Module = nn.Identity()  # after a norm in the last layer another does nothing
        if norm_first:
            self.norm = make_norm(norm, d_model, bias=bias)
        self.output = nn.Linear(d_model, vocab_size, bias=False)
        if tied:
            self.output.weight = self.embed.weight
        self._initialise(last_gain=d_model**-0.5 if tied and not norm_first else 1.0)

    def _initialise(self, last_gain: float) -> None:
        """GPT-2's initial weights (Radford et al. 2019, section 2.3), at any width.

        GPT-2 draws N(0, 0.02) at a width of 768. Here the variance goes with 1 / D from there, so
        that what passes through a matrix keeps its size (Yang et al. 2021, table 3): a narrow
        network would learn slowly from 0.02 itself, 2.10 nats instead of 1.94 after 1,000 steps of
        shakespeare_char_cpu. Matrices that write into the residual stream, of which there are 2L,
        are divided by sqrt(2L); biases are 0. After post-norm with tied weights the last gain
        starts at 1 / sqrt(D), as T5 scales (Raffel et al. 2020): hidden states there still
        resemble the embedding of their own token,
        and a wide network would start far above ln V.
        """
        std = 0.02 * math.sqrt(768 / self.d_model)
        num_layers = len(self.layers)
        writers = ("attention.out.weight", "feed_forward.down.weight")
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.dim() == 2:
                scale = 1 / math.sqrt(2 * num_layers) if name.endswith(writers) else 1.0
                nn.init.normal_(parameter, std=std * scale)
            elif name == f"layers.{num_layers - 1}.feed_forward_norm.weight":
                nn.init.constant_(parameter, last_gain)

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
    ) -> Tensor:
        """(B, T) token ids -> (B, T, D), what the output layer reads.

        attention_mask is accepted and unused: padding is on the right, where no earlier position
        can see it.
        """
        length, device, dtype = input_ids.shape[1], input_ids.device, self._dtype()
        if document_ids is None:
            positions = torch.arange(length, device=device)
        else:
            positions = document_positions(document_ids)
        bias = None
        if document_ids is not None or prefers_explicit(device, dtype, length):
            bias = causal_bias(length, document_ids, device, dtype)
        x, turn = self._embed(input_ids, positions, length)
        for layer in self.layers:
            x = layer(x, bias, turn)
        normed: Tensor = self.norm(x)
        return normed

    def start(self, memory: None = None) -> KeyValueCache:
        """The state before the first token."""
        return KeyValueCache()

    def step(
        self, ids: Tensor, state: KeyValueCache, attention_mask: Tensor | None = None
    ) -> tuple[Tensor, KeyValueCache]:
        """(B, n) more token ids -> (B, V) logits after each row's last real one, and the state.

        Time and memory of a step grow with the length read so far, never with its square. The
        given state's storage is used again: go on from the returned one alone, or from `reorder`.
        """
        batch, new = ids.shape
        past, end = state.length, state.length + new
        shape = (batch, self.num_kv_heads, new, self.head_width)
        like = torch.empty(0, device=ids.device, dtype=self._cache_dtype())
        state = state.make_room(len(self.layers), shape, like)
        positions = torch.arange(past, end, device=ids.device)
        if state.lengths is not None:
            positions = positions + (state.lengths - past).unsqueeze(1)
        before, state = state, state.read(new, attention_mask)
        bias = None if past == 0 or state.bias is None else state.bias[..., :end]
        if past > 0 and new > 1:
            causal = causal_bias(end, None, ids.device, like.dtype)[past:]
            bias = causal if bias is None else bias + causal

        x, turn = self._embed(ids, positions, end)
        for layer, keys, values in zip(self.layers, state.keys, state.values, strict=True):
            x = layer(x, bias, turn, LayerCache(keys, values, past))
        if new > 1 and state.lengths is not None:
            before_lengths = past if before.lengths is None else before.lengths
            last = (state.lengths - before_lengths - 1).clamp(min=0)
            x = x[torch.arange(batch, device=ids.device), last]
        else:
            x = x[:, -1]
        logits: Tensor = self.output(self.norm(x))
        return logits, state

    def reorder(self, state: KeyValueCache, rows: Tensor) -> KeyValueCache:
        """The state of the given rows (R,) int64; repeats allowed."""
        return state.reorder(rows)

    def _embed(self, ids: Tensor, positions: Tensor, length: int) -> tuple[Tensor, Rotation | None]:
        """(B, T) ids and their (T,) or (B, T) positions, below length -> (B, T, D), rotation."""
        x, turn = self.embed(ids), None
        if self.positions is not None:
            if length > self.positions.num_embeddings:
                raise ValueError(
                    f"{length} tokens are more than max_length={self.positions.num_embeddings}, "
                    "the rows of this network's learned positions: give shorter sequences, or "
                    "train with a larger model.max_length or with model.positions=rotary"
                )
            x = x + self.positions(positions)
        elif self.is_rotary:
            turn = rotation(positions, self.head_width, self._dtype())
        else:  # sinusoidal (Vaswani et al. 2017; section 3.4: times sqrt(D))
            x = x * math.sqrt(self.d_model) + sinusoids(positions, self.d_model).to(x.dtype)
        return self.dropout(x), turn

    def _cache_dtype(self) -> torch.dtype:
        """What keys and values are kept in.

        float32 on a CPU: for one query SDPA's bfloat16 kernel there takes 2.4 times as long.
        """
        device = self.embed.weight.device.type
        if device == "cpu" and not torch.is_autocast_enabled(device):
            return torch.float32
        return self._dtype()

    def _dtype(self) -> torch.dtype:
        """What matrix products are computed in."""
        device = self.embed.weight.device.type
        if torch.is_autocast_enabled(device):
            return torch.get_autocast_dtype(device)
        return self.embed.weight.dtype
