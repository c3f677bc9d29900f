"""A file's text in parts, with the places where documents begin."""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from lmexp.corpora.reading import (
    INVALID,
    PACKINGS,
    REPLACED,
    OnInvalid,
    RawLine,
    count_chars,
    lines,
    opened,
)

Document = Literal["file", "line", "blank_line", "article", "split"]

NAME_THE_FIELD = "name the field with the text in data.corpus.text_field when you train"
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_TITLE = re.compile(r" = (?!=).*(?<!=) = \n?")  # of WikiText; headings within have more signs


class Part(NamedTuple):
    """A line of text."""

    text: str
    begins: bool  # a document
    size: int  # characters of the file that it stands for
    key: bytes | None  # content of the document that begins, where that is a line or a record
    flaw: str | None = None  # why it has to be dropped; REPLACED of one that was changed and stays


class Record(NamedTuple):
    """A decoded record, before its text is taken out."""

    value: Any
    size: int
    where: str
    flaw: str | None = None  # as of a Part


def has_records(path: Path) -> bool:
    """Whether a file's name says that it holds records."""
    return _kind(path) in (".json", ".jsonl", ".ndjson")


def _kind(path: Path) -> str:
    return (path.with_suffix("") if path.suffix in PACKINGS else path).suffix


def parts(path: Path, document: Document, text_field: str, on_invalid: OnInvalid) -> Iterator[Part]:
    """The text of a file; arguments as in TextFiles.

    Raises:
        ValueError: the file is damaged or not UTF-8, or a record has no text.
    """
    if not has_records(path):
        return _plain_parts(lines(path, on_invalid), document)
    found = _list_records(path) if _kind(path) == ".json" else _line_records(path, on_invalid)
    return record_parts(found, text_field, on_invalid, ends_lines=document == "split")


def _plain_parts(raw: Iterable[RawLine], document: Document) -> Iterator[Part]:
    begins, is_blank = True, False
    for text, flaw in raw:
        if document == "blank_line" and is_blank and not text.isspace():
            begins = True  # blank lines belong to the document before them
        if document == "article" and _TITLE.fullmatch(text):
            begins = True
        yield Part(text, begins, len(text), text.encode() if document == "line" else None, flaw)
        begins = document == "line" and text.endswith("\n")
        is_blank = text.isspace()


def _line_records(path: Path, on_invalid: OnInvalid) -> Iterator[Record]:
    size = 0
    for number, (line, flaw) in enumerate(lines(path, on_invalid), start=1):
        where = f"{path}, line {number}"
        size += len(line)
        if line.isspace():
            continue
        try:
            value = None if flaw == INVALID else json.loads(line)
        except ValueError as error:
            raise ValueError(f"{where} is no JSON: {error}") from error
        yield Record(value, size, where, flaw)
        size = 0


def _list_records(path: Path) -> Iterator[Record]:
    with opened(path) as file:
        data = file.read()
        try:
            values = json.loads(data)
        except ValueError as error:
            raise ValueError(f"{path} is no JSON: {error}") from error
    if not isinstance(values, list):
        raise ValueError(f"{path} holds no list of records; records one a line are .jsonl")
    lengths = [len(json.dumps(value, ensure_ascii=False)) for value in values]
    total, size = sum(lengths), count_chars(data)
    begin = position = 0
    for number, (value, length) in enumerate(zip(values, lengths, strict=True), start=1):
        position += length
        end = size * position // total  # white space and commas are shared out among the records
        yield Record(value, end - begin, f"{path}, record {number}")
        begin = end


def record_parts(
    records: Iterable[Record], text_field: str, on_invalid: OnInvalid, *, ends_lines: bool
) -> Iterator[Part]:
    r"""The text of records, line by line; each record begins a document.

    Args:
        records: decoded.
        text_field: of a record; its value is a string, or a list of lines.
        on_invalid: what to do with text that UTF-8 cannot hold.
        ends_lines: a record without "\n" at its end gets one.

    Raises:
        ValueError: a record has no text in that field.
    """
    waiting = 0  # characters of records without a part: the next one stands for them too
    for record in records:
        size, waiting = waiting + record.size, 0
        if record.flaw == INVALID:
            yield Part("", True, size, b"", record.flaw)
            continue
        text, flaw = _encodable(_text(record, text_field), on_invalid, record.where)
        flaw = flaw or record.flaw
        if ends_lines and text and not text.endswith("\n"):
            text += "\n"
        key = text.encode(errors="replace")
        for number, line in enumerate(_LINE.findall(text)):
            yield Part(line, not number, size, None if number else key, flaw)
            size, flaw = 0, None if flaw == REPLACED else flaw  # a record is counted once
        waiting = size


def _text(record: Record, field: str) -> str:
    if not isinstance(record.value, dict):
        raise ValueError(
            f"{record.where} is {type(record.value).__name__}, not an object with fields: write "
            f'{{"{field}": "…"}}'
        )
    if field not in record.value:
        names = ", ".join(record.value) or "no field at all"
        raise ValueError(f"{record.where} has no '{field}' but {names}: {NAME_THE_FIELD}")
    value = record.value[field]
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "".join(line.removesuffix("\n") + "\n" for line in value)
    if not isinstance(value, str):
        raise ValueError(
            f"{record.where}: '{field}' is {type(value).__name__}, not text or a list of lines: "
            + NAME_THE_FIELD
        )
    return value


def _encodable(text: str, on_invalid: OnInvalid, where: str) -> tuple[str, str | None]:
    if text.isascii():
        return text, None
    try:
        text.encode()
    except UnicodeEncodeError as error:
        if on_invalid == "error":
            raise ValueError(
                f"{where}: the surrogate \\u{ord(text[error.start]):x} stands alone, which UTF-8 "
                "cannot hold: correct it, or train with data.corpus.on_invalid=drop or replace"
            ) from error
        flaw = INVALID if on_invalid == "drop" else REPLACED
        return text.encode("utf-8", "replace").decode(), flaw
    return text, None
