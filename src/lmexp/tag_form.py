"""Tagged sentences as numbers, and the windows that a model reads of them.

A word is tagged at its first token (Devlin et al. 2019, section 5.3). A sentence of more tokens
than a model reads is cut into windows that overlap; each word is tagged in the window that has more
of its neighbours.
"""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmexp.batch import TagBatch
from lmexp.collate_labels import TagRow, collate_tags
from lmexp.pair_plan import Rows
from lmexp.preparation import Split
from lmexp.ragged import RaggedStore, Row
from lmexp.tokenizers import Tokenizer, encode_words

ENDS = 2  # reserved ids around a window
OVERLAP = 0.25  # of a window's tokens that the next one reads again


@dataclasses.dataclass(frozen=True)
class TagForm:
    """How tagged sentences become numbers.

    Args:
        longest: tokens of a window.
        spelling: bytes of a word.
        is_joined: words stand without spaces between them.
    """

    dtypes: ClassVar[Mapping[str, str]] = {
        "ids": "<u4",
        "word_lengths": "<u2",
        "tags": "<u2",
        "bytes": "u1",
        "sizes": "u1",
    }

    fewest_labels: ClassVar[int] = 2  # see labelled_preparation.Form

    longest: int
    spelling: int
    is_joined: bool

    def examples(self, corpus: Any, split: Split) -> Iterable[Any]:
        """Sentences; see corpora.piece.Tagged."""
        sentences: Iterable[Any] = corpus.tagged(split)
        return sentences

    def texts_of(self, example: Any) -> Iterable[str]:
        """The words, with or without spaces between them."""
        yield ("" if self.is_joined else " ").join(example.words)

    def labels_of(self, example: Any) -> Iterable[str]:
        """Of every type that there is, both tags, though a text may lack one."""
        for tag in set(example.tags):
            kind = tag.partition("-")[2]
            yield from (f"B-{kind}", f"I-{kind}") if kind else (tag,)

    def encoded(
        self,
        example: Any,
        tokenizer: Tokenizer,
        number: Callable[[str], int],
        changed: Counter[str],
    ) -> Row:
        """Tokens and bytes of each word, and its tag."""
        tokens, longest = [], self.longest
        for ids in encode_words(tokenizer, example.words, is_joined=self.is_joined):
            if len(ids) > longest:
                changed[f"words cut at {longest} tokens"] += 1
            tokens.append(ids[:longest])
        spelled = [word.encode()[: self.spelling] for word in example.words]
        columns: dict[str, Any] = {
            "ids": np.concatenate(tokens),
            "word_lengths": [len(ids) for ids in tokens],
            "tags": [number(tag) for tag in example.tags],
            "bytes": np.frombuffer(b"".join(spelled), dtype=np.uint8),
            "sizes": [len(word) for word in spelled],
        }
        return Row(columns, " ".join(example.words), example.words)


class Untagged(NamedTuple):
    """Words without tags of their own."""

    words: tuple[str, ...]
    tags: tuple[str, ...]


class Windows(NamedTuple):
    """Rows of a split, as parallel arrays of int64 (N,)."""

    example: NDArray[np.int64]
    begin: NDArray[np.int64]  # first word that is read
    end: NDArray[np.int64]  # after the last one
    tagged_from: NDArray[np.int64]  # first word that is tagged in this window
    tagged_to: NDArray[np.int64]  # after the last one


class TagReader:
    """The windows of a split.

    Args:
        store: of sentences.
        longest: tokens of the words of a window.
        spelling: bytes of a word.
    """

    def __init__(self, store: RaggedStore, longest: int, spelling: int) -> None:
        self._store, self._spelling = store, spelling
        cut: list[tuple[int, ...]] = []
        for example, tokens in enumerate(store.columns["ids"].lengths.tolist()):
            lengths = store.columns["word_lengths"].row(example)
            if tokens <= longest:
                cut.append((example, 0, len(lengths), 0, len(lengths)))
            else:
                cut += [(example, *window) for window in windows(lengths.tolist(), longest)]
        self.windows = Windows(*np.array(cut, dtype=np.int64).T)
        self._first = np.searchsorted(
            self.windows.example, np.arange(store.num_examples + 1), side="left"
        )
        ends = np.cumsum(store.columns["word_lengths"].values, dtype=np.int64)
        self._token_ends = np.concatenate([[0], ends])
        starts = store.columns["word_lengths"].starts[self.windows.example]
        begin, end = starts + self.windows.begin, starts + self.windows.end
        self._lengths: NDArray[np.int64] = self._token_ends[end] - self._token_ends[begin] + ENDS

    @property
    def lengths(self) -> NDArray[np.int64]:
        """See labelled_data.Reader."""
        return self._lengths

    @property
    def num_labels(self) -> int:
        """See labelled_data.Reader."""
        return len(self._store.columns["tags"].values)

    def rows_of(self, examples: Rows) -> Rows:
        """See labelled_data.Reader."""
        parts = [np.arange(self._first[e], self._first[e + 1]) for e in examples.tolist()]
        return np.concatenate([np.empty(0, dtype=np.int64), *parts])

    def batch(self, rows: Rows) -> TagBatch:
        """See labelled_data.Reader."""
        return collate_tags([self._row(row) for row in rows.tolist()], self._spelling)

    def _row(self, row: int) -> TagRow:
        example, *window = (int(part[row]) for part in self.windows)
        columns = {name: column.row(example) for name, column in self._store.columns.items()}
        return _tag_row(example, columns, *window)


def tag_rows(number: int, columns: Mapping[str, Any], longest: int) -> list[TagRow]:
    """The windows of a sentence.

    Args:
        number: of the sentence.
        columns: of a row of TagDataModule.
        longest: tokens of a window.
    """
    cut = windows(list(columns["word_lengths"]), longest)
    arrays = {name: np.asarray(column) for name, column in columns.items()}
    return [_tag_row(number, arrays, *window) for window in cut]


def _tag_row(
    number: int,
    columns: Mapping[str, NDArray[Any]],
    begin: int,
    end: int,
    tagged_from: int,
    tagged_to: int,
) -> TagRow:
    lengths, sizes = columns["word_lengths"], columns["sizes"]
    ends = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    byte_ends = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
    return TagRow(
        number,
        begin == 0,
        columns["ids"][ends[begin] : ends[end]],
        lengths[begin:end],
        columns["tags"][begin:end],
        slice(tagged_from - begin, tagged_to - begin),
        columns["bytes"][byte_ends[begin] : byte_ends[end]],
        sizes[begin:end],
    )


def windows(lengths: list[int], longest: int) -> list[tuple[int, int, int, int]]:
    """Cut words into windows of at most `longest` tokens that overlap.

    Args:
        lengths: tokens of each word, none more than `longest`.
        longest: tokens of a window.

    Returns:
        (begin, end, tagged from, tagged to) of each, in words. Where two windows overlap the first
        tags the first half of what they share.
    """
    spans = []
    begin = 0
    while True:
        end, tokens = begin, 0
        while end < len(lengths) and tokens + lengths[end] <= longest:
            tokens += lengths[end]
            end += 1
        spans.append((begin, end))
        if end == len(lengths):
            break
        again, shared = end, 0
        room = min(longest * OVERLAP, longest - lengths[end])  # the next word has to fit in as well
        while again - 1 > begin and shared + lengths[again - 1] <= room:
            again -= 1
            shared += lengths[again]
        begin = again
    middles = [(before[1] + after[0]) // 2 for before, after in itertools.pairwise(spans)]
    bounds = itertools.pairwise([0, *middles, len(lengths)])
    return [(*span, *bound) for span, bound in zip(spans, bounds, strict=True)]
