"""The data module of tagged words: sentences → windows → batches in which each word is tagged once.

A word is tagged at its first token (Devlin et al. 2019, section 5.3). A sentence of more tokens
than a model reads is cut into windows that overlap; each word is tagged in the window that has more
of its neighbours.
"""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
from annotated_types import Ge, Gt
from numpy.typing import NDArray

from lmexp.batch import TagBatch
from lmexp.collate_labels import TagRow, collate_tags
from lmexp.labelled_data import LabelledDataModule
from lmexp.pair_plan import Rows
from lmexp.preparation import Split
from lmexp.ragged import RaggedStore, Row
from lmexp.tokenizers import encode_words

ENDS = 2  # reserved ids around a window
OVERLAP = 0.25  # of a window's tokens that the next one reads again


@dataclasses.dataclass(frozen=True)
class EvalTags:
    """How taggers are evaluated.

    Args:
        batch_size: sentences tagged at once; changes no figure.
        sample_sentences: of the validation split, whose entities samples show; 0 for none.
    """

    text_kind: ClassVar[str] = "tags"

    batch_size: Annotated[int, Gt(0)]
    sample_sentences: Annotated[int, Ge(0)]


class TagDataModule(LabelledDataModule):
    """Sentences of tagged words.

    Args:
        spelling: bytes of a word in UTF-8 that a model reads beside its tokens, the first ones; 0:
            none. They say what a tokenizer forgets: capitals, endings of unknown words.
        Others: those of LabelledDataModule.
    """

    text_kind: ClassVar[str] = "tags"
    dtypes: ClassVar[Mapping[str, str]] = {
        "ids": "<u4",
        "word_lengths": "<u2",
        "tags": "<u2",
        "bytes": "u1",
        "sizes": "u1",
    }

    def __init__(
        self,
        corpus: Any,
        tokenizer: Any,
        *,
        max_length: Annotated[int, Gt(ENDS)],
        batch_size: Annotated[int, Gt(0)] | None,
        batch_tokens: Annotated[int, Gt(0)] | None,
        spelling: Annotated[int, Ge(0)],
        num_workers: Annotated[int, Ge(0)],
        root: str | None,
        seed: Annotated[int, Ge(0)],
        micro_batches: Annotated[int, Gt(0)],
        evaluation: EvalTags,
    ) -> None:
        super().__init__(
            corpus,
            tokenizer,
            max_length=max_length,
            batch_size=batch_size,
            batch_tokens=batch_tokens,
            num_workers=num_workers,
            root=root,
            seed=seed,
            micro_batches=micro_batches,
            evaluation=evaluation,
        )
        self.spelling = spelling

    def examples(self, split: Split) -> Iterator[Any]:
        """Sentences; see corpora.piece.Tagged."""
        return iter(self.corpus.tagged(split))

    def texts_of(self, example: Any) -> Iterable[str]:
        """The words, with or without spaces between them."""
        yield ("" if self.corpus.joins_words else " ").join(example.words)

    def labels_of(self, example: Any) -> Iterable[str]:
        """Of every type that there is, both tags, though a text may lack one."""
        for tag in set(example.tags):
            kind = tag.partition("-")[2]
            yield from (f"B-{kind}", f"I-{kind}") if kind else (tag,)

    def first(self, split: Split, count: int) -> tuple[list[list[str]], TagBatch]:
        """Words of the first sentences of a split, and a batch of them."""
        sentences = self.store(split).kept()[:count]
        reader = self.reader(split)
        return sentences, reader.batch(reader.rows_of(np.arange(len(sentences))))

    def stored_with(self) -> Any:
        """Words are cut at these."""
        return [self.max_length, self.spelling, self.corpus.joins_words]

    def encoded(
        self, example: Any, number: Callable[[str], int], changed: Counter[str]
    ) -> Row | None:
        """Tokens and bytes of each word, and its tag."""
        tokens, longest = [], self.max_length - ENDS
        for ids in encode_words(
            self.tokenizer.text, example.words, is_joined=self.corpus.joins_words
        ):
            changed[f"words cut at {longest} tokens"] += len(ids) > longest
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

    def make_reader(self, store: RaggedStore, *, is_training: bool) -> "TagReader":
        """Windows of at most max_length tokens."""
        return TagReader(store, self.max_length - ENDS, self.spelling)


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
        cut = []
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
        example, begin, end, tagged_from, tagged_to = (int(part[row]) for part in self.windows)
        columns = self._store.columns
        lengths = columns["word_lengths"].row(example)
        ends = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        sizes = columns["sizes"].row(example)
        byte_ends = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        return TagRow(
            example,
            columns["ids"].row(example)[ends[begin] : ends[end]],
            lengths[begin:end],
            columns["tags"].row(example)[begin:end],
            slice(tagged_from - begin, tagged_to - begin),
            columns["bytes"].row(example)[byte_ends[begin] : byte_ends[end]],
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
        while again - 1 > begin and shared + lengths[again - 1] <= longest * OVERLAP:
            again -= 1
            shared += lengths[again]
        begin = again
    middles = [(before[1] + after[0]) // 2 for before, after in itertools.pairwise(spans)]
    bounds = itertools.pairwise([0, *middles, len(lengths)])
    return [(*span, *bound) for span, bound in zip(spans, bounds, strict=True)]
