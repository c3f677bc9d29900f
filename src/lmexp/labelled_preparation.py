"""From a corpus of labelled examples to a fitted tokenizer with labels and to stores."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

from lmexp import tokenizers
from lmexp.cache import built, cache_folder
from lmexp.packing import EmptyTextError
from lmexp.preparation import Split, announced, content_hash, settings
from lmexp.ragged import RaggedStore, Row, write_ragged
from lmexp.tokenizers import LabelledTokenizer


class Form(Protocol):
    """How examples of a kind become numbers; its repr names all that decides them."""

    dtypes: ClassVar[Mapping[str, str]]  # of the columns of a store

    @property
    def fewest_labels(self) -> int:
        """Of a training split; with fewer there is nothing to learn."""
        ...

    def examples(self, corpus: Any, split: Split) -> Iterable[Any]:
        """Those of a corpus."""
        ...

    def texts_of(self, example: Any) -> Iterable[str]:
        """What a tokenizer learns from."""
        ...

    def labels_of(self, example: Any) -> Iterable[str]:
        """What is said of an example."""
        ...

    def encoded(
        self, example: Any, tokenizer: Any, number: Callable[[str], int], changed: Counter[str]
    ) -> Row | None:
        """An example as it is stored, or None where it is left out.

        Args:
            example: of the corpus.
            tokenizer: of its text.
            number: of a label; those that the training split lacks come after all others.
            changed: counts by reason what is dropped or changed.
        """
        ...


class LabelledPreparation:
    """Reads a corpus of labelled examples into the cache.

    Args:
        corpus: what to read.
        form: how an example becomes numbers.
        data_hash: of the corpus.
        announce: told what takes long, every ten seconds.
    """

    def __init__(
        self,
        corpus: Any,
        form: Form,
        data_hash: str,
        announce: Callable[[str], None] | None = None,
    ) -> None:
        self.corpus, self.form, self._hash, self._announce = corpus, form, data_hash, announce

    def tokenizer(self, given: Any, *, fit: bool) -> LabelledTokenizer:
        """The tokenizer, with the labels of the training split.

        Args:
            given: to be fitted on the training split, or fitted; its own labels do not count.
            fit: whether it is to be fitted.

        Raises:
            ValueError: the training split has no example, or too few labels.
        """
        text, form = getattr(given, "text", given), self.form

        def write(folder: Path) -> None:
            if fit:
                text.fit(lambda: (t for e in self._examples("train") for t in form.texts_of(e)))
            labels = {label for e in self._examples("train") for label in form.labels_of(e)}
            folder.mkdir(parents=True)
            fitted = LabelledTokenizer(text, sorted(labels, key=label_order))
            tokenizers.save(fitted, folder / "tokenizer.json")

        key = settings(text) if fit else text.hash()
        key = content_hash(self._hash, type(form).__name__, key)
        folder = built(cache_folder() / "tokenizers" / key, write)
        fitted: LabelledTokenizer = tokenizers.load(folder / "tokenizer.json")
        if len(fitted.labels) < self.form.fewest_labels:
            all_there_are = f"the label {fitted.labels[0]} alone" if fitted.labels else "no label"
            raise ValueError(
                f"the training split of {self.corpus.source} has {all_there_are}, and there is "
                "nothing to learn: give it examples of others"
            )
        return fitted

    def _examples(self, split: Split) -> Iterator[Any]:
        is_empty = True
        for example in self.form.examples(self.corpus, split):
            is_empty = False
            yield example
        if is_empty:
            raise self._is_empty(split, EmptyTextError.of(self.corpus.counts))

    def store(self, split: Split, tokenizer: LabelledTokenizer) -> RaggedStore:
        """The examples of a split.

        Raises:
            ValueError: the split has none.
        """
        numbers = {label: number for number, label in enumerate(tokenizer.labels)}
        known, unseen = len(numbers), Counter[str]()

        def number(label: str) -> int:
            found = numbers.setdefault(label, len(numbers))
            if found >= known:
                unseen[label] += 1
            return found

        def rows(dropped: Counter[str]) -> Iterator[Row]:
            examples = self.form.examples(self.corpus, split)
            for example in announced(examples, f"preparing {split}", "examples", self._announce):
                row = self.form.encoded(example, tokenizer.text, number, dropped)
                if row is not None:
                    yield row
            dropped.update(self.corpus.counts)

        def facts() -> dict[str, Any]:
            return {"labels": list(numbers), "unseen": dict(sorted(unseen.items()))}

        def write(folder: Path) -> None:
            write_ragged(folder, rows, self.form.dtypes, facts)

        key = content_hash(self._hash, repr(self.form), split, tokenizer.hash())
        try:
            return RaggedStore(built(cache_folder() / "labelled" / key, write))
        except EmptyTextError as error:
            raise self._is_empty(split, error) from error

    def _is_empty(self, split: Split, error: EmptyTextError) -> ValueError:
        return ValueError(
            f"the {split} split of {self.corpus.source} has no labelled example ({error}): give it "
            "some"
        )


def label_order(label: str) -> tuple[bool, str, str]:
    """O first, then by type, its beginning before its inside; classes by name."""
    prefix, hyphen, rest = label.partition("-")
    is_tag = bool(hyphen) and prefix in ("B", "I")
    return (label != "O", rest if is_tag else label, prefix if is_tag else "")
