"""What all wrappers of the Transformers library share: how its models are built."""

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import nn

from lmexp.networks.layers import Dropout
from lmexp.networks.pretrained_attention import use_in


def library_config(config: dict[str, Any], vocab_size: int) -> Any:
    """The library's configuration object, of our vocabulary.

    Raises:
        ValueError: the library cannot make sense of it.
    """
    import torch
    from huggingface_hub.errors import StrictDataclassError
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
    except (TypeError, ValueError, KeyError, AttributeError, StrictDataclassError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"model.config cannot be read by transformers: {reason}") from None
    settings.use_cache = False
    settings.dtype = torch.float32
    settings._attn_implementation = "sdpa"
    return settings


def built(auto: Any, settings: Any) -> Any:
    """A model of a configuration, with drawn weights, and dropout as our own networks have it."""
    with quiet():
        model = auto.from_config(settings)
    for module in model.modules():
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                setattr(module, name, Dropout(child.p))
    use_in(model)
    return model


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
