"""Text to ids and back. Fitted on the training split only, saved with the run.

Every tokenizer reserves the same ids in the same order, so that networks, collate and decoding
know them without asking: the seven SPECIALS, then the user's `extra`, then the ordinary types.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmexp.tokenizers.characters import Bytes, Chars
from lmexp.tokenizers.labelled import LabelledTokenizer, encode_words
from lmexp.tokenizers.pairs import PairTokenizer, tag_name
from lmexp.tokenizers.pretrained import Pretrained
from lmexp.tokenizers.reserved import (
    BOS_ID,
    CLS_ID,
    EOS_ID,
    MASK_ID,
    PAD_ID,
    SEP_ID,
    SPECIALS,
    UNK_ID,
    Tokenizer,
)
from lmexp.tokenizers.sentence_piece import SentencePiece
from lmexp.tokenizers.words import Words

__all__ = [
    "BOS_ID",
    "CLS_ID",
    "EOS_ID",
    "MASK_ID",
    "PAD_ID",
    "SEP_ID",
    "SPECIALS",
    "UNK_ID",
    "Bytes",
    "Chars",
    "LabelledTokenizer",
    "PairTokenizer",
    "Pretrained",
    "SentencePiece",
    "Tokenizer",
    "Words",
    "encode_words",
    "from_state",
    "load",
    "save",
    "tag_name",
]

_CLASSES: tuple[type[Tokenizer], ...] = (Bytes, Chars, Words, SentencePiece, Pretrained)


def from_state(state: Mapping[str, Any]) -> Any:
    """The tokenizer, or pair of them, or one with labels, that state() described.

    Raises:
        ValueError: the state is of no tokenizer of ours, or lacks something.
    """
    if state.get("class") == "PairTokenizer":
        source = from_state(state["source"])
        target = state["target"]
        return PairTokenizer(
            source, source if target is None else from_state(target), state.get("to")
        )
    if state.get("class") == "LabelledTokenizer":
        return LabelledTokenizer(from_state(state["text"]), state["labels"])
    for kind in _CLASSES:
        if kind.__name__ == state.get("class"):
            settings = dict(state)
            del settings["class"]
            fitted = {name: settings.pop(name) for name in kind.learnt if name in settings}
            try:
                tokenizer = kind(**settings)
            except TypeError as error:
                raise ValueError(f"the state of a {kind.__name__} does not fit: {error}") from error
            tokenizer.restore(fitted)
            return tokenizer
    names = ", ".join(kind.__name__ for kind in _CLASSES)
    raise ValueError(f"the state is of class {state.get('class')!r}: it has to be one of {names}")


def save(tokenizer: Tokenizer | PairTokenizer | LabelledTokenizer, path: Path) -> None:
    """Write tokenizer.json: whole, or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    text = json.dumps(tokenizer.state(), ensure_ascii=False, indent=1)
    temporary.write_text(text + "\n", encoding="utf-8")
    temporary.replace(path)


def load(path: Path) -> Any:
    """Read tokenizer.json.

    Raises:
        ValueError: the file is not what save() wrote.
    """
    try:
        return from_state(json.loads(path.read_text("utf-8")))
    except (ValueError, AttributeError, KeyError) as error:
        raise ValueError(
            f"{path} holds no tokenizer of lmexp ({error}): take the tokenizer.json of a run"
        ) from error
