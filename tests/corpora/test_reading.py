import pytest

from lmexp.corpora import reading


def test_a_line_longer_than_the_limit_comes_in_parts_cut_between_characters(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "_LINE_BYTES", 10)
    text = "漢字é🎉" * 50 + "\nshort\n" + "x" * 10 + "\n" + "é" * 5
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")

    parts = [line.text for line in reading.lines(tmp_path / "a.txt", "error")]

    assert "".join(parts) == text
    assert max(len(part.encode()) for part in parts) <= 10 + 4


def test_the_offset_of_a_wrong_byte_counts_all_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "_LINE_BYTES", 10)
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbf" + "é".encode() * 50 + b"\xfe")

    with pytest.raises(ValueError, match="0xFE at offset 103"):
        list(reading.lines(tmp_path / "a.txt", "error"))


def test_the_scan_of_a_big_file_is_kept_until_it_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "_BIG", 4)
    path = tmp_path / "a.txt"
    path.write_text("éa\nb")
    first = reading.scan(path, tmp_path / "cache")
    opened = []
    monkeypatch.setattr(reading, "_scan", lambda path: opened.append(path) or first)

    assert first.num_chars == 4
    assert reading.scan(path, tmp_path / "cache") == first
    assert not opened
    path.write_text("changed")
    reading.scan(path, tmp_path / "cache")
    assert opened == [path]
