"""Texts with marked parts, as characters with tags."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from lmexp.corpora.piece import Split, Tagged
from lmexp.corpora.reading import INVALID, OnInvalid
from lmexp.corpora.record_files import Entry, RecordFiles, worst
from lmexp.corpora.rows import Row, text_of
from lmexp.corpora.splitting import Fractions

OVERLAPPING = "span that overlaps another"
REPEATED = "span marked twice"
EMPTY = "empty text"


class Span(NamedTuple):
    """A marked part of a text."""

    start: int  # of its first character
    end: int  # after its last one
    type: str
    goes_first: bool = False  # where it overlaps another


class Tags(NamedTuple):
    """A tag for every character, IOB2, and what could not be told by one."""

    tags: tuple[str, ...]
    overlapping: int
    repeated: int


def tags_of(length: int, spans: Sequence[Span]) -> Tags:
    """Spans as tags, of which each character can have one.

    Of spans that overlap one is kept: one that goes first before others, then the longer one, then
    the one marked earlier. Spans of the same place and type are one.

    Args:
        length: of the text, in characters.
        spans: in any order; all within the text, none empty.
    """
    tags = ["O"] * length
    once = list(dict.fromkeys(spans))
    overlapping = 0
    for span in sorted(once, key=lambda span: (not span.goes_first, span.start - span.end)):
        if any(tag != "O" for tag in tags[span.start : span.end]):
            overlapping += 1
            continue
        for place in range(span.start, span.end):
            tags[place] = f"{'B' if place == span.start else 'I'}-{span.type}"
    return Tags(tuple(tags), overlapping, len(spans) - len(once))


class SpanFiles(RecordFiles[Tagged]):
    """Records with a text and spans of it, read as characters with tags; see `tags_of`.

    A class of them says which field has the text (`_text_field`), and what its spans are
    (`_spans`). A record with an empty text is counted. What is dropped of overlapping spans is
    counted too, in val and test as well: figures are of the spans that are left.

    Args:
        names: see RecordFiles.
        fractions: likewise.
        drop_seen: likewise, drops_seen.
        on_invalid: likewise.
        folder: likewise.
        download: likewise.
        root: likewise.

    Raises:
        ValueError: there is nothing to read, or arguments do not go together.
    """

    joins_words = True
    _things = "records"
    _text_field: str

    def __init__(
        self,
        names: Mapping[Split, Sequence[str]],
        fractions: Fractions,
        drop_seen: bool,
        on_invalid: OnInvalid,
        folder: str | None,
        download: Sequence[Mapping[str, str]],
        root: str | None,
    ) -> None:
        super().__init__(names, fractions, on_invalid, folder, download, root, drop_seen)

    def tagged(self, split: Split) -> Iterator[Tagged]:
        """The texts of a split, in the order of its files; none of a split that is missing.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: a file is empty, damaged, not UTF-8, has no spans, or spans that are not in
                the text.
        """
        return self._items(split)

    @abstractmethod
    def _spans(self, row: Row, text: str) -> list[Span]:
        """What is marked in a record's text."""

    def _settings(self) -> Any:
        return None

    def _read(self, split: Split) -> Iterator[Entry[Tagged]]:
        for row in self._rows(split):
            yield Entry("", (), INVALID) if row.flaw == INVALID else self._entry(row)

    def _entry(self, row: Row) -> Entry[Tagged]:
        value = field_of(row, self._text_field)
        text, flaw = text_of(value, f"{row.where}: '{self._text_field}'", self._on_invalid)
        flaw = worst([row.flaw, flaw])
        if not text or flaw == INVALID:
            return Entry("", (), flaw if flaw == INVALID else EMPTY)
        tags, overlapping, repeated = tags_of(len(text), self._spans(row, text))
        changes = (OVERLAPPING,) * overlapping + (REPEATED,) * repeated
        return Entry(text, (Tagged(tuple(text), tags),), flaw, changes)


def field_of(row: Row, field: str) -> Any:
    """A field of a record.

    Raises:
        ValueError: it has none of that name, or is no record.
    """
    if not isinstance(row.value, dict):
        raise ValueError(f"{row.where} is {type(row.value).__name__}, not an object with fields")
    if field not in row.value:
        there = ", ".join(row.value) or "no field at all"
        raise ValueError(
            f"{row.where} has no '{field}' but {there}: a file without labels can neither be "
            "trained on nor scored; leave it out, or label it with `python -m lmexp label`"
        )
    return row.value[field]


def checked(span: Span, text: str, marked: Any, where: str) -> Span:
    """The span, if the text has at its place what was marked.

    Raises:
        ValueError: it has something else there.
    """
    there = text[span.start : span.end]
    if not there or there != marked or span.start < 0:
        raise ValueError(
            f"{where} marks '{marked}' at {span.start} to {span.end} as {span.type}, but the text "
            f"of {len(text)} characters has '{there}' there: correct the place; characters count "
            "from 0"
        )
    return span
