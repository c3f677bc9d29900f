"""The reserved ids, and what all tokenizers have in common."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

SPECIALS = ("<pad>", "<unk>", "<bos>", "<eos>", "<mask>", "<cls>", "<sep>")
PAD_ID, UNK_ID, BOS_ID, EOS_ID, MASK_ID, CLS_ID, SEP_ID = range(len(SPECIALS))

NUM_BYTES = 256


class Tokenizer(ABC):
    """Text to ids and back.

    The constructor's arguments are attributes of the same name. Before fit, sizes are those that
    were asked for.

    Args:
        extra: names of further reserved ids, after the seven.

    Raises:
        ValueError: a name in extra is empty, reserved already, or given twice.
    """

    learnt: ClassVar[tuple[str, ...]] = ()  # keys of state() that fit fills

    def __init__(self, extra: Sequence[str] = ()) -> None:
        self.extra = list(extra)
        self.reserved = (*SPECIALS, *self.extra)
        for name in self.extra:
            if not name or self.reserved.count(name) > 1:
                raise ValueError(
                    f"tokenizer.extra={self.extra}: '{name}' is empty, given twice or one of "
                    f"{', '.join(SPECIALS)}, which every tokenizer has: leave it out"
                )

    def reserve(self, names: Sequence[str]) -> None:
        """Further reserved ids, after those that there are; before fit alone.

        Raises:
            ValueError: see the constructor.
        """
        Tokenizer.__init__(self, [*self.extra, *names])

    @property
    @abstractmethod
    def num_types(self) -> int:
        """Ordinary types: what a vocabulary figure states."""

    @property
    @abstractmethod
    def is_lossless(self) -> bool:
        """Whether decode(encode(text)) is text, whatever the text."""

    @property
    def vocab_size(self) -> int:
        """V: reserved ids and ordinary types."""
        return len(self.reserved) + self.num_types

    @abstractmethod
    def fit(self, texts: Callable[[], Iterable[str]]) -> None:
        """Learn the types.

        Args:
            texts: begins a reading of the training text, piece by piece; may be called twice.
        """

    @abstractmethod
    def encode_many(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """Ids of each text; the fast path."""

    @abstractmethod
    def decode(self, ids: Iterable[int]) -> str:
        """The text; reserved ids other than <unk> vanish.

        Raises:
            ValueError: an id lies outside the vocabulary.
        """

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """All there is to know, as plain JSON values: class, constructor's arguments, learnt."""

    def restore(self, fitted: Mapping[str, Any]) -> None:
        """Take the learnt part of a state.

        Raises:
            ValueError: something is missing.
        """
        if set(fitted) != set(self.learnt):
            raise ValueError(
                f"the state of a {type(self).__name__} has {sorted(fitted)} instead of "
                f"{sorted(self.learnt)}"
            )

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without any reserved id but <unk>."""
        ids: list[int] = self.encode_many([text])[0].tolist()
        return ids

    def hash(self) -> str:
        """SHA-256 of the state: equal hashes give equal ids."""
        text = json.dumps(self.state(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


class Spelling:
    """What each id spells in UTF-8; a character may be spread over several ids.

    Args:
        num_reserved: ids that spell nothing, but for <unk>.
        types: what the ids after them spell.
    """

    def __init__(self, num_reserved: int, types: Iterable[bytes]) -> None:
        silent = [b""] * num_reserved
        silent[UNK_ID] = SPECIALS[UNK_ID].encode()
        self._bytes = [*silent, *types]

    def text(self, ids: Iterable[int]) -> str:
        """The text; bytes that form no character become U+FFFD.

        Raises:
            ValueError: an id lies outside the vocabulary.
        """
        return b"".join([self._bytes[check_id(i, len(self._bytes))] for i in ids]).decode(
            "utf-8", errors="replace"
        )


def check_id(number: int, vocab_size: int) -> int:
    """The id itself.

    Raises:
        ValueError: it lies outside the vocabulary.
    """
    if not 0 <= number < vocab_size:
        raise ValueError(
            f"id {number} lies outside the vocabulary of {vocab_size} ids: "
            "decode with the tokenizer that encoded"
        )
    return number


def not_fitted(tokenizer: Tokenizer) -> ValueError:
    """The error of a tokenizer that is used before fit."""
    return ValueError(
        f"{type(tokenizer).__name__} has no types yet: fit it on the training split, "
        "or load the tokenizer.json of a run"
    )


def too_many(asked: int, possible: int, what: str) -> ValueError:
    """The error of a vocabulary larger than the text allows."""
    return ValueError(
        f"tokenizer.vocab_size={asked} is more than the training text has to offer: "
        f"{possible} {what}; write tokenizer.vocab_size={possible} or less"
    )
