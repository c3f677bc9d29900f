"""Records with fields, any of which can be source and target: summaries, code, answers."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from annotated_types import Ge, Lt

from lmexp.corpora.pair_files import PAIR_KEYS, Languages, PairEntry, PairFiles
from lmexp.corpora.piece import Pair, PairWithTests, Split
from lmexp.corpora.reading import INVALID, OnInvalid
from lmexp.corpora.record_files import Entry, Names, names_of_splits, worst
from lmexp.corpora.rows import has_any, texts
from lmexp.corpora.splitting import Fractions


class RecordPairs(PairFiles):
    r"""Two fields of each record: .jsonl, .ndjson, .json, and .tsv or .csv with names on top.

    A field holds a string, or a list of strings that is joined by "\n". A name with dots, such as
    translation.en, leads into a record within the record.

    Args:
        files: of the training split, or of everything: names, globs, folders.
        val_files: of the validation split; None cuts val_fraction off `files`.
        test_files: of the test split; None cuts test_fraction off `files`.
        val_fraction: of the records, by a hash of the source: equal ones fall into the same split.
        test_fraction: likewise.
        source: name of its field; of several the first that has a value.
        target: likewise; the others that have a value are further references.
        languages: codes of source and target, such as [zh, zh]; None where they do not matter.
        on_invalid: what to do with a record that is not UTF-8: error, replace or drop; both
            are counted.
        folder: of a named set, in $LMEXP_DATA and in the cache.
        download: where a named set comes from: entries with file, url, sha256 and perhaps member.
        root: data.root: where the files are looked for first.
        tests: names of fields with Python that is run after the target, in this order, where
            eval.execute=true; a record need not have them. None where targets are no programs.

    `pairs(split)` streams; see lmexp.corpora for `splits`, `languages`, `counts`, `fingerprint()`
    and `source`.

    Raises:
        ValueError: arguments that do not go together.
    """

    _keys = PAIR_KEYS

    def __init__(
        self,
        files: Names,
        val_files: Names | None,
        test_files: Names | None,
        val_fraction: Annotated[float, Ge(0), Lt(1)],
        test_fraction: Annotated[float, Ge(0), Lt(1)],
        source: str | list[str],
        target: str | list[str],
        languages: Languages | None,
        on_invalid: OnInvalid,
        folder: str | None = None,
        download: Sequence[Mapping[str, str]] = (),
        root: str | None = None,
        tests: str | list[str] | None = None,
    ) -> None:
        names = names_of_splits(files, val_files, test_files, PAIR_KEYS)
        fractions = Fractions(val_fraction, test_fraction)
        super().__init__(names, fractions, on_invalid, languages, folder, download, root)
        self._source = _listed("data.source", source)
        self._target = _listed("data.target", target)
        self._tests = _listed("data.tests", tests) if tests is not None else []

    def _settings(self) -> Any:
        return [self._source, self._target, *([self._tests] if self._tests else [])]

    def _read(self, split: Split) -> Iterator[PairEntry]:
        for row in self._rows(split):
            if row.flaw == INVALID:
                yield Entry("", (), INVALID)
                continue
            sides = [
                *texts(row, self._source, "data.source", self._on_invalid)[:1],
                *texts(row, self._target, "data.target", self._on_invalid),
            ]
            tests = (
                texts(row, self._tests, "data.tests", self._on_invalid)
                if has_any(row, self._tests)
                else []
            )
            source, target, *references = (side.text for side in sides)
            flaw = worst([row.flaw, *(part.flaw for part in (*sides, *tests))])
            pair: Pair | PairWithTests = Pair(source, target, tuple(references))
            if self._tests:
                code = tuple(test.text for test in tests)
                pair = PairWithTests(source, target, tuple(references), code)
            yield Entry(source, (pair,), flaw)


def _listed(key: str, names: str | list[str]) -> list[str]:
    if not names:
        raise ValueError(f"{key}={names or '[]'} names no field: write the name of one")
    return [names] if isinstance(names, str) else list(names)
