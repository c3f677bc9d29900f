"""An encoder of the Transformers library behind our interface, and what all its wrappers share.

Shapes: B sequences, T tokens, D model width, E width of the embedding, V vocabulary.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn


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


def library_config(config: dict[str, Any], vocab_size: int) -> Any:
    """The library's configuration object, of our vocabulary.

    Raises:
        ValueError: the library cannot make sense of it.
    """
    import torch
    from transformers import CONFIG_MAPPING

    values = {
        key: value
        for key, value in config.items()
        if key not in ("dtype", "torch_dtype", "quantization_config", "_name_or_path")
    }
    pad_id = values.get("pad_token_id")
    if pad_id is not None and not 0 <= pad_id < vocab_size:
        values["pad_token_id"] = 0  # else it says where positions begin: see OFFSET
    values["vocab_size"] = vocab_size
    if "decoder_vocab_size" in values:
        values["decoder_vocab_size"] = vocab_size
    try:
        settings = CONFIG_MAPPING[config["model_type"]].from_dict(values)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise ValueError(f"model.config cannot be read by transformers: {error}") from None
    settings.use_cache = False
    settings.dtype = torch.float32
    settings._attn_implementation = "sdpa"
    return settings


def built(auto: Any, settings: Any) -> Any:
    """A model of a configuration, with drawn weights."""
    with quiet():
        return auto.from_config(settings)


def ignore_padding(model: nn.Module) -> None:
    """Let the rows of token embeddings that the library took for padding learn: ids are ours."""
    for module in model.modules():
        if isinstance(module, nn.Embedding) and module is not _positions(model):
            module.padding_idx = None


def _positions(model: nn.Module) -> nn.Module | None:
    return next((m for n, m in model.named_modules() if n.endswith("position_embeddings")), None)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Meanwhile the library reports nothing but errors; what was loaded is reported by us."""
    from transformers.utils import logging as module

    logging: Any = module
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
