"""An encoder-decoder of the Transformers library behind our interface.

Shapes: B sequences, S source tokens, T target tokens, n new ones, D model width, V vocabulary.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lmexp.networks.interface import Memory
from lmexp.networks.pretrained_library import built, ignore_padding, library_config


class PrefixState(NamedTuple):
    """What has been read so far."""

    memory: Memory
    ids: Tensor  # (B, T), padded on the right
    lengths: Tensor  # (B,) int64
    cache: Any  # the library's; None once rows differ in length: all is read again then


class PretrainedEncoderDecoder(nn.Module):
    """Predicts each token of a target from its source and the target tokens before it.

    Args:
        config: the content of config.json.
        vocab_size: V, of our tokenizer, of both sides.
        max_length: tokens of a side, at most; None: any number.
    """

    def __init__(self, config: dict[str, Any], vocab_size: int, max_length: int | None) -> None:
        super().__init__()
        from transformers import AutoModelForSeq2SeqLM

        settings = library_config(config, vocab_size)
        if not getattr(settings, "share_encoder_decoder_embeddings", True):
            raise ValueError(
                "model.config: share_encoder_decoder_embeddings=false: a vocabulary for each side "
                "is not read here"
            )
        whole = built(AutoModelForSeq2SeqLM, settings)
        ignore_padding(whole)
        self.encoder: Any = whole.get_encoder()
        self.decoder: Any = whole.get_decoder()
        self.output: nn.Linear = whole.get_output_embeddings()
        if hasattr(whole, "final_logits_bias"):
            self.output.bias = nn.Parameter(torch.zeros(vocab_size))
        self.d_model: int = self.output.in_features
        self.max_length = max_length
        is_scaled = getattr(settings, "scale_decoder_outputs", False)
        self._scale = self.d_model**-0.5 if is_scaled else 1.0

    def library_parts(self, whole: Any) -> dict[str, nn.Module]:
        """What our parts are in the library's model, by our names."""
        return {
            "encoder": whole.get_encoder(),
            "decoder": whole.get_decoder(),
            "output": whole.get_output_embeddings(),
        }

    def forward(self, source_ids: Tensor, source_mask: Tensor, target_ids: Tensor) -> Tensor:
        """(B, S) ids, (B, S) bool, (B, T) ids -> (B, T, V); position t sees target ids 0..t."""
        logits: Tensor = self.output(self.hidden(source_ids, source_mask, target_ids))
        return logits

    def hidden(self, source_ids: Tensor, source_mask: Tensor, target_ids: Tensor) -> Tensor:
        """(B, S) ids, (B, S) bool, (B, T) ids -> (B, T, D), what the output layer reads."""
        return self._decoded(target_ids, self.encode(source_ids, source_mask))

    def encode(self, source_ids: Tensor, source_mask: Tensor) -> Memory:
        """(B, S) ids and bool -> hidden states of the source; no token sees padding."""
        found = self.encoder(input_ids=source_ids, attention_mask=source_mask)
        return Memory(found.last_hidden_state, source_mask)

    def _decoded(self, ids: Tensor, memory: Memory, cache: Any = None) -> Tensor:
        found = self.decoder(
            input_ids=ids,
            encoder_hidden_states=memory.hidden,
            encoder_attention_mask=memory.mask,
            past_key_values=cache,
            use_cache=cache is not None,
        )
        hidden: Tensor = found.last_hidden_state * self._scale
        return hidden

    def start(self, memory: Memory) -> PrefixState:
        """The state before the first token of the target."""
        ids = torch.zeros(len(memory.mask), 0, dtype=torch.int64, device=memory.mask.device)
        from transformers import DynamicCache, EncoderDecoderCache

        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        return PrefixState(memory, ids, ids.new_zeros(len(ids)), cache)

    def step(
        self, ids: Tensor, state: PrefixState, attention_mask: Tensor | None = None
    ) -> tuple[Tensor, PrefixState]:
        """(B, n) more target ids -> (B, V) logits after each row's last real one, and the state.

        The given state's storage is used again: go on from the returned one alone, or from
        `reorder`.
        """
        mask = torch.ones_like(ids, dtype=torch.bool) if attention_mask is None else attention_mask
        lengths = state.lengths + mask.sum(dim=1)
        grown = ids.new_zeros(len(ids), int(lengths.max()))
        grown[:, : state.ids.shape[1]] = state.ids
        rows, columns = mask.nonzero(as_tuple=True)  # padding is on the right
        grown[rows, state.lengths[rows] + columns] = ids[rows, columns]
        cache = state.cache if bool(mask.all()) else None
        if cache is not None:
            last = self._decoded(ids, state.memory, cache)[:, -1]
        else:
            hidden = self._decoded(grown, state.memory)
            last = hidden[torch.arange(len(ids), device=ids.device), lengths - 1]
        logits: Tensor = self.output(last)
        return logits, PrefixState(state.memory, grown, lengths, cache)

    def reorder(self, state: PrefixState, rows: Tensor) -> PrefixState:
        """The state of the given rows (R,) int64; repeats allowed."""
        memory = Memory(*(part[rows] for part in state.memory))
        if state.cache is not None and state.ids.shape[1]:
            state.cache.reorder_cache(rows)
        return PrefixState(memory, state.ids[rows], state.lengths[rows], state.cache)
