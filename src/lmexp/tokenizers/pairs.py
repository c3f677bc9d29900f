"""The tokenizers of both sides of a pair: one for both, or one each; tags of languages.

A tag, such as <2de>, is a reserved id of the sources' tokenizer and stands first in a source: it
says which language the target is to be in (Johnson et al. 2017, section 3). No text holds one: a
text that spells "<2de>" is made of ordinary types.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmexp.tokenizers.reserved import Tokenizer

_TAG = re.compile("<2(.+)>")


def tag_name(language: str) -> str:
    """What the reserved id of a language, such as de, is called."""
    return f"<2{language}>"


class PairTokenizer:
    """Two tokenizers, or one twice.

    Args:
        source: of sources.
        target: of targets; the same object for a joint vocabulary.
        to: code of the language whose tag begins every source; None: none does.

    Raises:
        ValueError: the sources' tokenizer has no tag of that language.
    """

    def __init__(self, source: Tokenizer, target: Tokenizer, to: str | None = None) -> None:
        self.source, self.target, self.to = source, target, to
        if to is not None and to not in self.tags:
            known = ", ".join(self.tags)
            raise ValueError(
                f"the sources' tokenizer has no tag {tag_name(to)}: it has "
                + (f"those of {known}" if known else "none, for want of data.language_tags")
            )

    @property
    def is_joint(self) -> bool:
        """One tokenizer for both sides."""
        return self.source is self.target

    @property
    def vocab_size(self) -> int:
        """V of the targets."""
        return self.target.vocab_size

    @property
    def tags(self) -> dict[str, int]:
        """The id of each language's tag, by its code."""
        found = ((_TAG.fullmatch(name), number) for number, name in enumerate(self.source.reserved))
        return {match[1]: number for match, number in found if match}

    def towards(self, language: str) -> "PairTokenizer":
        """The same tokenizers, for sources that begin with the tag of a language.

        Raises:
            ValueError: there is no such tag.
        """
        return PairTokenizer(self.source, self.target, language)

    def encode_sources(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """Ids of each source: its tag, if sources have one, and its text; no end."""
        ids = self.source.encode_many(texts)
        if self.to is None:
            return ids
        tag = self.tags[self.to]
        return [np.insert(own, 0, tag) for own in ids]

    def state(self) -> dict[str, Any]:
        """All there is to know, as plain JSON values."""
        target = None if self.is_joint else self.target.state()
        state = {"class": "PairTokenizer", "source": self.source.state(), "target": target}
        return state if self.to is None else state | {"to": self.to}

    def hash(self) -> str:
        """SHA-256 of the state: equal hashes give equal ids."""
        text = json.dumps(self.state(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()
