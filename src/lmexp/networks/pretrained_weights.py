"""Pretrained weights, by their names in our networks and in the order of our ids.

Shapes: D model width, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from lmexp.networks.pretrained_config import kind_of
from lmexp.networks.pretrained_library import quiet

# Heads of masked language models, by the names that tasks.masked_network gives them.
_LIKE_BERT = {
    "cls.predictions.transform.dense": "transform",
    "cls.predictions.transform.LayerNorm": "transform_norm",
    "cls.predictions.bias": "output.bias",
    "cls.seq_relationship": "pair",
}
_LIKE_ROBERTA = {
    "lm_head.dense": "transform",
    "lm_head.layer_norm": "transform_norm",
    "lm_head.bias": "output.bias",
}
HEADS = {
    "bert": _LIKE_BERT,
    "roberta": _LIKE_ROBERTA,
    "camembert": _LIKE_ROBERTA,
    "xlm-roberta": _LIKE_ROBERTA,
    "distilbert": {
        "vocab_transform": "transform",
        "vocab_layer_norm": "transform_norm",
        "vocab_projector.bias": "output.bias",
    },
}


def tensors_of(
    folder: Path, config: dict[str, Any], network: nn.Module, rows: Sequence[int | None]
) -> dict[str, Tensor]:
    """What the files of a folder hold for a network; see Pretrained.tensors.

    Raises:
        ValueError: the embedding has fewer rows than the tokenizer has tokens, or the files are not
            of this configuration.
    """
    kind = kind_of(config, str(folder))
    whole, missing = _read(folder, config, kind)
    theirs = whole.state_dict(keep_vars=True)
    of_vocabulary = {id(tensor) for tensor in _vocabulary(whole, is_generator=kind != "encoder")}
    found: dict[str, Tensor] = {}
    for name, ours in _names(whole, theirs, config, network):
        if name in missing:
            continue
        value = theirs[name].detach()
        if name == "final_logits_bias":
            value = value.flatten()
        is_bias = name == "final_logits_bias" or ours == "output.bias"
        if is_bias or id(theirs[name]) in of_vocabulary:
            value = in_our_order(value, rows, folder)
        elif ours.startswith("pair."):
            value = value.flip(0)  # theirs says 0 where the second segment follows, ours 1
        found[ours] = value
    return found


def _vocabulary(whole: Any, *, is_generator: bool) -> Iterator[Tensor]:
    """The matrices with a row for each token."""
    sides = [whole.get_encoder(), whole.get_decoder()] if whole.config.is_encoder_decoder else []
    for module in (whole, *sides):
        yield module.get_input_embeddings().weight
    if is_generator:
        yield whole.get_output_embeddings().weight


def _names(
    whole: Any, theirs: Any, config: dict[str, Any], network: nn.Module
) -> Iterator[tuple[str, str]]:
    """Names of tensors in the library's model, and in ours."""
    paths = {id(module): name for name, module in whole.named_modules(remove_duplicate=False)}
    for path, wrapper in network.named_modules():
        if not hasattr(wrapper, "library_parts"):
            continue
        prefix = f"{path}." if path else ""
        for part, module in wrapper.library_parts(whole).items():
            yield from _within(theirs, paths[id(module)], f"{prefix}{part}.")
        if "final_logits_bias" in theirs:
            yield "final_logits_bias", f"{prefix}output.bias"
    act = config.get("hidden_act", config.get("activation"))
    heads = HEADS.get(config["model_type"], {}) if act == "gelu" else {}  # as our head has it
    for begin, ours in heads.items():
        for name in theirs:
            if name == begin or name.startswith(f"{begin}."):
                yield name, ours + name.removeprefix(begin)


def _within(theirs: Any, path: str, ours: str) -> Iterator[tuple[str, str]]:
    prefix = f"{path}." if path else ""
    for name in theirs:
        inner = name.removeprefix(prefix)
        if name.startswith(prefix) and inner.startswith("pooler."):  # our tasks have their own
            yield name, f"pooler.{inner.removeprefix('pooler.').removeprefix('dense.')}"
        elif name.startswith(prefix):
            yield name, ours + inner


def _read(folder: Path, config: dict[str, Any], kind: str) -> tuple[Any, set[str]]:
    """The library's model with its weights, and the names of those that the files lack."""
    import transformers
    from transformers import AutoModel, AutoModelForPreTraining

    has_heads = config["model_type"] in HEADS
    loader = {
        "encoder": AutoModelForPreTraining if has_heads else AutoModel,
        "decoder": transformers.AutoModelForCausalLM,
        "encoder_decoder": transformers.AutoModelForSeq2SeqLM,
    }[kind]
    try:
        with quiet():
            loaded: Any = loader.from_pretrained(
                folder,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
    except SafetensorError as error:
        sizes = {path.name: path.stat().st_size for path in sorted(folder.glob("*.safetensors"))}
        files = ", ".join(f"{name} ({size:,} bytes)" for name, size in sizes.items())
        raise ValueError(
            f"model.path={folder}: {files} cannot be read ({error}): copy or download it again"
        ) from error
    whole, report = loaded
    return whole, set(report["missing_keys"])


def in_our_order(tensor: Tensor, rows: Sequence[int | None], folder: Path) -> Tensor:
    """(their V, …) -> (V, …); an id that the model has no row for gets the mean of all rows.

    Raises:
        ValueError: a row is asked for that is not there.
    """
    last = max(row for row in rows if row is not None)
    if last >= len(tensor):
        raise ValueError(
            f"model.path={folder}: its tokenizer has an id {last}, and its embedding "
            f"{len(tensor)} rows: they do not belong together"
        )
    index = torch.tensor([0 if row is None else row for row in rows])
    ordered = tensor[index]
    is_new = torch.tensor([row is None for row in rows])
    ordered[is_new] = ordered[~is_new].mean(dim=0)
    return ordered
