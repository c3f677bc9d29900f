"""The tokenizer of a text, and the labels that are said of it."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmexp.tokenizers.reserved import UNK_ID, Tokenizer


class LabelledTokenizer:
    """A tokenizer, and labels by number.

    Args:
        text: of texts, or of words one by one.
        labels: those of the training split; the number of a label is its place.
    """

    def __init__(self, text: Tokenizer, labels: Sequence[str]) -> None:
        self.text, self.labels = text, tuple(labels)

    @property
    def vocab_size(self) -> int:
        """V of the text."""
        return self.text.vocab_size

    @property
    def reserved(self) -> tuple[str, ...]:
        """Names of the reserved ids."""
        return self.text.reserved

    def state(self) -> dict[str, Any]:
        """All there is to know, as plain JSON values."""
        labels = list(self.labels)
        return {"class": "LabelledTokenizer", "text": self.text.state(), "labels": labels}

    def hash(self) -> str:
        """SHA-256 of the state: equal hashes give equal ids and labels."""
        text = json.dumps(self.state(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def encode_words(
    tokenizer: Tokenizer, words: Sequence[str], *, is_joined: bool
) -> list[NDArray[np.int32]]:
    """Ids of each word of a text, at least one a word.

    Args:
        tokenizer: fitted.
        words: of the text.
        is_joined: they stand without spaces between them, as Chinese characters do.
    """
    glue = "" if is_joined else " "
    texts = [glue * (number > 0) + word for number, word in enumerate(words)]
    unknown = np.array([UNK_ID], dtype=np.int32)
    return [ids if len(ids) else unknown for ids in tokenizer.encode_many(texts)]
