r"""Lines and records of files, whole: what one side of a pair, or both, are taken from.

Records are the lines of .jsonl and .ndjson, the items of the list in .json (or its lines, where it
holds no list), and the rows of .tsv and .csv, whose first row names the fields. A .tsv is cut at
tabs and "\n" alone and knows no quotes; a .csv follows RFC 4180.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lmexp.corpora.reading import (
    BOM,
    INVALID,
    PACKINGS,
    REPLACED,
    Encoding,
    OnInvalid,
    RawLine,
    lines,
    opened,
)

_START_BYTES = 1 << 12
_CELL_CHARS = 1 << 24  # of a .csv; more is a quote that was never closed


class Row(NamedTuple):
    """A record, and where it stands."""

    value: Any
    where: str
    flaw: str | None = None  # as of a RawLine; where it is INVALID there is no value


def kind(path: Path) -> str:
    """The ending of a file's name, without that of its compression."""
    return (path.with_suffix("") if path.suffix in PACKINGS else path).suffix


def whole_lines(
    path: Path, on_invalid: OnInvalid, encoding: Encoding = "utf-8"
) -> Iterator[RawLine]:
    r"""The lines of a file without their "\n", however long; arguments as of `lines`."""
    begun: RawLine | None = None
    for line in lines(path, on_invalid, encoding):
        if begun is not None:
            line = RawLine(begun.text + line.text, begun.flaw or line.flaw)
        begun = line
        if line.text.endswith("\n"):
            yield RawLine(line.text[:-1], line.flaw)
            begun = None
    if begun is not None:
        yield begun


def rows(path: Path, on_invalid: OnInvalid, encoding: Encoding = "utf-8") -> Iterator[Row]:
    """The records of a file, each with named fields.

    Args:
        path: .jsonl, .ndjson, .json, .tsv or .csv; plain, .gz or .zst.
        on_invalid: what to do with a record that is not UTF-8: raise, replace bytes, drop.
        encoding: of the file; a list in .json is UTF-8 always.

    Raises:
        ValueError: the file is damaged, not UTF-8, or not of the kind that its name says.
    """
    match kind(path):
        case ".jsonl" | ".ndjson":
            return _json_lines(path, on_invalid, encoding)
        case ".json":
            return (
                _json_list(path) if _holds_list(path) else _json_lines(path, on_invalid, encoding)
            )
        case ".tsv":
            return _named(path, tab_rows(path, on_invalid, encoding))
        case ".csv":
            return _named(path, comma_rows(path, on_invalid, encoding))
    raise ValueError(
        f"{path}: its name does not say how the records are written: name files that end in "
        ".jsonl, .ndjson, .json, .tsv or .csv, plain, .gz or .zst"
    )


def _json_lines(path: Path, on_invalid: OnInvalid, encoding: Encoding) -> Iterator[Row]:
    for number, (line, flaw) in enumerate(whole_lines(path, on_invalid, encoding), start=1):
        where = f"{path}, line {number}"
        if not line or line.isspace():
            continue
        try:
            value = None if flaw == INVALID else json.loads(line)
        except ValueError as error:
            raise ValueError(
                f"{where} is no JSON ({error}): write one record a line, or a list into a .json"
            ) from error
        yield Row(value, where, flaw)


def _holds_list(path: Path) -> bool:
    """Whether a .json is a list of records; some have a record a line instead."""
    with opened(path) as file:
        return file.read(_START_BYTES).removeprefix(BOM).lstrip().startswith(b"[")


def _json_list(path: Path) -> Iterator[Row]:
    with opened(path) as file:
        data = file.read()
        try:
            values = json.loads(data)
        except ValueError as error:
            raise ValueError(f"{path} is no JSON ({error}): write a list of records") from error
    for number, value in enumerate(values, start=1):
        yield Row(value, f"{path}, record {number}")


def tab_rows(path: Path, on_invalid: OnInvalid, encoding: Encoding) -> Iterator[Row]:
    """The lines of a file as lists of what stands between tabs; arguments as of `rows`."""
    for number, (line, flaw) in enumerate(whole_lines(path, on_invalid, encoding), start=1):
        if line.strip("\r"):
            yield Row(line.split("\t"), f"{path}, line {number}", flaw)


def comma_rows(path: Path, on_invalid: OnInvalid, encoding: Encoding) -> Iterator[Row]:
    """The rows of a .csv as lists of cells; arguments and errors as of `rows`."""
    csv.field_size_limit(_CELL_CHARS)
    flaws: list[str] = []  # of the lines of one row

    def fed() -> Iterator[str]:
        for line, flaw in whole_lines(path, on_invalid, encoding):
            if flaw is not None:
                flaws.append(flaw)
            yield line + "\n"

    reader = csv.reader(fed(), strict=True)
    number = 1
    try:
        for cells in reader:
            if cells:
                yield Row(cells, f"{path}, line {number}", flaws[0] if flaws else None)
            number = reader.line_num + 1
            flaws.clear()
    except csv.Error as error:
        raise ValueError(
            f"{path}, line {number} is no CSV ({error}): a cell with commas, quotes or line ends "
            "stands in double quotes, and quotes within it are doubled"
        ) from error


def _named(path: Path, found: Iterator[Row]) -> Iterator[Row]:
    """Rows under the names in the first of them."""
    header = next(found, None)
    if header is None:
        return
    names = [name.removesuffix("\r") for name in header.value]
    if len(set(names)) < len(names):
        raise ValueError(
            f"{header.where} names a field twice ({', '.join(names)}): the first row names the "
            "fields, each differently"
        )
    for row in found:
        if row.flaw == INVALID:
            yield Row(None, row.where, row.flaw)
            continue
        if len(row.value) != len(names):
            raise ValueError(
                f"{row.where} has {len(row.value)} cells, but the first row names {len(names)} "
                f"fields ({', '.join(names)}): every row has a cell for each"
            )
        yield row._replace(value=dict(zip(names, row.value, strict=True)))


def present(row: Row, names: Sequence[str], key: str) -> dict[str, Any]:
    """Those of the named fields that a record has with a value other than null; at least one.

    Args:
        row: a record.
        names: a name with dots leads into records within the record, if none has it as it is.
        key: that the names were written in, for the error.

    Raises:
        ValueError: it has none of them, or is no record.
    """
    if not isinstance(row.value, dict):
        raise ValueError(
            f"{row.where} is {type(row.value).__name__}, not an object with fields: write "
            f'{{"{names[0]}": "…"}}'
        )
    found = _with_value(row.value, names)
    if not found:
        if any(name in row.value for name in names):
            raise ValueError(
                f"{row.where}: '{names[0]}' is null: give it a value, delete the "
                f"record, or name another field in {key}"
            )
        there = ", ".join(name for name, value in row.value.items() if value is not None)
        raise ValueError(
            f"{row.where} has no '{' or '.join(names)}' but {there or 'no field at all'}: name the "
            f"field in {key}, or delete the record"
        )
    return found


def has_any(row: Row, names: Sequence[str]) -> bool:
    """Whether a record has one of the named fields, with a value other than null."""
    return isinstance(row.value, dict) and bool(_with_value(row.value, names))


def _with_value(record: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: value for name in names if (value := _value(record, name)) is not None}


def _value(record: dict[str, Any], name: str) -> Any:
    if name in record:
        return record[name]
    first, dot, rest = name.partition(".")
    inner = record.get(first)
    return _value(inner, rest) if dot and isinstance(inner, dict) else None


def texts(row: Row, names: Sequence[str], key: str, on_invalid: OnInvalid) -> list[RawLine]:
    r"""The texts of those named fields that a record has; a list of strings is joined by "\n".

    Args:
        row: a record.
        names: as of `present`.
        key: likewise.
        on_invalid: what to do with text that UTF-8 cannot hold.

    Raises:
        ValueError: a field holds no text, or there is none.
    """
    found = []
    for name, value in present(row, names, key).items():
        if isinstance(value, list) and all(isinstance(line, str) for line in value):
            value = "\n".join(value)
        found.append(text_of(value, f"{row.where}: '{name}'", on_invalid))
    return found


def text_of(value: Any, where: str, on_invalid: OnInvalid) -> RawLine:
    """A string of a record, as UTF-8 can hold it.

    Raises:
        ValueError: it is something else, or UTF-8 cannot hold it and on_invalid is error.
    """
    if not isinstance(value, str):
        raise ValueError(
            f"{where} is {type(value).__name__}, not text or a list of strings: name a field with "
            "text, or delete the record"
        )
    if value.isascii():
        return RawLine(value, None)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        if on_invalid == "error":
            raise ValueError(
                f"{where}: the surrogate \\u{ord(value[error.start]):x} stands alone, which UTF-8 "
                "cannot hold: correct it, or train with data.corpus.on_invalid=drop or replace"
            ) from error
        flaw = INVALID if on_invalid == "drop" else REPLACED
        return RawLine(value.encode("utf-8", "replace").decode(), flaw)
    return RawLine(value, None)
