"""Text sets of the Hugging Face hub, by name."""

import contextlib
import hashlib
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Lt

from lmexp.corpora.piece import Piece, Split
from lmexp.corpora.reading import REPLACED, OnInvalid
from lmexp.corpora.records import Record, record_parts
from lmexp.corpora.splitting import Fractions

_BLOCK_ROWS = 1000


class Hub:
    """Any set with a text column that the `datasets` library can load.

    Rows are documents, or with document=split the lines of one continuous text. A split that the
    set lacks is cut off its training split, row by row, by a hash of the text.

    Args:
        path: of the set: owner/name, or a local folder.
        name: of one of its configurations; None for the only one.
        revision: a commit, branch or tag; None for the newest. Pin a commit to repeat a run.
        train_split: its name there.
        val_split: its name there; None cuts val_fraction off the training split.
        test_split: its name there; None cuts test_fraction off it.
        val_fraction: of the rows.
        test_fraction: of the rows.
        text_field: of a row; its value is a string, or a list of lines.
        document: row or split.
        streaming: read over the network, row by row; False downloads the set first.
        on_invalid: what to do with text that UTF-8 cannot hold: error, replace or drop;
            both are counted.
        root: data.root: the cache of `datasets`; None for its default.

    Raises:
        ValueError: the fractions leave nothing to train on.
    """

    def __init__(
        self,
        path: str,
        name: str | None,
        revision: str | None,
        train_split: str,
        val_split: str | None,
        test_split: str | None,
        val_fraction: Annotated[float, Ge(0), Lt(1)],
        test_fraction: Annotated[float, Ge(0), Lt(1)],
        text_field: str,
        document: Literal["row", "split"],
        streaming: bool,
        on_invalid: OnInvalid,
        root: str | None = None,
    ) -> None:
        self._path, self._name, self._revision = path, name, revision
        named = {"train": train_split, "val": val_split, "test": test_split}
        self._names = {split: name for split, name in named.items() if name is not None}
        self._fractions = Fractions(
            0.0 if val_split else val_fraction, 0.0 if test_split else test_fraction
        )
        self._fractions.check()
        self._text_field, self._streaming = text_field, streaming
        self._on_invalid: OnInvalid = on_invalid
        self._root = root
        self.is_stream = document == "split"
        self.counts: Counter[str] = Counter()
        self._loaded: Any = None

    def take_documents(self) -> None:
        """See the package; each row is one."""
        self.is_stream = False

    @property
    def source(self) -> str:
        """The set, and how it is read."""
        how = "streamed" if self._streaming else "downloaded"
        return f"Hugging Face hub: {self._path} {self._name or ''}".rstrip() + f" ({how})"

    @property
    def splits(self) -> tuple[Split, ...]:
        """Those that have text."""
        has = {"val": self._fractions.val > 0, "test": self._fractions.test > 0}
        names: tuple[Split, ...] = ("train", "val", "test")
        return tuple(name for name in names if name in self._names or has[name])

    def fingerprint(self) -> str:
        """Hash of the set's version, as `datasets` tells it, and of all settings."""
        version = Path(self._builder().cache_dir).parts[-3:]  # configuration, version, hash
        settings = [self._path, self._names, self._fractions, self._text_field, self.is_stream]
        text = json.dumps([*settings, self._on_invalid, version], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def pieces(self, split: Split) -> Iterator[Piece]:
        """The text of a split, line by line; none of a split that is missing.

        Raises:
            OSError: the hub cannot be reached.
            ValueError: the set has no such split or column.
        """
        self.counts = Counter()
        if split not in self.splits:
            return
        rows = self._rows(self._names.get(split, self._names["train"]))
        found = record_parts(rows, self._text_field, self._on_invalid, ends_lines=self.is_stream)
        is_cut = any(self._fractions) and (split == "train" or split not in self._names)
        number, home = -1, split
        for part in found:
            if part.key is not None and is_cut:
                home = self._fractions.of_key(part.key)
            if home != split:
                continue
            if part.begins and (number < 0 or not self.is_stream):
                number += 1
            if part.flaw is not None:
                self.counts[part.flaw] += 1
            if part.flaw in (None, REPLACED):
                yield Piece(part.text, number)

    def _rows(self, name: str) -> Iterator[Record]:
        builder = self._builder()
        with self._explained(f"its split {name}"):
            if self._streaming:
                rows = builder.as_streaming_dataset(split=name)
            else:
                builder.download_and_prepare()
                rows = builder.as_dataset(split=name)
            columns = rows.column_names
        if columns is not None and self._text_field not in columns:
            raise ValueError(
                f"{self._path} has no column '{self._text_field}' but {', '.join(columns)}: name "
                "one of them in data.corpus.text_field"
            )
        number = 0
        with self._explained(f"its split {name}"):
            for block in rows.select_columns([self._text_field]).iter(batch_size=_BLOCK_ROWS):
                for value in block[self._text_field]:
                    number += 1
                    where = f"{self._path}, {name}, row {number}"
                    yield Record({self._text_field: value}, 0, where)

    def _builder(self) -> Any:
        if self._loaded is None:
            import datasets

            with self._explained("its description"):
                builder = datasets.load_dataset_builder(
                    self._path, self._name, revision=self._revision, cache_dir=self._root
                )
            self._check_splits(builder.info.splits or builder.config.data_files or ())
            self._loaded = builder
        return self._loaded

    def _check_splits(self, splits: Iterable[Any]) -> None:
        there = [str(split) for split in splits]
        for split, name in self._names.items():
            is_plain = re.fullmatch(r"[\w.]+", name) is not None  # not train[:10%], a+b
            if there and is_plain and name not in [*there, "all"]:
                cut = f", or null to cut it off {self._names['train']}"
                raise ValueError(
                    f"data set {self._path} has no split '{name}' but {', '.join(there)}: name one "
                    f"of them in data.corpus.{split}_split" + ("" if split == "train" else cut)
                )

    @contextlib.contextmanager
    def _explained(self, part: str) -> Iterator[None]:
        """What `datasets` raises while it reads a part, in one line with the set's name."""
        try:
            yield
        except _failures() as error:
            from datasets.exceptions import DatasetGenerationError

            reason = error.__cause__ if isinstance(error, DatasetGenerationError) else error
            text = " ".join(str(reason).split()).rstrip(".") or type(reason).__name__
            there = re.search(r"(?:configs|Available)[^\[]*: \[(.*?)\]", text)
            if there is not None:
                raise ValueError(
                    f"data set {self._path} with data.corpus.name={self._name or 'null'}: its "
                    f"configurations are {there[1]}: name one of them in data.corpus.name"
                ) from None
            raise OSError(
                f"data set {self._path} of the Hugging Face hub, {part}: {text}. Look at the name "
                "and at the network, and try again; without a network, load it once on a machine "
                "that has one and copy the cache of datasets, or write data=text data.files=…"
            ) from None


def _failures() -> tuple[type[BaseException], ...]:
    """The exceptions of `datasets` and of what it reads the network with."""
    from datasets.exceptions import DatasetsError
    from huggingface_hub.errors import HfHubHTTPError

    http = HfHubHTTPError.__mro__[1]  # HTTPError of httpx, or of whatever the hub is read with
    found = (OSError, ValueError, RuntimeError, DatasetsError, http)
    if "aiohttp" not in sys.modules:  # sets with files elsewhere than on the hub
        return found
    from aiohttp import ClientError

    return (*found, ClientError)
