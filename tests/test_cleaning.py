import random
from collections import Counter
from typing import NamedTuple

import pytest

from lmexp import cleaning
from lmexp.cleaning import Cleaning

NOTHING = {
    "unescape_html": False,
    "strip_control": False,
    "nfc": False,
    "drop_blank": False,
    "max_bytes": None,
    "drop_duplicates": False,
}


class Line(NamedTuple):
    text: str
    document: int


def clean(texts, **rules):
    counts = Counter()
    pieces = (Line(text, number) for number, text in enumerate(texts))
    kept = list(Cleaning(**{**NOTHING, **rules}).clean(pieces, counts))
    assert all(type(piece) is Line for piece in kept)
    return [piece.text for piece in kept], dict(counts)


def test_without_rules_nothing_changes():
    texts = ["a\0\r\n", "\n", "\n", "&lt;\x85\u2028e\u0301", "x" * 1_000_000]

    assert clean(texts) == (texts, {})


@pytest.mark.parametrize(
    ("text", "stripped", "number"),
    [
        ("a\r\n", "a\n", 1),
        ("a\0b\n", "ab\n", 1),
        ("a\x0cb\n", "a b\n", 1),
        ("a\rb\r\n", "a b\n", 2),
        ("a\x85b\x7f\x1b[0m", "a b[0m", 3),
    ],
)
def test_control_characters_go_and_are_counted(text, stripped, number):
    assert clean([text], strip_control=True) == ([stripped], {"control character": number})


@pytest.mark.parametrize("text", ["a\tb\n", "\u2028\u2029\u200d\ufeff\u00a0\n"])
def test_tabs_line_ends_and_separators_are_no_control_characters(text):
    assert clean([text], strip_control=True) == ([text], {})


def test_a_line_of_control_characters_alone_is_dropped_and_counted():
    texts, counts = clean(["\0\0", "a"], strip_control=True)

    assert texts == ["a"]
    assert counts == {"control character": 2, "empty": 1}


def test_characters_are_composed():
    assert clean(["e\u0301 \ufb01\n"], nfc=True) == (["é \ufb01\n"], {})


def test_html_is_unescaped_before_other_rules():
    texts, _ = clean(["&lt;b&gt; &amp;amp; e&#x301;\n"], unescape_html=True, nfc=True)

    assert texts == ["<b> &amp; é\n"]


def test_blank_lines_are_dropped_and_counted():
    assert clean(["a\n", "\n", " \t\n", "\u3000"], drop_blank=True) == (["a\n"], {"blank": 3})


def test_lines_are_measured_in_bytes():
    assert clean(["éé", "ééa"], max_bytes=4) == (["éé"], {"longer than 4 bytes": 1})


def test_the_first_of_equal_lines_stays_and_so_do_blank_ones():
    texts = ["a\n", "\n", "b\n", "a\n", "\n", "a"]

    assert clean(texts, drop_duplicates=True) == (["a\n", "\n", "b\n", "\n"], {"duplicate": 2})


def test_lines_are_compared_as_they_were_changed():
    assert clean(["é", "e\u0301"], nfc=True, drop_duplicates=True) == (["é"], {"duplicate": 1})


def test_the_document_of_a_piece_stays():
    (piece,) = Cleaning(**{**NOTHING, "nfc": True}).clean(iter([Line("e\u0301", 7)]), Counter())

    assert piece == Line("é", 7)


@pytest.mark.parametrize("recent", [1, 16, 100])
def test_what_is_on_disk_is_found_as_what_is_in_memory(recent, monkeypatch, tmp_path):
    monkeypatch.setattr(cleaning, "_RECENT_HASHES", recent)
    monkeypatch.setattr(cleaning, "_BLOCK_LINES", 10)
    monkeypatch.setattr(cleaning, "_MERGED_HASHES", 7)
    monkeypatch.setattr(cleaning.tempfile, "tempdir", str(tmp_path))
    generator = random.Random(0)
    texts = [str(generator.randrange(500)) for _ in range(2000)]

    kept, counts = clean(texts, drop_duplicates=True)

    assert kept == list(dict.fromkeys(texts))
    assert counts == {"duplicate": 2000 - len(kept)}
    assert not list(tmp_path.iterdir())


def test_few_files_hold_all_that_was_seen(tmp_path):
    seen = cleaning._Seen(tmp_path)

    for begin in range(0, 2**13, 2**7):
        seen._store(cleaning.np.arange(begin, begin + 2**7, dtype=cleaning.np.uint64))

    assert [len(run) for run in seen._runs] == [2**13]
    assert [path.stat().st_size for path in tmp_path.iterdir()] == [2**13 * 8]


def test_cleaning_streams():
    endless = (Line(f"{number}\n", number) for number in iter(int, 1))

    cleaned = Cleaning(**{**NOTHING, "nfc": True}).clean(endless, Counter())

    assert next(cleaned).text == "0\n"
