"""Dates and times in two languages, as Unicode's CLDR writes them: pairs that need no file."""

import datetime
import functools
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from itertools import count
from typing import Annotated, NamedTuple

import babel
from annotated_types import Ge, Gt, Le, Lt
from babel.dates import (
    DateTimePattern,
    match_skeleton,
    tokenize_pattern,
)

from lmexp.corpora.pair_files import language_codes
from lmexp.corpora.piece import Pair, Split
from lmexp.corpora.splitting import Fractions

Year = Annotated[int, Ge(1000), Le(9999)]  # of four digits

# Names of CLDR's formats, (of the date, of the time): styles (full, long, medium, short) and
# skeletons. Styles with two-digit years or time zones are left out, and "Md", which can look like
# a time.
SOURCE_FORMATS = (
    ("full", None),
    ("long", None),
    ("medium", None),
    ("yMd", None),
    ("yMMMd", None),
    ("yMEd", None),
    ("yMMMEd", None),
    ("MMMd", None),
    ("MMMMd", None),
    ("MMMEd", None),
    ("yM", None),
    ("yMMM", None),
    ("yMMMM", None),
    ("yQQQ", None),
    ("yQQQQ", None),
    (None, "Hm"),
    (None, "hm"),
    (None, "Hms"),
    (None, "hms"),
    ("full", "hm"),
    ("long", "Hm"),
    ("medium", "Hms"),
    ("yMd", "Hm"),
    ("yMMMd", "hms"),
    ("yMEd", "hm"),
    ("yMMMEd", "Hms"),
)
# The target takes the first of them that shows what the source shows, no more and no less.
TARGET_DATES = ("long", "full", "MMMMd", "MMMEd", "yMMMM", "yQQQQ", "yMMMd", "yMMMEd", "yMd")
TARGET_TIMES = ("short", "medium", "Hm", "Hms")

_STYLES = ("full", "long", "medium", "short")
_SHOWN = {  # what a letter of a pattern stands for
    letter: name
    for letters, name in (
        ("Ec", "weekday"),
        ("y", "year"),
        ("Qq", "quarter"),
        ("ML", "month"),
        ("d", "day"),
        ("HhKk", "hour"),
        ("m", "minute"),
        ("s", "second"),
    )
    for letter in letters
}
_SPACES = re.compile("[\u00a0\u2009\u202f]")  # narrow and unbreakable ones, which nobody types
_DRAWS = 10  # for each pair, before there are taken to be too few different ones


class Format(NamedTuple):
    """A way to write a date, a time, or both in one language."""

    parts: tuple[DateTimePattern, ...]  # the date first
    shows: frozenset[str]  # such as year, month and day


class Dates:
    """Dates and times in one language, and the same in another.

    The source is written in one of many formats (5/3/2024, Fri, May 3, 2024, 15:04, Q2 2024), the
    target in the one format of its language that shows the same (weekday or not, seconds or not):
    so it is a function of the source's text. Every source is there once.

    Args:
        pair: codes of source and target language that CLDR knows, such as en-de or en-zh_Hant.
        size: pairs of all splits together.
        seed: of the draws.
        first_year: of the dates.
        last_year: likewise.
        val_fraction: of the pairs, by a hash of the source.
        test_fraction: likewise.
        root: data.root, which has to be None: there are no files to look for.

    `pairs(split)` streams; see lmexp.corpora for `splits`, `languages`, `counts`, `fingerprint()`
    and `source`.

    Raises:
        ValueError: a root is given, CLDR does not know a language, the years are in the wrong
            order, or the fractions leave nothing to train on.
    """

    is_tokenised = False

    def __init__(
        self,
        pair: str,
        size: Annotated[int, Gt(0)],
        seed: int,
        first_year: Year,
        last_year: Year,
        val_fraction: Annotated[float, Ge(0), Lt(1)],
        test_fraction: Annotated[float, Ge(0), Lt(1)],
        root: str | None = None,
    ) -> None:
        if root is not None:
            raise ValueError(
                f"data.root={root}: data=dates is made by a program and has no files: leave "
                "data.root out, or write data=parallel data.train=…"
            )
        if not 1000 <= first_year <= last_year <= 9999:
            raise ValueError(
                f"data.first_year={first_year} and last_year={last_year}: years have four digits, "
                "and the first is not after the last"
            )
        self._size, self._seed, self._years = size, seed, (first_year, last_year)
        self._fractions = Fractions(val_fraction, test_fraction)
        self._fractions.check()
        self.languages = language_codes(pair)
        self._locales = [_locale(pair, code) for code in self.languages]
        self.counts: Counter[str] = Counter()

    @property
    def source(self) -> str:
        """The library that wrote them."""
        return f"Unicode CLDR in Babel {babel.__version__}"

    @property
    def splits(self) -> tuple[Split, ...]:
        """Those that have pairs."""
        names: tuple[Split, ...] = ("train", "val", "test")
        return tuple(name for name in names if getattr(self._fractions, name, 1))

    def fingerprint(self) -> str:
        """Hash of all pairs and of the fractions."""
        text = json.dumps([self._fractions, self._all])
        return hashlib.sha256(text.encode()).hexdigest()

    def pairs(self, split: Split) -> Iterator[Pair]:
        """The pairs of a split; none of a split that is missing.

        Raises:
            ValueError: there are not as many different ones as size says.
        """
        for pair in self._all:
            if self._fractions.of_key(pair.source.encode()) == split:
                yield pair

    @functools.cached_property
    def _all(self) -> list[Pair]:
        source, target = self._locales
        formats = _translations(source, target)
        start = datetime.datetime(self._years[0], 1, 1)
        seconds = (datetime.datetime(self._years[1], 12, 31, 23, 59, 59) - start) // _SECOND + 1
        found: dict[str, Pair] = {}
        for draw in count():
            if len(found) == self._size:
                break
            if draw == self._size * _DRAWS:
                raise ValueError(
                    f"data.size={self._size}, but {draw} draws gave {len(found)} different "
                    f"dates from {self._years[0]} to {self._years[1]}: lower data.size or take "
                    "more years"
                )
            digest = hashlib.blake2b(f"{self._seed} {draw}".encode(), digest_size=16).digest()
            second, kind = divmod(int.from_bytes(digest, "little"), len(formats))
            moment = start + second % seconds * _SECOND
            theirs, ours = formats[kind]
            text = _written(theirs, moment, source)
            if text not in found:
                found[text] = Pair(text, _written(ours, moment, target))
        return list(found.values())


_SECOND = datetime.timedelta(seconds=1)


def _locale(pair: str, code: str) -> babel.Locale:
    try:
        return babel.Locale.parse(code)
    except (ValueError, babel.UnknownLocaleError) as error:
        raise ValueError(
            f"data.pair={pair}: CLDR knows no language {code}: write codes such as en, de, zh or "
            "pt_BR"
        ) from error


def _translations(source: babel.Locale, target: babel.Locale) -> list[tuple[Format, Format]]:
    """The formats of a source that can be read, each with that of its target."""
    targets: dict[frozenset[str], Format] = {}
    for date in (*TARGET_DATES, None):
        for time in (*TARGET_TIMES, None):
            made = _format(target, date, time)
            if made is not None:
                targets.setdefault(made.shows, made)
    found = []
    orders: dict[bool, bool] = {}
    for date, time in SOURCE_FORMATS:
        made = _format(source, date, time)
        if made is None or made.shows not in targets:
            continue
        order = _numeric_order(made.parts[0])
        if order and orders.setdefault(order[0], order[1]) != order[1]:
            continue  # 3/5 and 5/3 in one language: nobody could tell the month
        found.append((made, targets[made.shows]))
    return found


def _format(locale: babel.Locale, date: str | None, time: str | None) -> Format | None:
    """A format by the names of its parts; None if the language lacks one, or it leaves doubts."""
    parts: list[DateTimePattern] = []
    for name, styles in ((date, locale.date_formats), (time, locale.time_formats)):
        if name is None:
            continue
        if name not in _STYLES:
            styles = locale.datetime_skeletons
            name = match_skeleton(name, styles)
        if name is None or not _is_clear(styles[name]):
            return None
        parts.append(styles[name])
    shows = {_SHOWN[field] for part in parts for field in _fields(part) if field in _SHOWN}
    return Format(tuple(parts), frozenset(shows)) if parts else None


def _is_clear(pattern: DateTimePattern) -> bool:
    """Whether it shows the century of a year, and the half of the day of an hour."""
    fields = _fields(pattern)
    has_half = not fields.keys() & set("hK") or bool(fields.keys() & set("abB"))
    return fields.get("y") != 2 and has_half


def _fields(pattern: DateTimePattern) -> dict[str, int]:
    """Letters of a pattern in their order, and how many there are of each."""
    tokens = tokenize_pattern(pattern.pattern)
    return {value[0]: int(value[1]) for kind, value in tokens if kind == "field"}


def _numeric_order(pattern: DateTimePattern) -> tuple[bool, bool] | None:
    """(year first, day before month) of a date in figures alone; None of another."""
    fields = _fields(pattern)
    month = next((field for field in fields if field in "ML"), None)
    if month is None or fields[month] > 2 or "d" not in fields:
        return None
    letters = list(fields)
    return letters[0] == "y", letters.index("d") < letters.index(month)


def _written(form: Format, moment: datetime.datetime, locale: babel.Locale) -> str:
    texts = [part.apply(moment, locale) for part in form.parts]
    if len(texts) == 2:
        glue = str(locale.datetime_formats["medium"]).replace("'", "")
        texts = [glue.replace("{0}", texts[1]).replace("{1}", texts[0])]
    return _SPACES.sub(" ", texts[0])
