"""The tokenizers of both sides of a pair: one for both, or one each."""

import hashlib
import json
from typing import Any

from lmexp.tokenizers.reserved import Tokenizer


class PairTokenizer:
    """Two tokenizers, or one twice.

    Args:
        source: of sources.
        target: of targets; the same object for a joint vocabulary.
    """

    def __init__(self, source: Tokenizer, target: Tokenizer) -> None:
        self.source, self.target = source, target

    @property
    def is_joint(self) -> bool:
        """One tokenizer for both sides."""
        return self.source is self.target

    @property
    def vocab_size(self) -> int:
        """V of the targets."""
        return self.target.vocab_size

    def state(self) -> dict[str, Any]:
        """All there is to know, as plain JSON values."""
        target = None if self.is_joint else self.target.state()
        return {"class": "PairTokenizer", "source": self.source.state(), "target": target}

    def hash(self) -> str:
        """SHA-256 of the state: equal hashes give equal ids."""
        text = json.dumps(self.state(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()
