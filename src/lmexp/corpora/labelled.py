"""Texts, or pairs of texts, with a label or several: sentiment, topics, intents, inference."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from annotated_types import Ge, Lt

from lmexp.corpora.piece import Labelled, Split
from lmexp.corpora.reading import INVALID, Encoding, OnInvalid, RawLine
from lmexp.corpora.record_files import SPLIT_KEYS, Entry, Names, RecordFiles, names_of_splits, worst
from lmexp.corpora.rows import Row, text_of
from lmexp.corpora.splitting import Fractions
from lmexp.corpora.tables import Table

EMPTY = "empty text"


class LabelledRecords(RecordFiles[Labelled]):
    r"""Rows or records with a text, perhaps a second one, and what is said of them.

    .jsonl, .ndjson and .json have records; .tsv and .csv rows with names on top, or without, as
    files of any other name. A field of text holds a string, or a list of strings that is joined by
    "\n"; one of labels a string or number, or a list of them. A record with an empty text is
    dropped and counted.

    Args:
        train: files of the training split, or of everything: names, globs, folders.
        val: of the validation split; None cuts val_fraction off `train`.
        test: of the test split; None cuts test_fraction off `train`.
        val_fraction: of the records, by a hash of the text: equal ones fall into the same split.
        test_fraction: likewise.
        columns: names of the cells, in files that have none on top; None: they have.
        separator: of the cells of such files, where it is no tab (in .csv: comma).
        encoding: of the files: utf-8 or latin-1.
        text: name of its field.
        second: likewise, of pairs of texts; None where there is one text.
        label: likewise.
        label_separator: between labels in a string where several may hold at once; None: a string
            is one label.
        label_names: names of labels by those in the files, and then there are no others; {}: they
            are called as in the files.
        drop_labels: records with one of these, which say that there is none, are dropped and
            counted.
        drop_seen: drop training records that are in val or test too, with the same letters and
            digits of all texts, and count them.
        on_invalid: what to do with a record that is not UTF-8: error, replace or drop; both are
            counted.
        folder: of a named set, in $LMEXP_DATA and in the cache.
        download: where a named set comes from: entries with file, url, sha256 and perhaps member.
        root: data.root: where the files are looked for first.

    `labelled(split)` streams; see lmexp.corpora for `splits`, `counts`, `fingerprint()` and
    `source`.

    Raises:
        ValueError: arguments that do not go together.
    """

    def __init__(
        self,
        train: Names,
        val: Names | None,
        test: Names | None,
        val_fraction: Annotated[float, Ge(0), Lt(1)],
        test_fraction: Annotated[float, Ge(0), Lt(1)],
        columns: list[str] | None,
        separator: str | None,
        encoding: Encoding,
        text: str,
        second: str | None,
        label: str,
        label_separator: str | None,
        label_names: dict[str | int, str],
        drop_labels: list[str],
        drop_seen: bool,
        on_invalid: OnInvalid,
        folder: str | None = None,
        download: Sequence[Mapping[str, str]] = (),
        root: str | None = None,
    ) -> None:
        files = names_of_splits(train, val, test, SPLIT_KEYS)
        fractions = Fractions(val_fraction, test_fraction)
        super().__init__(files, fractions, on_invalid, folder, download, root, drop_seen)
        self._table = Table(columns, separator, encoding)
        self._fields = {"data.text": text} | ({} if second is None else {"data.second": second})
        self._label, self._label_separator = label, label_separator
        self._label_names, self._drop_labels = _by_text(label_names), list(drop_labels)
        wanted = [*self._fields.values(), label]
        if columns is not None and (missing := set(wanted) - set(columns)):
            raise ValueError(
                f"data.columns=[{','.join(columns)}] has no {', '.join(sorted(missing))}: it names "
                "every cell of a row, and data.text, data.second and data.label are among them"
            )
        if separator is not None and columns is None:
            raise ValueError(
                f"data.separator={separator!r} is of files without names on top: name the cells in "
                "data.columns, or leave it null"
            )

    @property
    def has_pairs(self) -> bool:
        """Whether something is said of two texts at a time."""
        return len(self._fields) > 1

    def labelled(self, split: Split) -> Iterator[Labelled]:
        """The records of a split, in the order of its files; none of a split that is missing.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: a file is empty, damaged, not UTF-8, not what the arguments say, or has a
                record without a label.
        """
        return self._items(split)

    def _settings(self) -> Any:
        labels = [self._label, self._label_separator, self._label_names, self._drop_labels]
        return [self._table, self._fields, *labels]

    def _identity(self, entry: Entry[Labelled]) -> str:
        return "\t".join(text for item in entry.items for text in item[:2] if text is not None)

    def _read(self, split: Split) -> Iterator[Entry[Labelled]]:
        for path in self._each_path(split):
            for row in self._table.rows(path, self._on_invalid):
                yield Entry("", (), INVALID) if row.flaw == INVALID else self._entry(row)

    def _entry(self, row: Row) -> Entry[Labelled]:
        texts = [self._text(row, field, key) for key, field in self._fields.items()]
        flaw = worst([row.flaw, *(text.flaw for text in texts)])
        labels = self._labels(row)
        key = texts[0].text
        for label in labels:
            if label in self._drop_labels:
                return Entry(key, (), f"label {label}")
        if not all(text.text.strip() for text in texts):
            return Entry(key, (), EMPTY)
        second = texts[1].text if len(texts) > 1 else None
        named = tuple(self._named(label, row) for label in labels)
        return Entry(key, (Labelled(key, second, named),), flaw)

    def _text(self, row: Row, field: str, key: str) -> RawLine:
        value = self._value(row, field, key)
        if isinstance(value, list) and all(isinstance(part, str) for part in value):
            value = "\n".join(value)
        text, flaw = text_of(value, f"{row.where}: '{field}'", self._on_invalid)
        return RawLine(text.removesuffix("\r"), flaw)

    def _labels(self, row: Row) -> list[str]:
        value = self._value(row, self._label, "data.label")
        if isinstance(value, list):
            found = [_as_text(label) for label in value]
        elif self._label_separator is not None and isinstance(value, str):
            found = [part.strip() for part in value.split(self._label_separator) if part.strip()]
        else:
            found = [_as_text(value)]
        if not all(found):
            raise ValueError(
                f"{row.where}: '{self._label}' is {value!r}, which is no label: write one, a list "
                "of them where several may hold, or delete the record"
            )
        return list(dict.fromkeys(found))

    def _named(self, label: str, row: Row) -> str:
        if self._label_names and label not in self._label_names:
            raise ValueError(
                f"{row.where}: '{self._label}' is {label[:40]!r}, which is none of the labels in "
                f"data.label_names ({', '.join(self._label_names)}): correct it, or name it there"
            )
        return self._label_names.get(label, label)

    def _value(self, row: Row, field: str, key: str) -> Any:
        if not isinstance(row.value, dict):
            raise ValueError(
                f"{row.where} is {type(row.value).__name__}, not an object with fields: write "
                f'{{"{field}": "…"}}'
            )
        if field in row.value and row.value[field] is None:
            raise ValueError(
                f"{row.where}: '{field}' is null: give it a value, or delete the record; another "
                f"field is named in {key}"
            )
        if field not in row.value:
            there = ", ".join(str(name)[:40] for name in row.value) or "no field at all"
            raise ValueError(
                f"{row.where} has no '{field}' but {there}: name the field in {key}, or the cells "
                "in data.columns if the file has no names on top; a file without labels can "
                "neither be trained on nor scored"
            )
        return row.value[field]


def _by_text(names: Mapping[str | int, str]) -> dict[str, str]:
    """The names, where {0: no} of a command line means the same as {"0": no}."""
    return {str(label): name for label, name in names.items()}


def _as_text(label: Any) -> str:
    """The label, or "" of what is none."""
    if isinstance(label, str):
        return label.strip()
    return str(label) if isinstance(label, int | float) else ""
