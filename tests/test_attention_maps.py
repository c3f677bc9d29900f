"""Labels of tokens, fonts that can write them, and pictures of attention."""

from pathlib import Path

import numpy as np

from lmexp.attention_maps import draw_attention, find_fonts, shown, token_labels
from lmexp.tokenizers import BOS_ID, Bytes, Words


def test_labels_show_spaces_ends_of_lines_names_and_parts_of_characters():
    ids = [BOS_ID, *Bytes().encode("月 a\nä")]
    assert token_labels(Bytes(), ids) == [
        *("<bos>", "月 1/3", "月 2/3", "月 3/3", "␣", "a", "↵", "ä 1/2", "ä 2/2")
    ]


def test_a_label_of_broken_bytes_is_the_replacement_character():
    month = Bytes().encode("月")
    assert token_labels(Bytes(), [*month[:2], *Bytes().encode("a")]) == ["\ufffd", "\ufffd", "a"]


def test_labels_of_words_are_words():
    words = Words(vocab_size=None, min_count=1)
    words.fit(lambda: ["a man rides"])
    assert token_labels(words, words.encode("man flies\n")) == ["man", "<unk>", "<unk>"]


def test_what_cannot_be_seen_is_shown_by_its_number():
    assert shown("a\u200b\t月", frozenset("月")) == "aU+200BU+0009U+6708"


def test_latin_needs_one_font_and_no_search(monkeypatch):
    def search():
        raise AssertionError("fonts were searched for")

    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", search)
    assert find_fonts(["Größe", "\x00"]) == (["DejaVu Sans"], frozenset())


def test_a_font_of_the_machine_is_taken_for_what_matplotlibs_own_has_not(monkeypatch, tmp_path):
    from matplotlib import get_data_path
    from matplotlib.font_manager import get_font

    fonts = Path(get_data_path()) / "fonts" / "ttf"
    theirs, own = (
        set(get_font(fonts / name).get_charmap()) for name in ("STIXGeneral.ttf", "DejaVuSans.ttf")
    )
    symbol = min(char for char in map(chr, theirs - own) if char.isprintable())
    (tmp_path / "Broken-Regular-Sans.ttf").write_bytes(b"no font")
    (tmp_path / "LastResort.otf").write_bytes((fonts / "STIXGeneral.ttf").read_bytes())
    found = [str(path) for path in tmp_path.iterdir()] + [str(fonts / "STIXGeneral.ttf")]
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", lambda: found)

    assert find_fonts([f"a{symbol}月"]) == (["DejaVu Sans", "STIXGeneral"], frozenset("月"))


def test_every_panel_is_drawn_whatever_stands_on_the_axes(monkeypatch, tmp_path):
    from matplotlib.image import imread

    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", list)
    labels = ["$x$", "$", "月" * 20, "\u0301", "😀", "a\nb", "\x1b[0m", "שלום"]
    texts = {"title": "$\\bad$ 月", "axes_names": ("a", "b")}
    for heads, own in ((1, labels), (5, ["月"])):
        panels = [f"head {head}" for head in range(heads)]
        weights = np.ones((heads, len(own), len(own)))

        missing = draw_attention(weights, own, own, tmp_path / "a.png", panels=panels, **texts)

        assert "月" in missing
        assert imread(tmp_path / "a.png").shape[0] > 100


def test_a_weight_of_1_is_dark_and_one_of_0_is_white(tmp_path):
    from matplotlib.image import imread

    names = {"title": "a", "panels": ["one head"], "axes_names": ("a", "b")}
    shares = []
    for weight in (0.0, 1.0):
        draw_attention(
            np.full((1, 9, 9), weight), ["a"] * 9, ["a"] * 9, tmp_path / "a.png", **names
        )
        picture = imread(tmp_path / "a.png")[..., :3]
        dark = (np.abs(picture - np.array([8, 48, 107]) / 255) < 0.02).all(axis=-1)  # Blues' end
        shares.append(dark.mean())

    assert shares[0] < 0.02 < 0.2 < shares[1]
