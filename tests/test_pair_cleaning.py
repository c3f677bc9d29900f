from collections import Counter
from typing import NamedTuple

import pytest

from lmexp.pair_cleaning import SCRIPTS, PairCleaning
from lmexp.targets import build

NOTHING = {
    "unescape_html": False,
    "strip_control": False,
    "nfc": False,
    "drop_empty": False,
    "drop_identical": False,
    "max_chars": None,
    "max_ratio": None,
    "scripts": None,
    "drop_duplicates": False,
}


class Pair(NamedTuple):
    source: str
    target: str
    references: tuple[str, ...] = ()


def clean(*pairs, **rules):
    counts = Counter()
    kept = list(PairCleaning(**{**NOTHING, **rules}).clean((Pair(*pair) for pair in pairs), counts))
    assert all(type(pair) is Pair for pair in kept)
    return [tuple(pair if pair.references else pair[:2]) for pair in kept], dict(counts)


def test_without_rules_nothing_changes():
    pairs = [("", ""), ("a\0\r", "a\0\r"), ("a\0\r", "a\0\r"), ("&lt;e\u0301", "x" * 100_000)]

    assert clean(*pairs) == (pairs, {})


@pytest.mark.parametrize(
    ("side", "stripped", "number"),
    [("a\r", "a", 1), ("a\0b", "ab", 1), ("a\x0cb", "a b", 1), ("a\r\nb\r", "a\nb", 2)],
)
def test_control_characters_go_from_every_side_and_are_counted(side, stripped, number):
    kept, counts = clean((side, "b", (side,)), ("a", side), strip_control=True)

    assert kept == [(stripped, "b", (stripped,)), ("a", stripped)]
    assert counts == {"control character": 3 * number}


def test_html_is_unescaped_and_characters_are_composed():
    rules = {"unescape_html": True, "nfc": True}

    assert clean(("&lt;e&#x301;", "&amp;amp;"), **rules) == ([("<é", "&amp;")], {})


@pytest.mark.parametrize("pair", [("", "a"), ("a", ""), (" \t\u3000", "a"), ("", "")])
def test_a_pair_with_an_empty_side_is_dropped(pair):
    assert clean(pair, ("b", "c"), drop_empty=True) == ([("b", "c")], {"empty side": 1})


def test_a_side_of_control_characters_alone_is_empty():
    kept, counts = clean(("\0", "a"), drop_empty=True, strip_control=True)

    assert kept == []
    assert counts == {"control character": 1, "empty side": 1}


def test_an_empty_reference_goes_and_its_pair_stays():
    kept, counts = clean(("a", "b", ("", "c")), ("a", "b", (" ",)), drop_empty=True)

    assert kept == [("a", "b", ("c",)), ("a", "b")]
    assert counts == {"empty reference": 2}


def test_identical_sides_are_dropped():
    assert clean(("a", "a"), ("a", "A"), drop_identical=True) == (
        [("a", "A")],
        {"identical sides": 1},
    )


def test_either_side_may_be_too_long():
    pairs = [("éé", "bb"), ("ééa", "b"), ("a", "bbb")]

    assert clean(*pairs, max_chars=2) == ([pairs[0]], {"longer than 2 characters": 2})


def test_the_ratio_is_of_the_longer_side_to_the_shorter():
    pairs = [("aa", "bbb"), ("aaa", "bb"), ("aa", "bbbb"), ("aaaa", "bb"), ("", "b"), ("", "")]

    kept, counts = clean(*pairs, max_ratio=1.5)

    assert kept == [pairs[0], pairs[1], pairs[5]]
    assert counts == {"length ratio over 1.5": 3}


@pytest.mark.parametrize(
    ("source", "target", "is_kept"),
    [
        ("Hello.", "你好。", True),
        ("42 %", "42%", True),  # no letters
        ("A T-shirt", "T恤衫", True),  # one letter of the script is enough
        ("你好。", "你好。", False),
        ("Hello.", "Hello.", False),
        ("Привет", "你好。", False),
        ("Hello.", "こんにちは", False),
        ("Ｈｉ", "你好。", True),
        ("", "", True),
    ],
)
def test_a_side_with_letters_needs_one_of_its_script(source, target, is_kept):
    kept, counts = clean((source, target), scripts=["Latin", "Han"])

    assert (kept, counts) == (([(source, target)], {}) if is_kept else ([], {"wrong script": 1}))


def test_a_script_may_be_asked_of_one_side_alone():
    pairs = [("Привет", "Hi"), ("Hi", "Hi"), ("Привет", "你好")]

    assert clean(*pairs, scripts=["Cyrillic", None])[0] == [pairs[0], pairs[2]]


@pytest.mark.parametrize(
    ("script", "letters"),
    {
        "Arabic": "مرحبا",
        "Armenian": "Բարև",
        "Bengali": "হ্যালো",
        "Cyrillic": "Щё",
        "Devanagari": "नमस्ते",
        "Georgian": "გამარჯობა",
        "Greek": "Γειά",
        "Han": "漢字",
        "Hangul": "안녕",
        "Hebrew": "שלום",
        "Hiragana": "こん",
        "Katakana": "カタカナ",
        "Latin": "Žß",
        "Tamil": "வணக்கம்",
        "Telugu": "నమస్కారం",
        "Thai": "สวัสดี",
    }.items(),
)
def test_a_script_knows_its_own_letters_and_no_others(script, letters):
    for other in SCRIPTS:
        kept, _ = clean((letters, "1"), scripts=[other, None])
        assert bool(kept) == (other == script)


def test_the_first_of_equal_pairs_stays():
    pairs = [("a", "b"), ("a", "c"), ("a", "b"), ("ab", "c"), ("a", "bc"), ("a", "b", ("d",))]

    kept, counts = clean(*pairs, drop_duplicates=True)

    assert kept == [pairs[0], pairs[1], pairs[3], pairs[4]]
    assert counts == {"duplicate": 2}


def test_pairs_are_compared_as_they_were_changed():
    kept, counts = clean(("é", "a\r"), ("e\u0301", "a"), nfc=True, strip_control=True,
                         drop_duplicates=True)  # fmt: skip

    assert kept == [("é", "a")]
    assert counts == {"control character": 1, "duplicate": 1}


def test_a_pair_is_counted_for_one_reason():
    rules = {"drop_empty": True, "drop_identical": True, "max_ratio": 1.0, "drop_duplicates": True}

    assert clean(("", ""), ("", ""), **rules) == ([], {"empty side": 2})


@pytest.mark.parametrize(
    ("scripts", "message"),
    [
        (["latin", "Han"], r"there is no script latin; did you mean Latin\? Write two of Arabic"),
        (["Latin", "Klingon"], r"there is no script Klingon"),
    ],
)
def test_an_unknown_script_is_refused(scripts, message):
    with pytest.raises(ValueError, match=message):
        PairCleaning(**{**NOTHING, "scripts": scripts})


def test_a_recipe_can_write_it():
    section = {"_target_": "lmexp.pair_cleaning.PairCleaning", **NOTHING}

    assert build({**section, "scripts": ["Latin", None]}).scripts == ("Latin", None)
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        build({**section, "max_ratio": 0.5})
