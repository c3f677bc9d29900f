"""The data module of tagged words: sentences → windows → batches that tag each word once."""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Gt, Le

from lmexp.batch import TagBatch
from lmexp.collate_labels import collate_tags
from lmexp.labelled_data import LabelledDataModule
from lmexp.preparation import Split
from lmexp.ragged import RaggedStore
from lmexp.tag_form import ENDS, TagForm, TagReader, Untagged, tag_rows


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
        spelling: bytes of a word in UTF-8 that a model reads beside its tokens, the first ones, at
            most 255, as a store counts them in a byte; 0: none. They say what a tokenizer forgets:
            capitals, endings of unknown words.
        Others: those of LabelledDataModule.
    """

    text_kind: ClassVar[str] = "tags"
    counted: ClassVar[str] = "words"
    unit: ClassVar[str] = "sentence"

    def __init__(
        self,
        corpus: Any,
        tokenizer: Any,
        *,
        max_length: Annotated[int, Gt(2)],
        batch_size: Annotated[int, Gt(0)] | None,
        batch_tokens: Annotated[int, Gt(0)] | None,
        spelling: Annotated[int, Ge(0), Le(255)],
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

    @property
    def form(self) -> TagForm:
        """See TagForm."""
        return TagForm(self.max_length - ENDS, self.spelling, self.corpus.joins_words)

    def first(self, split: Split, count: int) -> tuple[list[list[str]], TagBatch]:
        """Words of the first sentences of a split, and a batch of them."""
        sentences = self.store(split).kept(count)
        reader = self.reader(split)
        return sentences, reader.batch(reader.rows_of(np.arange(len(sentences))))

    def batches_of(self, sentences: Sequence[Sequence[str]]) -> Iterator[TagBatch]:
        """Batches of sentences that nobody has tagged, with whatever labels.

        Args:
            sentences: words of each, at least one.
        """
        for begin in range(0, len(sentences), self.evaluation.batch_size):
            rows = []
            own = sentences[begin : begin + self.evaluation.batch_size]
            for number, words in enumerate(own, start=begin):
                example = Untagged(tuple(words), (self.tokenizer.labels[0],) * len(words))
                columns = self.form.encoded(
                    example, self.tokenizer.text, lambda _: 0, Counter()
                ).columns
                rows += tag_rows(number, columns, self.max_length - ENDS)
            yield collate_tags(rows, self.spelling)

    def make_reader(self, store: RaggedStore) -> TagReader:
        """Windows of at most max_length tokens."""
        return TagReader(store, self.max_length - ENDS, self.spelling)
