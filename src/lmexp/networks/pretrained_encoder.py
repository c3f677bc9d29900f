"""An encoder of the Transformers library behind our interface.

Shapes: B sequences, T tokens, D model width, E width of the embedding, V vocabulary.
"""

from typing import Any

from torch import Tensor, nn

from lmexp.networks.pretrained_library import built, ignore_padding, library_config


class PretrainedEncoder(nn.Module):
    """Each token in the light of all others.

    Args:
        config: the content of config.json.
        vocab_size: V, of our tokenizer.
        max_length: tokens in a sequence, at most; None: any number.
    """

    def __init__(self, config: dict[str, Any], vocab_size: int, max_length: int | None) -> None:
        super().__init__()
        from transformers import AutoModel

        settings = library_config(config, vocab_size)
        self.model: Any = built(AutoModel, settings)
        if getattr(self.model, "pooler", None) is not None:
            self.model.pooler = None  # a task that pools has a pooler of its own
        ignore_padding(self.model)
        self.d_model: int = settings.hidden_size
        self.max_length = max_length
        self.norm_eps: float = getattr(settings, "layer_norm_eps", None) or 1e-12
        self._has_segments = getattr(settings, "type_vocab_size", 0) > 1

    def library_parts(self, whole: Any) -> dict[str, nn.Module]:
        """What our parts are in the library's model, by our names."""
        return {"model": whole.base_model}

    @property
    def embed(self) -> nn.Embedding:
        """V by E, for heads that share it."""
        embedding: nn.Embedding = self.model.get_input_embeddings()
        return embedding

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        segment_ids: Tensor | None = None,
        features: Tensor | None = None,
    ) -> Tensor:
        """(B, T) token ids -> (B, T, D); no token sees padding.

        Args:
            input_ids: (B, T) int64.
            attention_mask: (B, T) bool, True on real tokens; None: all are.
            segment_ids: (B, T) int64, 0 or 1; a model without segments reads past them.
            features: (B, T, E), added to the embeddings of the tokens.
        """
        x = self.embed(input_ids)
        if features is not None:
            x = x + features
        more: dict[str, Tensor] = {}
        if self._has_segments and segment_ids is not None:
            more["token_type_ids"] = segment_ids
        found: Tensor = self.model(
            inputs_embeds=x, attention_mask=attention_mask, **more
        ).last_hidden_state
        return found
