"""A language model of the Transformers library behind our interface.

Shapes: B sequences, T tokens, n new ones, C columns of cache, D model width, V vocabulary.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lmexp.networks.layers import document_positions
from lmexp.networks.pretrained_library import built, ignore_padding, library_config


class CacheState(NamedTuple):
    """What has been read so far."""

    cache: Any  # the library's, with C columns
    mask: Tensor | None  # (B, C) bool, True on real tokens; None before the first


class PretrainedDecoder(nn.Module):
    """Predicts each token from those before it.

    Args:
        config: the content of config.json.
        vocab_size: V, of our tokenizer.
        max_length: tokens in a sequence, at most; None: any number.

    Raises:
        ValueError: its logits are more than a matrix product.
    """

    def __init__(self, config: dict[str, Any], vocab_size: int, max_length: int | None) -> None:
        super().__init__()
        from transformers import AutoModelForCausalLM

        settings = library_config(config, vocab_size)
        whole = built(AutoModelForCausalLM, settings)
        ignore_padding(whole)
        self.model: Any = whole.base_model
        self.output: nn.Linear = whole.get_output_embeddings()
        if self.output.bias is not None:
            raise ValueError(
                f"model_type={config['model_type']}: its output layer has a bias, which the loss "
                "does not read"
            )
        self.d_model: int = self.output.in_features
        self.max_length = max_length

    def library_parts(self, whole: Any) -> dict[str, nn.Module]:
        """What our parts are in the library's model, by our names."""
        return {"model": whole.base_model, "output": whole.get_output_embeddings()}

    @property
    def embed(self) -> nn.Embedding:
        """V by D; often tied to the output layer."""
        embedding: nn.Embedding = self.model.get_input_embeddings()
        return embedding

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
        rows, length = input_ids.shape
        places = torch.arange(length, device=input_ids.device)
        sees = (places[:, None] >= places).expand(rows, 1, length, length)
        positions = places.expand(rows, length)
        if document_ids is not None:
            sees = sees & (document_ids[:, None, :, None] == document_ids[:, None, None, :])
            positions = document_positions(document_ids)
        hidden: Tensor = self.model(
            input_ids=input_ids, attention_mask=sees, position_ids=positions
        ).last_hidden_state
        return hidden

    def start(self, memory: None = None) -> CacheState:
        """The state before the first token."""
        from transformers import DynamicCache

        return CacheState(DynamicCache(), None)

    def step(
        self, ids: Tensor, state: CacheState, attention_mask: Tensor | None = None
    ) -> tuple[Tensor, CacheState]:
        """(B, n) more token ids -> (B, V) logits after each row's last real one, and the state.

        The given state's storage is used again: go on from the returned one alone, or from
        `reorder`.
        """
        rows, new = ids.shape
        own = torch.ones_like(ids, dtype=torch.bool) if attention_mask is None else attention_mask
        before = own[:, :0] if state.mask is None else state.mask
        places = torch.arange(new, device=ids.device)
        past = before[:, None, None, :].expand(rows, 1, new, before.shape[1])
        sees = own[:, None, None, :] & (places[:, None] >= places)
        sees = torch.cat([past, sees | torch.eye(new, dtype=torch.bool, device=ids.device)], dim=3)
        found = self.model(
            input_ids=ids,
            attention_mask=sees,
            position_ids=before.sum(dim=1, keepdim=True) + places,
            past_key_values=state.cache,
            use_cache=True,
        )
        last = found.last_hidden_state[torch.arange(rows, device=ids.device), own.sum(dim=1) - 1]
        logits: Tensor = self.output(last)
        return logits, CacheState(found.past_key_values, torch.cat([before, own], dim=1))

    def reorder(self, state: CacheState, rows: Tensor) -> CacheState:
        """The state of the given rows (R,) int64; repeats allowed."""
        if state.mask is None:
            return state
        state.cache.reorder_cache(rows)
        return CacheState(state.cache, state.mask[rows])
