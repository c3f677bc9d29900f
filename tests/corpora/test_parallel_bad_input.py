"""What of files of pairs is refused, dropped or replaced, and what is said of it."""

import gzip

import pytest
import zstandard
from parallel_files import corpus, read, three_pairs

from lmexp.corpora import parallel, reading


@pytest.fixture
def two(tmp_path):
    return three_pairs(tmp_path)


def test_a_long_line_is_invalid_if_any_part_of_it_is(two, monkeypatch):
    monkeypatch.setattr(reading, "_LINE_BYTES", 8)
    (two / "a.de").write_bytes(b"eins\n\xff" + b"x" * 20 + b"\n" + b"x" * 20 + b"\xff")
    files = corpus(two, on_invalid="drop")

    assert [pair.target for pair in files.pairs("train")] == ["eins"]
    assert files.counts == {"invalid UTF-8": 2}


@pytest.mark.parametrize("extra", ["four", "four\n", "\n"])
def test_files_of_unequal_length_are_refused_before_the_first_pair(extra, two):
    with (two / "a.en").open("a") as file:
        file.write(extra)

    with pytest.raises(ValueError, match=r"a\.en has 4 lines, .*a\.de has 3 lines: .* again"):
        next(corpus(two).pairs("train"))


def test_files_of_any_split_are_counted_first(two):
    (two / "b.de").write_text("eins\nzwei\n")
    files = corpus(two, test=["a.en", "a.de", "b.de"])

    with pytest.raises(ValueError, match=r"a\.de has 3 lines, .*b\.de has 2 lines"):
        next(files.pairs("train"))


@pytest.mark.parametrize("content", [b"", b"\n", b"a", b"a\n", b"a\nb", b"\xef\xbb\xbf", b"\n\na"])
def test_lines_are_counted_as_they_are_read(content, tmp_path, monkeypatch):
    monkeypatch.setattr(parallel, "_CHUNK", 2)
    path = tmp_path / "a"
    path.write_bytes(content)

    assert parallel._num_lines(path) == len(list(reading.lines(path, "error")))


@pytest.mark.parametrize(
    ("on_invalid", "expected", "counts"),
    [
        ("replace", ["eins", "\ufffd", "drei"], {"replaced invalid UTF-8": 1}),
        ("drop", ["eins", "drei"], {"invalid UTF-8": 1}),
    ],
)
def test_a_pair_that_is_not_utf8_is_replaced_or_dropped_whole(on_invalid, expected, counts, two):
    (two / "a.de").write_bytes(b"eins\n\xff\ndrei\n")
    files = corpus(two, on_invalid=on_invalid)

    assert [pair.target for pair in files.pairs("train")] == expected
    assert [pair.target for pair in files.pairs("train")] == expected
    assert files.counts == counts
    with pytest.raises(ValueError, match=r"a\.de is not UTF-8: byte 0xFF at offset 5, in line 2; "):
        read(two)


@pytest.mark.parametrize("name", ["a.tsv", "a.jsonl"])
def test_a_line_with_both_sides_is_dropped_whole(name, tmp_path):
    lines = {"a.tsv": b"\xff\na\tb\n", "a.jsonl": b'{"\xff\n{"s": "a", "t": "b"}\n'}
    (tmp_path / name).write_bytes(lines[name])
    fields = ["s", "t"] if name == "a.jsonl" else [0, 1]
    files = corpus(tmp_path, train=name, fields=fields, on_invalid="drop")

    assert list(files.pairs("train")) == [("a", "b", ())]
    assert files.counts == {"invalid UTF-8": 1}


def test_a_pair_of_a_split_is_counted_in_no_other(tmp_path):
    (tmp_path / "a.tsv").write_bytes(b"".join(b"%d\xff\tb\n" % number for number in range(100)))
    files = corpus(tmp_path, train="a.tsv", fields=[0, 1], val_fraction=0.5, on_invalid="replace")

    sizes = {}
    for split in ("train", "val"):
        sizes[split] = len(list(files.pairs(split)))
        assert files.counts == {"replaced invalid UTF-8": sizes[split]}

    assert sum(sizes.values()) == 100


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_damaged_packed_file_is_named(suffix, two):
    pack = {".gz": gzip.compress, ".zst": zstandard.compress}[suffix]
    (two / "a.de").unlink()
    (two / f"a.de{suffix}").write_bytes(pack(b"eins\nzwei\ndrei\n" * 99)[:-9])

    with pytest.raises(ValueError, match=rf"a\.de{suffix} is no whole {suffix} file"):
        read(two)


def test_a_missing_file_is_named_with_one_like_it(two):
    with pytest.raises(
        FileNotFoundError, match=r"^data\.train=aa\.de: there is no .*did you mean .*a\.de\?$"
    ):
        read(two, train=["a.en", "aa.de"])


@pytest.mark.parametrize(
    ("data", "changes", "message"),
    [
        ("a\tb\nc  d\n", {}, r"line 2 has 1 of the 2 columns .*fields=\[0,1\] .*'c  d'\): put one"),
        ("a\tb\n", {"fields": [0, 3]}, r"line 1 has 2 of the 4 columns"),
        ("", {}, r"a\.tsv has no pairs: name files with text"),
    ],
)
def test_a_file_without_the_columns_is_refused(data, changes, message, tmp_path):
    (tmp_path / "a.tsv").write_text(data)

    with pytest.raises(ValueError, match=message) as error:
        read(tmp_path, **{"train": "a.tsv", "fields": [0, 1], **changes})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ('{"s": "a", "t": "b"}\n{"s": "a"}', r"line 2 has no 't' but s: name the field in data\.f"),
        ('{"s": "a", "t": 3}', r"line 1: 't' is int, not text or a list of strings"),
        ('["a", "b"]', r"line 1 is list, not an object with fields"),
        ('{"s": "a",', r"line 1 is no JSON \(.*\): write one record a line"),
        ('{"s": "a", "t": "\\ud800"}', r"line 1: 't': the surrogate \\ud800 stands alone"),
    ],
)
def test_a_record_without_both_sides_is_refused(data, message, tmp_path):
    (tmp_path / "a.jsonl").write_text(data)

    with pytest.raises(ValueError, match=message):
        read(tmp_path, train="a.jsonl", fields=["s", "t"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pair": "ende"}, r"data\.pair=ende is not two language codes"),
        ({"pair": "en-"}, r"data\.pair=en- is not two language codes"),
        ({"train": ["a.{source}", "b"]}, r"a\.\{source\} is meant for two languages, but data\.p"),
        ({"train": {"en": "a", "de": "b"}}, r"by language, but data\.pair=null: .*pair=en-de"),
        (
            {"train": {"en": "a", "de": "b"}, "pair": "en-fr"},
            r"data\.pair=en-fr, but data\.train has en and de, no fr",
        ),
        ({"train": ["a"]}, r"data\.train=\[a\] names 1 of two files"),
        ({"train": ["a", "b", "c"]}, r"names 3 files instead of two: further references"),
        ({"val": ["a", "a"]}, r"data\.val=\[a,a\] names a file twice"),
        ({"train": None}, r"all null: write data\.train="),
        (
            {"train": None, "val": ["a", "b"], "test_fraction": 0.1},
            r"test_fraction=0\.1, but data\.train=null",
        ),
        ({"train": "a.tsv"}, r"fields=null, but data\.train=a\.tsv holds .* as data\.fields=\[0,1"),
        ({"train": "a.tsv", "fields": ["s", "t"]}, r"fields=\[s,t\], but .* has columns"),
        ({"val": "a.json.gz", "fields": [0, 1]}, r"data\.val=a\.json\.gz .* has records"),
        ({"val_fraction": 0.5, "test_fraction": 0.5}, "together less than 1"),
        ({"download": [{"file": "a", "link": "b"}]}, "each entry has file, url, sha256"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message) as error:
        corpus(tmp_path, **changes)
    assert "\n" not in str(error.value)


def test_a_name_means_one_file(two):
    with pytest.raises(ValueError, match=r"data\.train: a\.\* means 2 files, .* name one for each"):
        read(two, train=["a.*", "a.de"])
