"""What a model of the Transformers library is, read from its config.json; imports neither torch
nor transformers.

A model is a folder as save_pretrained() writes it, or a name on the Hugging Face hub: config.json,
weights as *.safetensors, a tokenizer. Its own code, if it brings some, is never run.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Those whose hidden states or logits were compared with the library's own, in the tests.
ENCODERS = (
    *("albert", "bert", "camembert", "distilbert", "electra", "ernie", "modernbert", "roberta"),
    "xlm-roberta",
)
DECODERS = ("gpt2", "gpt_neox", "llama", "mistral", "olmo2", "opt", "qwen2", "qwen3")
ENCODER_DECODERS = ("bart", "marian", "mbart", "mt5", "pegasus", "t5")
# Position embeddings whose first rows are padding's: the first token has position pad_token_id + 1.
OFFSET = ("camembert", "roberta", "xlm-roberta")
UNBOUNDED = ("mt5", "t5")  # relative positions

LAYOUT = "config.json, model.safetensors, tokenizer.json, as save_pretrained() writes them"
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
_PICKLED = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt")


def folder_of(path: str, *, with_weights: bool) -> Path:
    """The local folder of a model; of a name on the hub, where its files were put.

    Args:
        path: a folder, or a name such as google-bert/bert-base-cased.
        with_weights: fetch all; else config.json alone.

    Raises:
        FileNotFoundError: there is neither such a folder nor, as far as can be seen, such a name.
        ValueError: the weights are pickled.
    """
    folder = Path(path)
    if folder.is_dir():
        _check_weights(folder)
        return folder
    if not _HUB_NAME.fullmatch(path) or path.startswith("."):
        raise FileNotFoundError(
            f"model.path={path}: there is no such folder; give one with {LAYOUT}"
        )
    import huggingface_hub

    files = ["*.json", "*.safetensors", "*.txt", "*.model"] if with_weights else ["config.json"]
    try:
        found = Path(huggingface_hub.snapshot_download(path, allow_patterns=files))
    except (OSError, ValueError, RuntimeError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise FileNotFoundError(
            f"model.path={path}: there is no such folder, and the hub cannot be asked for it "
            f"({reason}): give a folder with {LAYOUT}"
        ) from None
    if with_weights:
        _check_weights(found)
    return found


def _check_weights(folder: Path) -> None:
    if any(folder.glob("*.safetensors")):
        return
    pickled = [file.name for pattern in _PICKLED for file in sorted(folder.glob(pattern))]
    if pickled:
        raise ValueError(
            f"model.path={folder}: its weights are pickled ({pickled[0]}), which can run code when "
            "they are read: convert them where you trust them, with "
            "save_pretrained(folder, safe_serialization=True)"
        )
    raise FileNotFoundError(f"model.path={folder}: no *.safetensors in it; it needs {LAYOUT}")


def read_config(path: str) -> dict[str, Any]:
    """The content of config.json, as plain values.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is of no model that can be built here.
    """
    file = folder_of(path, with_weights=False) / "config.json"
    if not file.is_file():
        raise FileNotFoundError(f"model.path={path}: no config.json in it; it needs {LAYOUT}")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is no JSON: {error}") from None
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise ValueError(f"{file} names no model_type: it is no model of the Transformers library")
    kind_of(config, path)
    return config


def kind_of(config: Mapping[str, Any], path: str) -> str:
    """decoder, encoder or encoder_decoder.

    Raises:
        ValueError: the model brings its own code, or nobody has tried such a model here.
    """
    if config.get("auto_map"):
        raise ValueError(
            f"model.path={path}: its config.json has auto_map, code of its own, which is never "
            "run: take a model whose code is part of the Transformers library"
        )
    name, kinds = str(config.get("model_type")), (ENCODERS, DECODERS, ENCODER_DECODERS)
    for kind, names in zip(("encoder", "decoder", "encoder_decoder"), kinds, strict=True):
        if name not in names:
            continue
        if kind == "encoder" and config.get("is_decoder"):
            raise ValueError(
                f"model.path={path}: is_decoder=true: {name} is built as an encoder alone here; "
                f"decoders: {', '.join(DECODERS)}"
            )
        return kind
    raise ValueError(
        f"model.path={path}: model_type={name} is none of those that were tried: encoders "
        f"{', '.join(ENCODERS)}; decoders {', '.join(DECODERS)}; encoder-decoders "
        f"{', '.join(ENCODER_DECODERS)}"
    )


def wrong_kind(config: Mapping[str, Any], path: str, kind: str) -> str:
    """Why a kind of network cannot be built."""
    mine, needed = (
        f"{'an' if name[0] in 'aeiou' else 'a'} {name}" for name in (kind_of(config, path), kind)
    )
    name = (config.get("architectures") or [config["model_type"]])[0]
    return f"model.path={path} is {mine} ({name}), and the task needs {needed}"


def longest(config: Mapping[str, Any]) -> int | None:
    """Tokens in a sequence, at most; None: any number."""
    name = config.get("model_type")
    if name in UNBOUNDED:
        return None
    reach = config.get("max_position_embeddings", config.get("n_positions"))
    if reach is None:
        return None
    if name in OFFSET:
        reach -= config.get("pad_token_id", 1) + 1
    window = config.get("sliding_window") if config.get("use_sliding_window", True) else None
    return int(reach if window is None or name in ENCODERS else min(reach, window))
