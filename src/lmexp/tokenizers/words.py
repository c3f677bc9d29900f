"""Words between spaces, or those that a segmenter finds."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt
from numpy.typing import NDArray

from lmexp.tokenizers.reserved import (
    SPECIALS,
    UNK_ID,
    Tokenizer,
    check_id,
    not_fitted,
    too_many,
)

Segmenter = Literal["jieba"]
_MAX_COUNTED = 10_000_000  # words counted at once; about 1 GB


class Words(Tokenizer):
    r"""What stands between spaces; the end of a line, "\n", is a type of its own.

    That is the convention of PTB and WikiText, where the end of a line is called <eos>. An "<unk>"
    in the text, as in these sets, is a type like any other and not the reserved id.

    With a segmenter, for Chinese and other texts without spaces, words are what it finds, and white
    space other than "\n" is left out.

    Types are ordered by falling count, ties by code points. Past 10 million different words those
    seen once are forgotten while counting, so that memory is bounded.

    Args:
        vocab_size: that many types, the most frequent ones; None takes all.
        min_count: occurrences in the training split that a word needs; others are <unk>.
        extra: names of further reserved ids.
        segmenter: jieba (Sun 2012), or None for spaces.

    Raises:
        ModuleNotFoundError: the segmenter is not installed.
    """

    learnt: ClassVar[tuple[str, ...]] = ("types",)

    def __init__(
        self,
        vocab_size: Annotated[int, Gt(0)] | None,
        min_count: Annotated[int, Ge(1)],
        extra: Sequence[str] = (),
        segmenter: Segmenter | None = None,
    ) -> None:
        super().__init__(extra)
        self.segmenter = segmenter
        self._words = _words if segmenter is None else _segmented_by_jieba()
        self.min_count = min_count
        self._asked = vocab_size
        self._types: list[str] | None = None

    @property
    def num_types(self) -> int:
        r"""Words, "\n" included."""
        return (self._asked or 0) if self._types is None else len(self._types)

    @property
    def is_lossless(self) -> bool:
        """Never: unknown words, and how many spaces there were, are lost."""
        return False

    def fit(self, texts: Callable[[], Iterable[str]]) -> None:
        """Count the words of the text."""
        counts: Counter[str] = Counter()
        for text in texts():
            counts.update(self._words(text))
            if len(counts) > _MAX_COUNTED:
                counts = Counter({word: count for word, count in counts.items() if count > 1})
        kept = sorted(
            (word for word, count in counts.items() if count >= self.min_count),
            key=lambda word: (-counts[word], word),
        )
        if self._asked is not None and self._asked > len(kept):
            raise too_many(self._asked, len(kept), f"words occur min_count={self.min_count} times")
        self._take(kept[: self._asked])

    def restore(self, fitted: Mapping[str, Any]) -> None:
        """See Tokenizer."""
        super().restore(fitted)
        self._take(list(fitted["types"]))

    def _take(self, types: list[str]) -> None:
        self._types = types
        self._ids = {word: number for number, word in enumerate(types, start=len(self.reserved))}

    def encode_many(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """Ids of the words."""
        if self._types is None:
            raise not_fitted(self)
        find = self._ids.get
        return [
            np.array([find(word, UNK_ID) for word in self._words(text)], dtype=np.int32)
            for text in texts
        ]

    def decode(self, ids: Iterable[int]) -> str:
        """Words with one space between them, or none with a segmenter; none around line ends."""
        if self._types is None:
            raise not_fitted(self)
        parts: list[str] = []
        for number in ids:
            place = check_id(number, self.vocab_size) - len(self.reserved)
            if place < 0 and number != UNK_ID:
                continue
            word = self._types[place] if place >= 0 else SPECIALS[UNK_ID]
            if self.segmenter is None and parts and word != "\n" and parts[-1] != "\n":
                parts.append(" ")
            parts.append(word)
        return "".join(parts)

    def state(self) -> dict[str, Any]:
        """Class, arguments and words."""
        if self._types is None:
            raise not_fitted(self)
        segmenter = {} if self.segmenter is None else {"segmenter": self.segmenter}
        return {
            "class": "Words",
            "vocab_size": self._asked,
            "min_count": self.min_count,
            "extra": self.extra,
            **segmenter,
            "types": self._types,
        }


def _words(text: str) -> list[str]:
    return [word for word in text.replace("\n", " \n ").split(" ") if word]


def _segmented_by_jieba() -> Callable[[str], list[str]]:
    """What cuts a text; a warning of jieba's own about its age is not the user's business.

    Raises:
        ModuleNotFoundError: jieba is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import jieba
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "tokenizer.segmenter=jieba: jieba is not installed here: pip install jieba, or write "
            "tokenizer=char"
        ) from None
    jieba.setLogLevel("WARNING")
    return lambda text: [word for word in jieba.cut(text) if word == "\n" or not word.isspace()]
