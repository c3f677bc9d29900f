"""The data module of labelled texts: one text or two → a row → a batch with its labels."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
from annotated_types import Ge, Gt
from numpy.typing import NDArray

from lmexp.batch import LabelBatch
from lmexp.collate_labels import LabelRow, collate_labels
from lmexp.labelled_data import LabelledDataModule
from lmexp.pair_plan import Rows
from lmexp.preparation import Split
from lmexp.ragged import RaggedStore, Row


@dataclasses.dataclass(frozen=True)
class EvalLabels:
    """How classifiers are evaluated.

    Args:
        batch_size: texts labelled at once; changes no figure.
        sample_texts: of the validation split, whose labels samples show; 0 for none.
    """

    text_kind: ClassVar[str] = "labels"

    batch_size: Annotated[int, Gt(0)]
    sample_texts: Annotated[int, Ge(0)]


@dataclasses.dataclass(frozen=True)
class LabelForm:
    """How labelled texts become numbers.

    Args:
        max_length: tokens of a row, reserved ids included.
        multiple: any number of labels may hold; else exactly one does.
    """

    dtypes: ClassVar[Mapping[str, str]] = {"ids": "<u4", "parts": "<u4", "labels": "<u4"}

    max_length: int
    multiple: bool

    @property
    def fewest_labels(self) -> int:
        """See labelled_preparation.Form: one may hold or not, where any number does."""
        return 1 if self.multiple else 2

    def examples(self, corpus: Any, split: Split) -> Iterable[Any]:
        """Texts; see corpora.piece.Labelled."""
        texts: Iterable[Any] = corpus.labelled(split)
        return texts

    def texts_of(self, example: Any) -> Iterable[str]:
        """Both of them."""
        return [text for text in (example.text, example.second) if text is not None]

    def labels_of(self, example: Any) -> Iterable[str]:
        """See corpora.piece.Labelled."""
        labels: tuple[str, ...] = example.labels
        return labels

    def encoded(
        self, example: Any, tokenizer: Any, number: Callable[[str], int], changed: Counter[str]
    ) -> Row:
        """Tokens of both texts, cut so that both fit, and the labels.

        Raises:
            ValueError: there is not exactly one label, and there has to be.
        """
        texts = list(self.texts_of(example))
        if not self.multiple and len(example.labels) != 1:
            raise ValueError(
                f"{texts[0][:60]!r} has {len(example.labels)} labels "
                f"({', '.join(example.labels) or 'none'}): with data.multiple=false every text has "
                "one; write data.multiple=true where any number may hold"
            )
        ids = tokenizer.encode_many(texts)
        room = self.max_length - 1 - len(ids)
        lengths = cut_lengths([len(own) for own in ids], room)
        if sum(map(len, ids)) > room:
            changed[f"texts cut at {self.max_length} tokens"] += 1
        columns: dict[str, Any] = {
            "ids": np.concatenate([own[:n] for own, n in zip(ids, lengths, strict=True)]),
            "parts": lengths,
            "labels": sorted(number(label) for label in set(example.labels)),
        }
        return Row(columns, "\n".join(texts), texts)


class LabelDataModule(LabelledDataModule):
    """Texts, or pairs of texts, with one label each, or with any number.

    Args:
        multiple: any number of labels may hold, none included; else exactly one does.
        Others: those of LabelledDataModule.
    """

    text_kind: ClassVar[str] = "labels"

    def __init__(
        self,
        corpus: Any,
        tokenizer: Any,
        *,
        max_length: Annotated[int, Gt(4)],
        batch_size: Annotated[int, Gt(0)] | None,
        batch_tokens: Annotated[int, Gt(0)] | None,
        multiple: bool,
        num_workers: Annotated[int, Ge(0)],
        root: str | None,
        seed: Annotated[int, Ge(0)],
        micro_batches: Annotated[int, Gt(0)],
        evaluation: EvalLabels,
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
        self.multiple = multiple

    @property
    def form(self) -> LabelForm:
        """See LabelForm."""
        return LabelForm(self.max_length, self.multiple)

    def make_reader(self, store: RaggedStore) -> "LabelReader":
        """A row for each example."""
        return LabelReader(store, self.multiple)

    def first(self, split: Split, count: int) -> tuple[list[list[str]], LabelBatch]:
        """The first texts of a split, and a batch of them."""
        texts = self.store(split).kept(count)
        return texts, self.reader(split).batch(np.arange(len(texts)))

    def batches_of(
        self, texts: Sequence[tuple[str, ...]], changed: Counter[str]
    ) -> Iterator[tuple[LabelBatch, Sequence[tuple[str, ...]]]]:
        """Batches of texts without labels, and the texts of each.

        Args:
            texts: one each, or two.
            changed: counts by reason what is not read whole.
        """
        label = self.tokenizer.labels[0]  # any: nobody looks at it
        for begin in range(0, len(texts), self.evaluation.batch_size):
            own = texts[begin : begin + self.evaluation.batch_size]
            examples = [
                Unlabelled(text[0], text[1] if len(text) > 1 else None, (label,)) for text in own
            ]
            rows = []
            for example in examples:
                row = self.form.encoded(example, self.tokenizer.text, lambda _: 0, changed)
                cuts = np.cumsum(row.columns["parts"])[:-1]
                rows.append(LabelRow(np.split(row.columns["ids"], cuts), np.zeros(1, np.int64)))
            yield collate_labels(rows, len(self.tokenizer.labels) if self.multiple else None), own


class Unlabelled(NamedTuple):
    """A text of which nothing is said yet, or two."""

    text: str
    second: str | None
    labels: tuple[str, ...]


def cut_lengths(lengths: list[int], room: int) -> list[int]:
    """How much is left of texts that together may be `room` tokens: the longer one gives first."""
    if len(lengths) == 1:
        return [min(lengths[0], room)]
    shorter = min(min(lengths), room // 2)
    first, second = (min(own, max(room - shorter, room // 2)) for own in lengths)
    return [first, min(second, room - first)]


class LabelReader:
    """The texts of a split.

    Args:
        store: of texts.
        multiple: see LabelDataModule.
    """

    def __init__(self, store: RaggedStore, multiple: bool) -> None:
        self._store, self._multiple = store, multiple
        columns = store.columns
        self._lengths: NDArray[np.int64] = columns["ids"].lengths + columns["parts"].lengths + 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """See labelled_data.Reader."""
        return self._lengths

    @property
    def num_labels(self) -> int:
        """See labelled_data.Reader."""
        return self._store.num_examples

    def rows_of(self, examples: Rows) -> Rows:
        """See labelled_data.Reader."""
        return examples

    def batch(self, rows: Rows) -> LabelBatch:
        """See labelled_data.Reader."""
        names = len(self._store.counts["labels"]) if self._multiple else None
        return collate_labels([self._row(row) for row in rows.tolist()], names)

    def _row(self, row: int) -> LabelRow:
        columns = self._store.columns
        cuts = np.cumsum(columns["parts"].row(row))[:-1]
        return LabelRow(np.split(columns["ids"].row(row), cuts), columns["labels"].row(row))
