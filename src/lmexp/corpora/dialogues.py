"""Dialogues, of which every turn but the first is an answer to those before it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from annotated_types import Ge, Lt

from lmexp.corpora.pair_files import PAIR_KEYS, Languages, PairEntry, PairFiles
from lmexp.corpora.piece import Pair, Split
from lmexp.corpora.reading import INVALID, OnInvalid
from lmexp.corpora.record_files import Entry, Names, names_of_splits, worst
from lmexp.corpora.rows import Row, present, text_of
from lmexp.corpora.splitting import Fractions

_SHORT = "dialogue of one turn"


class Dialogues(PairFiles):
    r"""Records with the turns of a dialogue in one field; a pair for each turn but the first.

    The target is the turn, the source the turns before it, joined by "\n". All pairs of a dialogue
    are in one split. A dialogue of fewer than two turns is counted.

    Args:
        files: of the training split, or of everything: names, globs, folders.
        val_files: of the validation split; None cuts val_fraction off `files`.
        test_files: of the test split; None cuts test_fraction off `files`.
        val_fraction: of the dialogues, by a hash of the whole: equal ones fall into the same split.
        test_fraction: likewise.
        turns: name of the field; its value is a list of strings, or one with "\n" between turns.
        history: turns in a source, at most.
        languages: codes of source and target, such as [en, en]; None where they do not matter.
        on_invalid: what to do with a record that is not UTF-8: error, replace or drop; both
            are counted.
        folder: of a named set, in $LMEXP_DATA and in the cache.
        download: where a named set comes from: entries with file, url, sha256 and perhaps member.
        root: data.root: where the files are looked for first.

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
        turns: str,
        history: Annotated[int, Ge(1)],
        languages: Languages | None,
        on_invalid: OnInvalid,
        folder: str | None = None,
        download: Sequence[Mapping[str, str]] = (),
        root: str | None = None,
    ) -> None:
        names = names_of_splits(files, val_files, test_files, PAIR_KEYS)
        fractions = Fractions(val_fraction, test_fraction)
        super().__init__(names, fractions, on_invalid, languages, folder, download, root)
        self._field, self._history = turns, history

    def _settings(self) -> Any:
        return [self._field, self._history]

    def _read(self, split: Split) -> Iterator[PairEntry]:
        for row in self._rows(split):
            if row.flaw == INVALID:
                yield Entry("", (), INVALID)
                continue
            turns, flaw = self._turns_of(row)
            pairs = tuple(
                Pair("\n".join(turns[max(0, end - self._history) : end]), turns[end])
                for end in range(1, len(turns))
            )
            yield Entry("\n".join(turns), pairs, flaw if pairs or flaw == INVALID else _SHORT)

    def _turns_of(self, row: Row) -> tuple[list[str], str | None]:
        (value,) = present(row, [self._field], "data.turns").values()
        where = f"{row.where}: '{self._field}'"
        if not isinstance(value, list):
            text, flaw = text_of(value, where, self._on_invalid)
            return text.removesuffix("\n").split("\n"), worst([row.flaw, flaw])
        turns = [
            text_of(turn, f"{where}, turn {number}", self._on_invalid)
            for number, turn in enumerate(value, start=1)
        ]
        return [turn.text for turn in turns], worst([row.flaw, *(turn.flaw for turn in turns)])
