"""Bytes and characters."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Gt
from numpy.typing import NDArray

from lmexp.tokenizers.reserved import (
    NUM_BYTES,
    UNK_ID,
    Spelling,
    Tokenizer,
    not_fitted,
    too_many,
)

_BLOCK_CHARS = 1_000_000  # counted at once
_CODE_POINTS = 0x110000
_ABSENT = -1  # of a character that has no type of its own


class Bytes(Tokenizer):
    """The 256 bytes of UTF-8; nothing is learnt.

    Args:
        extra: names of further reserved ids.
    """

    def __init__(self, extra: Sequence[str] = ()) -> None:
        super().__init__(extra)
        self._spelling = Spelling(len(self.reserved), all_bytes())

    def reserve(self, names: Sequence[str]) -> None:
        """See Tokenizer."""
        super().reserve(names)
        self._spelling = Spelling(len(self.reserved), all_bytes())

    @property
    def num_types(self) -> int:
        """256."""
        return NUM_BYTES

    @property
    def is_lossless(self) -> bool:
        """Always."""
        return True

    def fit(self, texts: Callable[[], Iterable[str]]) -> None:
        """Nothing to learn; the text is not read."""

    def encode_many(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """Bytes of each text, shifted by the reserved ids."""
        shift = np.int32(len(self.reserved))
        return [np.frombuffer(text.encode(), dtype=np.uint8) + shift for text in texts]

    def decode(self, ids: Iterable[int]) -> str:
        """The text; see Tokenizer."""
        return self._spelling.text(ids)

    def state(self) -> dict[str, Any]:
        """Class and arguments."""
        return {"class": "Bytes", "extra": self.extra}


class Chars(Tokenizer):
    """Unicode code points, in their order.

    Args:
        vocab_size: that many types, the most frequent ones; None takes all.
        min_count: occurrences in the training split that a character needs.
        byte_fallback: 256 more types, counted in vocab_size: a character without a type of its own
            is spelled in UTF-8 bytes. False makes it <unk>, which is not lossless.
        extra: names of further reserved ids.
    """

    learnt: ClassVar[tuple[str, ...]] = ("types",)

    def __init__(
        self,
        vocab_size: Annotated[int, Gt(0)] | None,
        min_count: Annotated[int, Ge(1)],
        byte_fallback: bool,
        extra: Sequence[str] = (),
    ) -> None:
        super().__init__(extra)
        self.min_count, self.byte_fallback = min_count, byte_fallback
        self._asked = vocab_size
        self._num_bytes = NUM_BYTES if byte_fallback else 0
        self._types: str | None = None
        if vocab_size is not None and vocab_size <= self._num_bytes:
            raise ValueError(
                f"tokenizer.vocab_size={vocab_size} leaves no room for characters beside the "
                f"{NUM_BYTES} bytes of byte_fallback=true: write more, or tokenizer=byte"
            )

    @property
    def num_types(self) -> int:
        """Bytes and characters."""
        if self._types is None:
            return self._asked or 0
        return self._num_bytes + len(self._types)

    @property
    def is_lossless(self) -> bool:
        """With byte_fallback."""
        return self.byte_fallback

    def fit(self, texts: Callable[[], Iterable[str]]) -> None:
        """Take the characters of the text."""
        counts = count_chars(texts())
        kept = sorted(
            (char for char, count in counts.items() if count >= self.min_count),
            key=lambda char: (-counts[char], char),
        )
        possible = self._num_bytes + len(kept)
        if self._asked is not None:
            if self._asked > possible:
                raise too_many(self._asked, possible, "characters (and bytes)")
            kept = kept[: self._asked - self._num_bytes]
        self._take("".join(sorted(kept)))

    def restore(self, fitted: Mapping[str, Any]) -> None:
        """See Tokenizer."""
        super().restore(fitted)
        self._take(fitted["types"])

    def _take(self, types: str) -> None:
        self._types = types
        spelled = [*all_bytes()][: self._num_bytes]
        self._spelling = Spelling(
            len(self.reserved), [*spelled, *(char.encode() for char in types)]
        )
        self._first_byte = len(self.reserved)
        first = self._first_byte + self._num_bytes
        absent = _ABSENT if self.byte_fallback else UNK_ID
        self._ids = np.full(_CODE_POINTS, absent, dtype=np.int32)
        self._ids[code_points(types)] = np.arange(first, first + len(types), dtype=np.int32)

    def encode_many(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """One look-up in a table of all code points."""
        if self._types is None:
            raise not_fitted(self)
        return [self._spell(text, self._ids[code_points(text)]) for text in texts]

    def _spell(self, text: str, ids: NDArray[np.int32]) -> NDArray[np.int32]:
        absent = np.flatnonzero(ids == _ABSENT)
        if not len(absent):
            return ids
        parts, end = [], 0
        for place in absent.tolist():
            spelled = np.frombuffer(text[place].encode(), dtype=np.uint8)
            parts += [ids[end:place], spelled + np.int32(self._first_byte)]
            end = place + 1
        return np.concatenate([*parts, ids[end:]])

    def decode(self, ids: Iterable[int]) -> str:
        """The text; see Tokenizer."""
        if self._types is None:
            raise not_fitted(self)
        return self._spelling.text(ids)

    def state(self) -> dict[str, Any]:
        """Class, arguments and characters."""
        if self._types is None:
            raise not_fitted(self)
        return {
            "class": "Chars",
            "vocab_size": self._asked,
            "min_count": self.min_count,
            "byte_fallback": self.byte_fallback,
            "extra": self.extra,
            "types": self._types,
        }


def all_bytes() -> Iterator[bytes]:
    """Each byte, in order."""
    return (bytes([byte]) for byte in range(NUM_BYTES))


def code_points(text: str) -> NDArray[np.uint32]:
    """One number a character."""
    return np.frombuffer(text.encode("utf-32-le"), dtype="<u4")


def count_chars(texts: Iterable[str]) -> Counter[str]:
    """How often each character occurs; streamed, in blocks."""
    totals = np.zeros(_CODE_POINTS, dtype=np.int64)
    for block in _blocks(texts):
        found, times = np.unique(code_points(block), return_counts=True)
        totals[found] += times
    return Counter({chr(code): int(totals[code]) for code in np.flatnonzero(totals)})


def _blocks(texts: Iterable[str]) -> Iterator[str]:
    block: list[str] = []
    size = 0
    for text in texts:
        block.append(text)
        size += len(text)
        if size >= _BLOCK_CHARS:
            yield "".join(block)
            block, size = [], 0
    yield "".join(block)
