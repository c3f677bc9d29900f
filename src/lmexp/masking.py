"""Which tokens are hidden from a model that has to restore them (Devlin et al. 2019, section 3.1).

Shapes: N tokens of a sequence, V vocabulary.
"""

import unicodedata
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, Protocol

import numpy as np
from annotated_types import Gt, Lt
from numpy.typing import NDArray

from lmexp.batch import IGNORE
from lmexp.tokenizers import MASK_ID, Pretrained, Words

Ids = NDArray[np.int64]
Flags = NDArray[np.bool_]

SHOWN_AS_MASK, SHOWN_AS_ANOTHER = 0.8, 0.1  # of the hidden tokens; the rest is shown as it is


class Tokenizer(Protocol):
    """What is asked of a tokenizer."""

    @property
    def vocab_size(self) -> int: ...
    @property
    def reserved(self) -> tuple[str, ...]: ...
    def decode(self, ids: Any) -> str: ...


class WordEdges(NamedTuple):
    """Where words begin, by the id of a token and of the one before it."""

    begins: Flags  # (V,): with such a token a word begins
    ends: Flags  # (V,): after such a token a word begins

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> "WordEdges":
        """Words stand between spaces; a character of a script without them is a word."""
        begins = np.zeros(tokenizer.vocab_size, dtype=np.bool_)
        ends = np.zeros(tokenizer.vocab_size, dtype=np.bool_)
        if isinstance(tokenizer, Pretrained):
            ends[: len(tokenizer.reserved)] = True
            return cls(tokenizer.begins_word(), ends)
        begins[: len(tokenizer.reserved)] = ends[: len(tokenizer.reserved)] = True
        spells_words = isinstance(tokenizer, Words)
        for number in range(len(tokenizer.reserved), tokenizer.vocab_size):
            text = tokenizer.decode([number])
            begins[number] = spells_words or _begins_word(text[:1])
            ends[number] = text[-1:].isspace()
        return cls(begins, ends)

    def starts(self, ids: Ids) -> Flags:
        """(N,) ids -> (N,) whether a word begins there; one does at the first."""
        starts = self.begins[ids]
        starts[1:] |= self.ends[ids[:-1]]
        starts[:1] = True
        return starts


def _begins_word(char: str) -> bool:
    has_no_spaces = unicodedata.category(char or "a") == "Lo" and (
        unicodedata.east_asian_width(char) == "W"
    )
    return char.isspace() or has_no_spaces


@dataclass(frozen=True)
class Masking:
    """How many tokens are hidden.

    Of the hidden ones 80% are shown as <mask>, 10% as another token, drawn uniformly from the
    ordinary types, 10% as they are.

    Args:
        rate: of a sequence's ordinary tokens, at least one of them.
        whole_words: hide all tokens of a word or none (Devlin et al., 2019-05-31 models).
    """

    rate: Annotated[float, Gt(0), Lt(1)]
    whole_words: bool

    def hide(self, ids: Ids, edges: WordEdges, num_reserved: int, draw: np.random.Generator) -> Ids:
        """Hide some of (N,) ids, in place; (N,) labels, IGNORE where nothing is hidden.

        Reserved ids are never hidden, nor does another token turn into one.

        Args:
            ids: what is to be read.
            edges: of words.
            num_reserved: ids below are reserved.
            draw: gives the same draws for the same sequence.
        """
        labels = np.full_like(ids, IGNORE)
        ordinary = np.flatnonzero(ids >= num_reserved)
        if not len(ordinary):
            return labels
        count = max(1, round(self.rate * len(ordinary)))
        if self.whole_words:
            words = np.split(ordinary, np.flatnonzero(edges.starts(ids)[ordinary])[1:])
            hidden = _whole_words(words, count, draw)
        else:
            hidden = draw.permutation(ordinary)[:count]
        labels[hidden] = ids[hidden]
        shown_as = draw.random(len(hidden))
        others = draw.integers(num_reserved, len(edges.begins), len(hidden))
        is_other = (shown_as >= SHOWN_AS_MASK) & (shown_as < SHOWN_AS_MASK + SHOWN_AS_ANOTHER)
        ids[hidden[shown_as < SHOWN_AS_MASK]] = MASK_ID
        ids[hidden[is_other]] = others[is_other]
        return labels


def _whole_words(words: list[Ids], count: int, draw: np.random.Generator) -> Ids:
    """The tokens of words in random order, as long as they are no more than count; one at least."""
    order = draw.permutation(len(words))
    sizes = np.cumsum([len(words[number]) for number in order])
    taken = max(1, int(np.searchsorted(sizes, count, side="right")))
    return np.concatenate([words[number] for number in order[:taken]])
