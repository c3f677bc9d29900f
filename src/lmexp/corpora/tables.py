"""Rows of files that may have no names on top, and may be cut otherwise than by tabs or commas."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from lmexp.corpora.reading import INVALID, Encoding, OnInvalid
from lmexp.corpora.records import has_records
from lmexp.corpora.rows import Row, comma_rows, kind, rows, tab_rows, whole_lines


class Table(NamedTuple):
    """How a file of rows is written.

    Args:
        columns: names of the cells, of a file that has none on top; None of one that has them, or
            holds records in JSON.
        separator: between cells; None for a tab, or as .csv has it. Where it is given, a line is
            cut at the last places where it stands, so that the first cell may have it too.
        encoding: of the file.
    """

    columns: Sequence[str] | None
    separator: str | None
    encoding: Encoding

    def rows(self, path: Path, on_invalid: OnInvalid) -> Iterator[Row]:
        """The rows of a file as records.

        Raises:
            ValueError: the file is damaged, or not what the arguments say.
        """
        if self.columns is None:
            return rows(path, on_invalid, self.encoding)
        if has_records(path):
            raise ValueError(
                f"data.columns=[{','.join(self.columns)}] names the cells of rows, but {path} has "
                "records with names: write data.columns=null"
            )
        if self.separator is not None:
            return self._under_names(self._cut(path, on_invalid, self.separator))
        read = comma_rows if kind(path) == ".csv" else tab_rows
        return self._under_names(read(path, on_invalid, self.encoding))

    def _cut(self, path: Path, on_invalid: OnInvalid, separator: str) -> Iterator[Row]:
        most = len(self.columns or ()) - 1
        found = whole_lines(path, on_invalid, self.encoding)
        for number, (line, flaw) in enumerate(found, start=1):
            if line.strip("\r"):
                yield Row(line.rsplit(separator, most), f"{path}, line {number}", flaw)

    def _under_names(self, found: Iterator[Row]) -> Iterator[Row]:
        columns = self.columns or ()
        for row in found:
            if row.flaw == INVALID:
                yield Row(None, row.where, row.flaw)
                continue
            if len(row.value) != len(columns):
                raise ValueError(
                    f"{row.where} has {len(row.value)} cells, but data.columns names "
                    f"{len(columns)} ({', '.join(columns)}): every row has a cell for each; a file "
                    "without the labels can neither be trained on nor scored"
                )
            yield row._replace(value=dict(zip(columns, row.value, strict=True)))
