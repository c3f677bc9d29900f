"""From a corpus to a fitted tokenizer and token stores, each found in the cache or built once."""

import hashlib
import inspect
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from lmexp import tokenizers
from lmexp.cache import built, cache_folder
from lmexp.packing import FORMAT, EmptyTextError, Frame, Piece, TokenStore, write_store
from lmexp.tokenizers import Tokenizer

T = TypeVar("T")
Split = Literal["train", "val", "test"]
_ANNOUNCE_SECONDS = 10
_ANNOUNCE_ITEMS = 4096  # looks at the clock that often


class Corpus(Protocol):
    """What yields the text of a split."""

    @property
    def counts(self) -> Counter[str]:
        """Lines dropped or replaced by the last reading, by reason."""
        ...

    @property
    def is_stream(self) -> bool:
        """One continuous text, without ends of documents."""
        ...

    def take_documents(self) -> None:
        """Be no continuous text any more; only such a one is asked."""
        ...

    @property
    def source(self) -> str:
        """Where the files were found."""
        ...

    def pieces(self, split: Split) -> Iterator[Any]:
        """The text, line by line or so; see packing.Piece."""
        ...

    def fingerprint(self) -> str:
        """Hash of the files and of all settings that change the text."""
        ...


class Cleaning(Protocol):
    """What changes or drops text; its repr names all its settings."""

    def clean(self, pieces: Iterator[Any], counts: Counter[str]) -> Iterator[Any]:
        """The pieces that stay; counts what does not, by reason."""
        ...


class Preparation:
    """Reads a corpus, cleaned, into the cache.

    Args:
        corpus: what to read.
        cleaning: applied to every split.
        announce: told what takes long, every ten seconds.
    """

    def __init__(
        self, corpus: Corpus, cleaning: Cleaning, announce: Callable[[str], None] | None = None
    ) -> None:
        self.corpus = corpus
        self.cleaning = cleaning
        self.data_hash = content_hash(corpus.fingerprint(), repr(cleaning), corpus.is_stream)
        self._announce = announce

    def tokenizer(self, unfitted: Tokenizer) -> Tokenizer:
        """The tokenizer, fitted on the training split alone.

        Raises:
            ValueError: the training split has no text.
        """

        def write(folder: Path) -> None:
            unfitted.fit(self._training_texts)
            folder.mkdir(parents=True)
            tokenizers.save(unfitted, folder / "tokenizer.json")

        key = content_hash(self.data_hash, settings(unfitted))
        folder = built(cache_folder() / "tokenizers" / key, write)
        fitted: Tokenizer = tokenizers.load(folder / "tokenizer.json")
        return fitted

    def store(self, split: Split, tokenizer: Tokenizer) -> TokenStore:
        """The tokens of a split.

        Raises:
            ValueError: the split has no text.
        """
        frame = document_frame(self.corpus.is_stream)._replace(keeps_lines=split != "train")
        key = content_hash(self.data_hash, split, tokenizer.hash(), frame)
        folder = cache_folder() / "tokens" / key

        def write(folder: Path) -> None:
            write_store(folder, lambda drops: self._pieces(split, drops), tokenizer, frame)

        try:
            return TokenStore(built(folder, write))
        except EmptyTextError as error:
            raise self._is_empty(split, error) from error

    def _training_texts(self) -> Iterator[str]:
        dropped: Counter[str] = Counter()
        is_empty = True
        for piece in self._pieces("train", dropped):
            is_empty = is_empty and not piece.text
            yield piece.text
        if is_empty:
            raise self._is_empty("train", EmptyTextError.of(dropped))

    def _is_empty(self, split: Split, error: EmptyTextError) -> ValueError:
        share = "" if split == "train" else f", for example data.corpus.{split}_fraction=0.05"
        return ValueError(
            f"the {split} split of {self.corpus.source} is empty ({error}): give it text{share}"
        )

    def _pieces(self, split: Split, dropped: Counter[str]) -> Iterator[Piece]:
        pieces = self.cleaning.clean(self.corpus.pieces(split), dropped)
        yield from announced(pieces, f"preparing {split}", "lines", self._announce)
        dropped.update(self.corpus.counts)


def announced(
    items: Iterable[T], what: str, unit: str, announce: Callable[[str], None] | None
) -> Iterator[T]:
    """The items, with a word every ten seconds about how many there were."""
    then = time.monotonic()
    for number, item in enumerate(items, start=1):
        yield item
        if number % _ANNOUNCE_ITEMS or time.monotonic() - then < _ANNOUNCE_SECONDS:
            continue
        then = time.monotonic()
        if announce is not None:
            announce(f"{what}: {number:,} {unit} read")


def document_frame(is_stream: bool) -> Frame:
    """Reserved ids around a document; a continuous text has no end."""
    eos_id = None if is_stream else tokenizers.EOS_ID
    return Frame(tokenizers.BOS_ID, eos_id, tokenizers.UNK_ID)


def settings(tokenizer: Tokenizer) -> dict[str, Any]:
    """Class and constructor arguments of a tokenizer."""
    kind = type(tokenizer)
    arguments = {name: getattr(tokenizer, name) for name in inspect.signature(kind).parameters}
    return {"class": f"{kind.__module__}.{kind.__qualname__}", **arguments}


def content_hash(*parts: Any) -> str:
    """A name for what some plain values decide."""
    text = json.dumps([FORMAT, *parts], sort_keys=True, default=list)
    return hashlib.sha256(text.encode()).hexdigest()
