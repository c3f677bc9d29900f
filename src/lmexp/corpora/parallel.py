r"""Parallel text: line n of one file belongs to line n of the other, or one file holds both."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Lt

from lmexp.corpora.pair_files import PairEntry, PairFiles, language_codes
from lmexp.corpora.piece import Pair, Split
from lmexp.corpora.reading import INVALID, OnInvalid, opened
from lmexp.corpora.record_files import Entry, worst
from lmexp.corpora.records import has_records
from lmexp.corpora.rows import rows, texts, whole_lines
from lmexp.corpora.splitting import Fractions

Column = Annotated[int, Ge(0)]
Sides = str | list[str] | dict[str, str]
Fields = tuple[Column, Column] | tuple[str, str] | dict[str, Column | str]

_CHUNK = 1 << 20


class ParallelFiles(PairFiles):
    r"""Lines of text and their translations, with an official split or cut by a hash.

    A split is given as a list of two files, source and target, of which line n of one belongs to
    line n of the other (val and test may have further files, with more references); or as one file
    that holds both sides: .jsonl, .ndjson and .json have records, any other file columns between
    tabs. Plain, .gz or .zst. Lines end at "\n" alone and are yielded as they are, empty ones too.

    Whatever is written by language, as {en: train.en, de: train.de}, or with {source} and {target}
    in it, follows `pair`: pair=de-en turns the direction round.

    Args:
        train: files of the training split; None if there is nothing to train on.
        val: of the validation split; None cuts val_fraction off `train`.
        test: of the test split; None cuts test_fraction off `train`.
        pair: codes of source and target language, such as en-de; None where names need none.
        val_fraction: of the pairs, by a hash of the source: equal sources fall into the same split.
        test_fraction: likewise.
        fields: of a file that holds both sides: numbers of columns from 0, or names in records;
            source and target, or by language. None where each side has a file of its own.
        on_invalid: what to do with a pair that is not UTF-8: error, replace or drop; both
            are counted.
        tokenised: the text was cut into tokens by whoever made the files, so that its BLEU
            compares with no other; `is_tokenised` tells it.
        folder: of a named set, in $LMEXP_DATA and in the cache.
        download: where a named set comes from: entries with file, url, sha256 and perhaps member.
        root: data.root: where the files are looked for first.

    `pairs(split)` streams; see lmexp.corpora for `splits`, `languages`, `counts`, `fingerprint()`
    and `source`.

    Raises:
        ValueError: arguments that do not go together.
    """

    def __init__(
        self,
        train: Sides | None,
        val: Sides | None,
        test: Sides | None,
        pair: str | None,
        val_fraction: Annotated[float, Ge(0), Lt(1)],
        test_fraction: Annotated[float, Ge(0), Lt(1)],
        fields: Fields | None,
        on_invalid: OnInvalid,
        tokenised: bool = False,
        folder: str | None = None,
        download: Sequence[Mapping[str, str]] = (),
        root: str | None = None,
    ) -> None:
        codes = None if pair is None else language_codes(pair)
        given: dict[Split, Sides | None] = {"train": train, "val": val, "test": test}
        names = {
            split: side_names(f"data.{split}", sides, codes)
            for split, sides in given.items()
            if sides is not None
        }
        fractions = Fractions(val_fraction, test_fraction)
        _check_train(names, fractions)
        self._fields = None if fields is None else _ordered("data.fields", fields, codes)
        for split, own in names.items():
            if len(own) == 1:
                _check_fields(f"data.{split}", own[0], self._fields)
        super().__init__(names, fractions, on_invalid, codes, folder, download, root)
        self._is_tokenised = tokenised
        self._are_counted = False

    @property
    def is_tokenised(self) -> bool:
        """Whether whoever made the files cut their text into tokens, as was said."""
        return self._is_tokenised

    def _settings(self) -> Any:
        return self._fields

    def _read(self, split: Split) -> Iterator[PairEntry]:
        if not self._are_counted:
            for own in self._names:
                check_lengths(self._sides(own))
            self._are_counted = True
        paths = self._sides(split)
        if len(paths) > 1:
            yield from aligned(paths, self._on_invalid)
        elif has_records(paths[0]):
            yield from self._of_records(paths[0])
        else:
            yield from self._of_columns(paths[0])

    def _sides(self, split: Split) -> list[Path]:
        for name, paths in zip(self._names[split], self._paths(split), strict=True):
            if len(paths) > 1:
                raise ValueError(
                    f"data.{split}: {name} means {len(paths)} files, {paths[0]} and {paths[1]} "
                    "among them: name one for each side"
                )
        return [path for (path,) in self._paths(split)]

    def _of_records(self, path: Path) -> Iterator[PairEntry]:
        names = [str(name) for name in self._fields or ()]
        for row in rows(path, self._on_invalid):
            if row.flaw == INVALID:
                yield Entry("", (), INVALID)
                continue
            (source,), (target,) = (
                texts(row, [name], "data.fields", self._on_invalid) for name in names
            )
            flaw = worst([row.flaw, source.flaw, target.flaw])
            yield Entry(source.text, (Pair(source.text, target.text),), flaw)

    def _of_columns(self, path: Path) -> Iterator[PairEntry]:
        source, target = (int(number) for number in self._fields or ())
        for number, (line, flaw) in enumerate(whole_lines(path, self._on_invalid), start=1):
            cells = line.split("\t")
            if flaw == INVALID:
                yield Entry("", (), INVALID)
            elif len(cells) <= max(source, target):
                raise ValueError(
                    f"{path}, line {number} has {len(cells)} of the {max(source, target) + 1} "
                    f"columns that data.fields=[{source},{target}] needs ('{line[:40]}'): put one "
                    "tab between columns, or delete the line"
                )
            else:
                yield Entry(cells[source], (Pair(cells[source], cells[target]),), flaw)


def aligned(paths: Sequence[Path], on_invalid: OnInvalid) -> Iterator[PairEntry]:
    """Line n of each file: of the source, of the target, and of further references."""
    for sides in zip(*(whole_lines(path, on_invalid) for path in paths), strict=True):
        source, target, *references = (side.text for side in sides)
        pair = Pair(source, target, tuple(references))
        yield Entry(source, (pair,), worst(side.flaw for side in sides))


def side_names(key: str, given: Sides, codes: tuple[str, str] | None) -> list[str]:
    """The files of a split, source first.

    Args:
        key: under which they were written, for the error.
        given: one name, several, or several by language.
        codes: of source and target, if they are known.

    Raises:
        ValueError: they are no two files, or do not go together with the codes.
    """
    if isinstance(given, str):
        return [_filled(key, given, codes)]
    names = [str(name) for name in _ordered(key, given, codes)]
    written = f"{key}=[{','.join(names)}]"
    if len(names) < 2:
        raise ValueError(
            f"{written} names {len(names)} of two files: write [SOURCE,TARGET], or a name without "
            "brackets of one file that holds both"
        )
    if key == "data.train" and len(names) > 2:
        raise ValueError(
            f"{written} names {len(names)} files instead of two: further references are for val "
            "and test"
        )
    if len(set(names)) < len(names):
        raise ValueError(f"{written} names a file twice: source and target are two files")
    return names


def _ordered(
    key: str,
    given: Sequence[str | int] | Mapping[str, Any],
    codes: tuple[str, str] | None,
) -> list[str | int]:
    """Whatever belongs to source, target and perhaps references, in this order."""
    if isinstance(given, Mapping):
        there = "-".join(given)
        if codes is None:
            raise ValueError(f"{key} is by language, but data.pair=null: write data.pair={there}")
        for code in codes:
            if code not in given:
                raise ValueError(
                    f"data.pair={'-'.join(codes)}, but {key} has {' and '.join(given)}, no {code}: "
                    f"write data.pair={there}, or add {code} to {key}"
                )
        given = [given[code] for code in codes]
    return [_filled(key, item, codes) if isinstance(item, str) else item for item in given]


def _filled(key: str, name: str, codes: tuple[str, str] | None) -> str:
    if codes is None:
        if "{source}" in name or "{target}" in name:
            raise ValueError(
                f"{key}: {name} is meant for two languages, but data.pair=null: write, for "
                "example, data.pair=en-de"
            )
        return name
    return name.replace("{source}", codes[0]).replace("{target}", codes[1])


def _check_train(names: Mapping[Split, Sequence[str]], fractions: Fractions) -> None:
    if not names:
        raise ValueError("data.train, val and test are all null: write data.train=[SOURCE,TARGET]")
    for split in ("val", "test"):
        fraction = getattr(fractions, split)
        if "train" not in names and split not in names and fraction > 0:
            raise ValueError(
                f"data.{split}_fraction={fraction}, but data.train=null, so there is nothing to "
                f"cut it off: write data.{split}_fraction=0.0, or data.train=[SOURCE,TARGET]"
            )


def _check_fields(key: str, name: str, fields: Sequence[str | int] | None) -> None:
    """A file that holds both sides has columns, or records with names."""
    has_names = has_records(Path(name))
    if fields is not None and all(isinstance(field, str) == has_names for field in fields):
        return
    written = "null" if fields is None else f"[{','.join(map(str, fields))}]"
    wanted = (
        "has records: write the names of source and target in them, as data.fields=[source,target]"
        if has_names
        else "has columns: write their numbers, as data.fields=[0,1]; columns with names in the "
        "first row are read by data=summaries"
    )
    raise ValueError(f"data.fields={written}, but {key}={name} holds both sides and {wanted}")


def check_lengths(paths: Sequence[Path]) -> None:
    """Raise ValueError if files of one split differ in their number of lines."""
    numbers = [_num_lines(path) for path in paths] if len(paths) > 1 else []
    if len(set(numbers)) > 1:
        found = ", ".join(
            f"{path} has {number:,} lines" for path, number in zip(paths, numbers, strict=True)
        )
        raise ValueError(
            f"{found}: line n of one belongs to line n of the other, and lines end at \\n alone; "
            "look for a line that was lost or broken in two, or get the files again"
        )


def _num_lines(path: Path) -> int:
    number, last = 0, b"\n"
    with opened(path) as file:
        while data := file.read(_CHUNK):
            number += data.count(b"\n")
            last = data[-1:]
    return number + (last != b"\n")
