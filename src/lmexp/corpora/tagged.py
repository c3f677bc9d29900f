"""Sentences of which every word has a tag: entities, events."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from annotated_types import Ge, Lt

from lmexp.corpora.piece import Split, Tagged
from lmexp.corpora.reading import INVALID, OnInvalid
from lmexp.corpora.record_files import SPLIT_KEYS, Entry, Names, RecordFiles, names_of_splits, worst
from lmexp.corpora.records import has_records
from lmexp.corpora.rows import Row, present, rows, text_of, whole_lines
from lmexp.corpora.schemes import Scheme, parts, to_iob2
from lmexp.corpora.splitting import Fractions

EMPTY = "empty sentence"
REPAIRED = "repaired tag"
_DOCSTART = "-DOCSTART-"


class _Word(NamedTuple):
    """A word with its tag, as the files have them."""

    text: str
    tag: str
    place: int  # its line, or which word of the record it is
    flaw: str | None


class TaggedFiles(RecordFiles[Tagged]):
    """Words and their tags, in columns or in records; the tags come out as IOB2.

    Columns (Tjong Kim Sang & De Meulder 2003): a word and its tag a line, among other columns if
    need be, with tabs between them or spaces; a blank line ends a sentence. Lines that begin with
    -DOCSTART- are left out and counted; so are sentences without words. Records: .jsonl, .ndjson
    and .json with a list of words and a list of tags. Plain, .gz, .zst or .zip.

    Args:
        train: files of the training split, or of everything: names, globs, folders.
        val: of the validation split; None cuts val_fraction off `train`.
        test: of the test split; None cuts test_fraction off `train`.
        val_fraction: of the sentences, by a hash of the words: equal ones fall into the same split.
        test_fraction: likewise.
        word_column: of files with columns, from 0; -1 is the last.
        tag_column: likewise.
        words_field: of records: a list of strings, or one string if joins_words.
        tags_field: of records: a list of strings.
        scheme: that the tags are written in, of all files or by split: bio (IOB2), iob1, bioes or
            bmes.
        on_bad_tag: what to do with a tag that the scheme forbids where it stands: error, or repair,
            which is counted; see to_iob2.
        types: names of types by those in the files, where they are to be called otherwise.
        joins_words: words stand without a space between them, as Chinese characters do.
        drop_seen: drop training sentences that are in val or test too, with the same letters and
            digits, and count them.
        on_invalid: what to do with a sentence that is not UTF-8: error, replace or drop; both are
            counted.
        folder: of a named set, in $LMEXP_DATA and in the cache.
        download: where a named set comes from: entries with file, url, sha256 and perhaps member.
        root: data.root: where the files are looked for first.

    `tagged(split)` streams; see lmexp.corpora for `splits`, `joins_words`, `counts`,
    `fingerprint()` and `source`.

    Raises:
        ValueError: arguments that do not go together.
    """

    _things = "sentences"

    def __init__(
        self,
        train: Names,
        val: Names | None,
        test: Names | None,
        val_fraction: Annotated[float, Ge(0), Lt(1)],
        test_fraction: Annotated[float, Ge(0), Lt(1)],
        word_column: int,
        tag_column: int,
        words_field: str,
        tags_field: str,
        scheme: Scheme | dict[Split, Scheme],
        on_bad_tag: Literal["error", "repair"],
        types: dict[str, str],
        joins_words: bool,
        drop_seen: bool,
        on_invalid: OnInvalid,
        folder: str | None = None,
        download: Sequence[Mapping[str, str]] = (),
        root: str | None = None,
    ) -> None:
        names = names_of_splits(train, val, test, SPLIT_KEYS)
        fractions = Fractions(val_fraction, test_fraction)
        super().__init__(names, fractions, on_invalid, folder, download, root, drop_seen)
        self._schemes: dict[Split, Scheme] = (
            scheme if isinstance(scheme, dict) else dict.fromkeys(names, scheme)
        )
        if missing := [split for split in names if split not in self._schemes]:
            raise ValueError(
                f"data.scheme has {', '.join(self._schemes) or 'nothing'}, but not "
                f"{', '.join(missing)}: write one scheme, or one for each split with files"
            )
        self._columns, self._fields = (word_column, tag_column), (words_field, tags_field)
        self._repairs, self._types = on_bad_tag == "repair", dict(types)
        self.joins_words = joins_words

    def tagged(self, split: Split) -> Iterator[Tagged]:
        """The sentences of a split, in the order of its files; none of a split that is missing.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: a file is empty, damaged, not UTF-8, not what the arguments say, or has a
                tag that its scheme forbids.
        """
        return self._items(split)

    def _settings(self) -> Any:
        decided = [self._schemes, self._repairs, self._types, self.joins_words]
        return [self._columns, self._fields, *decided]

    def _read(self, split: Split) -> Iterator[Entry[Tagged]]:
        for path in self._each_path(split):
            sentences = self._of_records if has_records(path) else self._of_columns
            yield from sentences(path, self._schemes[split])

    def _of_columns(self, path: Path, scheme: Scheme) -> Iterator[Entry[Tagged]]:
        words: list[_Word] = []
        width, follows_docstart = 0, False
        for number, (line, flaw) in enumerate(whole_lines(path, self._on_invalid), start=1):
            is_docstart = line.startswith(_DOCSTART)
            if line.strip(" \t\r") and not is_docstart:
                cells = _cells(line)
                if flaw == INVALID:
                    word, tag = "", "O"  # the sentence is dropped
                else:
                    width = width or self._width(cells, f"{path}, line {number}")
                    word, tag = self._word(cells, width, path, number)
                words.append(_Word(word, tag, number, flaw))
            elif words:
                yield self._entry(words, scheme, f"{path}, line")
                words = []
            elif not is_docstart and not follows_docstart:
                yield Entry("", (), EMPTY)
            if is_docstart:
                yield Entry("", (), f"{_DOCSTART} line")
            follows_docstart = is_docstart
        if words:
            yield self._entry(words, scheme, f"{path}, line")

    def _width(self, cells: list[str], where: str) -> int:
        """Columns of a file, by its first line."""
        places = [column % len(cells) for column in self._columns if column < len(cells)]
        places = places if min(self._columns) >= -len(cells) else []
        if len(set(places)) < len(self._columns):
            word, tag = self._columns
            raise ValueError(
                f"{where} has {len(cells)} column{'s' * (len(cells) > 1)}, which gives no word and "
                f"tag with data.word_column={word} and data.tag_column={tag}: columns count from "
                "0, -1 is the last, and tabs or spaces stand between them"
            )
        return len(cells)

    def _word(self, cells: list[str], width: int, path: Path, number: int) -> tuple[str, str]:
        if len(cells) != width:
            raise ValueError(
                f"{path}, line {number} has {len(cells)} columns, but the first line has {width} "
                f"('{' '.join(cells)[:40]}'): every line has as many, and a blank line ends a "
                "sentence"
            )
        word, tag = (cells[column] for column in self._columns)
        if not word:
            raise ValueError(
                f"{path}, line {number} has a tag, {tag}, but no word: delete the line"
            )
        return word, tag

    def _of_records(self, path: Path, scheme: Scheme) -> Iterator[Entry[Tagged]]:
        for row in rows(path, self._on_invalid):
            if row.flaw == INVALID:
                yield Entry("", (), INVALID)
            elif words := self._words_of(row):
                yield self._entry(words, scheme, f"{row.where}, word")
            else:
                yield Entry("", (), EMPTY)

    def _words_of(self, row: Row) -> list[_Word]:
        words, tags = (self._list_of(row, place) for place in range(2))
        if len(words) != len(tags):
            raise ValueError(
                f"{row.where} has {len(words)} words in '{self._fields[0]}' and {len(tags)} tags "
                f"in '{self._fields[1]}': every word has one tag"
            )
        found = []
        for number, (word, tag) in enumerate(zip(words, tags, strict=True), start=1):
            where = f"{row.where}, word {number}"
            text, flaw = text_of(word, where, self._on_invalid)
            if not isinstance(tag, str):
                raise ValueError(
                    f"{where} has the tag {tag!r}, which is no text: write the names of tags, such "
                    "as B-PER, not their numbers"
                )
            found.append(_Word(text, tag, number, worst([row.flaw, flaw])))
        return found

    def _list_of(self, row: Row, place: int) -> list[Any]:
        key, field = ("data.words_field", "data.tags_field")[place], self._fields[place]
        (value,) = present(row, [field], key).values()
        if place == 0 and self.joins_words and isinstance(value, str):
            return list(value)
        if not isinstance(value, list):
            raise ValueError(
                f"{row.where}: '{field}' is {type(value).__name__}, not a list: write "
                '["…", "…"], or name another field in ' + key
            )
        return value

    def _entry(self, words: list[_Word], scheme: Scheme, where: str) -> Entry[Tagged]:
        flaw = worst(word.flaw for word in words)
        if flaw == INVALID:
            return Entry("", (), INVALID)
        texts = tuple(word.text for word in words)
        tags, repaired = self._iob2(words, scheme, where)
        key = ("" if self.joins_words else " ").join(texts)
        return Entry(key, (Tagged(texts, tags),), flaw, (REPAIRED,) * repaired)

    def _iob2(self, words: list[_Word], scheme: Scheme, where: str) -> tuple[tuple[str, ...], int]:
        """The tags as IOB2, and how many had to be repaired."""
        read = to_iob2([word.tag for word in words], scheme)
        tags: list[str] = []
        repaired = 0
        for word in words:
            try:
                found = next(read)
            except ValueError as error:
                raise ValueError(f"{where} {word.place}: {error}") from error
            if found.wrong is not None and not self._repairs:
                other = f"data.scheme={found.remedy} if that is how it is written, or "
                raise ValueError(
                    f"{where} {word.place}: scheme {scheme} forbids the tag {word.tag} of "
                    f"'{word.text}' here: {found.wrong}; write {other if found.remedy else ''}"
                    f"data.on_bad_tag=repair, which reads it as {found.tag} and counts it"
                )
            repaired += found.wrong is not None
            letter, type_ = parts(found.tag)
            tags.append(f"{letter}-{self._types.get(type_, type_)}" if type_ else found.tag)
        return tuple(tags), repaired


def _cells(line: str) -> list[str]:
    """Columns of a line: between tabs if it has one, else between spaces."""
    line = line.removesuffix("\r")
    return line.split("\t") if "\t" in line else [cell for cell in line.split(" ") if cell]
