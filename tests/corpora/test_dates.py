import datetime
import re

import babel
import pytest
from babel.dates import format_date, format_time

from lmexp.corpora import dates
from lmexp.corpora.dates import Dates

DEFAULTS = {
    "pair": "en-de",
    "size": 600,
    "seed": 1,
    "first_year": 1900,
    "last_year": 2099,
    "val_fraction": 0.1,
    "test_fraction": 0.1,
}
SPLITS = ("train", "val", "test")
LANGUAGES = ("en", "de", "zh", "zh_Hant", "fr", "ja", "ru", "es", "ar", "hi", "cs", "ko", "pt_BR")

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
NAMED = re.compile(r"(?:\w+, )?([A-Z][a-z]{2})[a-z]* (\d+), (\d{4})")
FIGURES = re.compile(r"(?:\w+, )?(\d+)/(\d+)/(\d{4})")
CLOCK = re.compile(r"(\d+):(\d+)(?::(\d+))?( [AP]M)?$")


def corpus(**changes):
    return Dates(**{**DEFAULTS, **changes})


def all_pairs(**changes):
    return [pair for split in SPLITS for pair in corpus(**changes).pairs(split)]


@pytest.fixture(scope="module")
def pairs():
    return all_pairs()


def date_in(text):
    """The date that an English text shows with its year, read by hand; None if it shows none."""
    if figures := FIGURES.match(text):
        return datetime.date(int(figures[3]), int(figures[1]), int(figures[2]))
    if named := NAMED.match(text):
        return datetime.date(int(named[3]), MONTHS.index(named[1]) + 1, int(named[2]))
    return None


def time_in(text):
    clock = CLOCK.search(text)
    if clock is None:
        return None
    hour = int(clock[1]) % 12 + 12 * (clock[4] == " PM") if clock[4] else int(clock[1])
    return datetime.time(hour, int(clock[2]), int(clock[3] or 0))


def test_every_source_is_there_once_and_all_are_as_many_as_asked_for(pairs):
    assert len(pairs) == 600
    assert len({pair.source for pair in pairs}) == 600


def test_a_date_can_be_read_back_and_the_target_is_that_date_in_full(pairs):
    dated = [(source, target) for source, target, _ in pairs if date_in(source) is not None]

    assert len(dated) > 300  # 14 of 26 formats show day and year
    for source, target in dated:
        has_weekday = source.startswith(DAYS)
        expected = format_date(date_in(source), "full" if has_weekday else "long", "de")
        assert target == expected or target.startswith(expected + ", ")
        assert not has_weekday or source.startswith(f"{date_in(source):%a}")


def test_a_time_can_be_read_back_and_the_target_shows_its_seconds_if_the_source_does(pairs):
    timed = [(source, target) for source, target, _ in pairs if time_in(source) is not None]

    assert len(timed) > 200  # 11 of 26 formats show a time
    for source, target in timed:
        style = "medium" if source.count(":") == 2 else "short"
        expected = format_time(time_in(source), style, locale="de")
        assert target == expected or target.endswith(f", {expected}")


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_source_of_any_format_could_mean_two_targets(language):
    source, target = babel.Locale.parse(language), babel.Locale.parse("en")
    formats = dates._translations(source, target)
    moments = [
        datetime.datetime(year, month, day, hour, month)
        for year in (1912, 2000)
        for month in (1, 5, 11, 12)
        for day in (1, 5, 11, 12)
        for hour in (0, 1, 5, 11, 12, 13, 23)
    ]

    targets = {}
    for theirs, ours in formats:
        for moment in moments:
            text = dates._written(theirs, moment, source)
            targets.setdefault(text, set()).add(dates._written(ours, moment, target))

    assert {len(found) for found in targets.values()} == {1}
    assert len(formats) >= 20


def test_formats_of_two_orders_in_figures_are_not_used_together(monkeypatch):
    locale = babel.Locale.parse("en")
    monkeypatch.setattr(dates, "SOURCE_FORMATS", (("yMd", None), ("short", None), ("medium", None)))
    monkeypatch.setitem(locale.datetime_skeletons, "yMd", babel.dates.parse_pattern("dd/MM/y"))
    monkeypatch.setitem(locale.date_formats, "short", babel.dates.parse_pattern("MM/dd/y"))

    found = [theirs.parts[0].pattern for theirs, _ in dates._translations(locale, locale)]

    assert found == ["dd/MM/y", "MMM d, y"]


@pytest.mark.parametrize("pattern", ["dd.MM.yy", "h:mm", "K:mm:ss"])
def test_a_format_without_century_or_half_of_the_day_is_not_used(pattern):
    assert not dates._is_clear(babel.dates.parse_pattern(pattern))


@pytest.mark.parametrize(
    "shape",
    [
        r"[A-Z]\w+day, [A-Z]\w+ \d+, \d{4}",
        r"[A-Z]\w{2}, [A-Z]\w{2} \d+, \d{4}",
        r"[A-Z]\w{2}, \d+/\d+/\d{4}",
        r"\d+/\d+/\d{4}",
        r"[A-Z]\w{2} \d+",
        r"[A-Z]\w{2}, [A-Z]\w{2} \d+",
        r"\d+/\d{4}",
        r"[A-Z]\w{4,} \d{4}",
        r"Q\d \d{4}",
        r"\d(st|nd|rd|th) quarter \d{4}",
        r"\d\d:\d\d",
        r"\d+:\d\d:\d\d [AP]M",
        r"\d+/\d+/\d{4}, \d\d:\d\d",
    ],
)
def test_there_are_sources_of_every_shape(shape, pairs):
    assert sum(re.fullmatch(shape, pair.source) is not None for pair in pairs) >= 5


def test_spaces_are_those_that_a_user_types(pairs):
    assert not [text for pair in pairs for text in pair[:2] if re.search(r"[^\S ]", text)]


def test_no_source_is_in_two_splits_and_fractions_hold():
    parts = [{pair.source for pair in corpus().pairs(split)} for split in SPLITS]

    assert sum(map(len, parts)) == len(set.union(*parts)) == 600
    assert 30 <= len(parts[1]) <= 90  # 60, four sigmas
    assert 30 <= len(parts[2]) <= 90
    assert corpus().splits == SPLITS
    assert corpus(test_fraction=0.0).splits == ("train", "val")
    assert list(corpus(test_fraction=0.0).pairs("test")) == []


def test_the_pairs_are_a_function_of_the_arguments(pairs):
    assert all_pairs() == pairs
    assert corpus().fingerprint() == corpus().fingerprint()
    for changes in ({"seed": 2}, {"pair": "de-en"}, {"val_fraction": 0.2}, {"last_year": 2000}):
        assert corpus(**changes).fingerprint() != corpus().fingerprint()


def test_languages_and_source_are_known():
    assert corpus(pair="en-zh_Hant").languages == ("en", "zh_Hant")
    assert corpus().source == f"Unicode CLDR in Babel {babel.__version__}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"root": "/x"}, r"data\.root=/x: data=dates is made by a program and has no files"),
        ({"pair": "en-xx"}, r"data\.pair=en-xx: CLDR knows no language xx: write codes such as"),
        ({"pair": "en-german"}, r"data\.pair=en-german: CLDR knows no language german"),
        ({"pair": "en"}, r"data\.pair=en is not two language codes"),
        ({"first_year": 2100}, r"first_year=2100 and last_year=2099: .* not after the last"),
        ({"first_year": 999}, r"first_year=999 .* four digits"),
        ({"val_fraction": 0.9}, r"together less than 1"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        corpus(**changes)


def test_more_pairs_than_there_are_dates_are_refused(monkeypatch):
    monkeypatch.setattr(dates, "SOURCE_FORMATS", (("yMMM", None),))
    monkeypatch.setattr(dates, "_DRAWS", 3)

    with pytest.raises(ValueError, match=r"data\.size=600, but 1800 draws gave 12 different dates"):
        list(corpus(first_year=2000, last_year=2000).pairs("train"))
