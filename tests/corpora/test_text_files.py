import gzip
import tracemalloc

import pytest
import zstandard

from lmexp.corpora.text import TextFiles

DEFAULTS = {
    "val_files": None,
    "test_files": None,
    "val_fraction": 0.0,
    "test_fraction": 0.0,
    "cut": "tail",
    "document": "file",
    "text_field": "text",
    "on_invalid": "error",
}


def corpus(root, files, **changes):
    return TextFiles(files, **{**DEFAULTS, **changes}, root=str(root))


def read(root, files="*", split="train", **changes):
    return [tuple(piece) for piece in corpus(root, files, **changes).pieces(split)]


def text(root, split, files="*", **changes):
    return "".join(piece for piece, _ in read(root, files, split, **changes))


def test_lines_end_at_newline_bytes_alone(tmp_path):
    odd = "a\rb\u2028c\x85d\x0be\r\n"
    (tmp_path / "a.txt").write_bytes((odd + "\0\n\nlast").encode())

    assert read(tmp_path) == [(odd, 0), ("\0\n", 0), ("\n", 0), ("last", 0)]


def test_packed_files_give_the_same_text_and_fingerprint(tmp_path):
    plain = b"one\ntwo\n" * 1000
    for name, data in {
        "a.txt": plain,
        "b.txt.gz": gzip.compress(plain),
        "c.txt.zst": zstandard.compress(plain[:400]) + zstandard.compress(plain[400:]),
    }.items():
        (tmp_path / name).write_bytes(data)

    corpora = [corpus(tmp_path, name) for name in ("a.txt", "b.txt.gz", "c.txt.zst", "b.txt")]

    assert len({c.fingerprint() for c in corpora}) == 1
    assert len({tuple(c.pieces("train")) for c in corpora}) == 1


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("file", [0, 0, 0, 0, 0, 1]),
        ("line", [0, 1, 2, 3, 4, 5]),
        ("blank_line", [0, 0, 0, 1, 1, 2]),
        ("split", [0, 0, 0, 0, 0, 0]),
    ],
)
def test_a_document_is_what_the_recipe_says(document, expected, tmp_path):
    (tmp_path / "a.txt").write_text("a\n\n\nb\nc\n")
    (tmp_path / "b.txt").write_text("d\n")

    assert [number for _, number in read(tmp_path, document=document)] == expected
    assert corpus(tmp_path, "*", document=document).is_stream == (document == "split")


def test_the_tail_is_cut_at_exact_characters(tmp_path):
    (tmp_path / "a.txt").write_text("0123é\n678\n" * 10)
    fractions = {"val_fraction": 0.13, "test_fraction": 0.05}

    parts = [text(tmp_path, split, **fractions) for split in ("train", "val", "test")]

    assert "".join(parts) == "0123é\n678\n" * 10
    assert [len(part) for part in parts] == [82, 13, 5]


@pytest.mark.parametrize("document", ["line", "blank_line"])
def test_the_tail_of_lines_is_cut_between_documents(document, tmp_path):
    (tmp_path / "a.txt").write_text("".join(f"{number}\n\n" for number in range(100)))

    parts = [
        text(tmp_path, split, document=document, val_fraction=0.25)
        for split in ("train", "val", "test")
    ]

    assert "".join(parts) == (tmp_path / "a.txt").read_text()
    assert parts[0].endswith("\n")
    assert len(parts[0]) == pytest.approx(0.75 * 390, abs=4)
    assert parts[2] == ""


def test_every_file_gives_its_tail(tmp_path):
    for name in "ab":
        (tmp_path / name).write_text(name * 10)

    assert text(tmp_path, "val", val_fraction=0.2) == "aabb"


def test_documents_are_drawn_whole_and_equal_ones_together(tmp_path):
    lines = [f"line {number % 500}\n" for number in range(1000)]
    (tmp_path / "a.txt").write_text("".join(lines))
    changes = {"document": "line", "cut": "documents", "val_fraction": 0.1, "test_fraction": 0.2}

    parts = [
        [piece for piece, _ in read(tmp_path, split=split, **changes)]
        for split in ("train", "val", "test")
    ]

    assert sorted(line for part in parts for line in part) == sorted(lines)
    assert not set(parts[0]) & set(parts[1]) | set(parts[0]) & set(parts[2])
    assert 60 <= len(parts[1]) <= 140  # 100, three sigmas of 500 pairs
    assert 140 <= len(parts[2]) <= 260


def test_documents_of_a_split_are_numbered_from_zero(tmp_path):
    (tmp_path / "a.txt").write_text("".join(f"{number}\n" for number in range(100)))

    numbers = [
        n
        for _, n in read(tmp_path, split="val", document="line", cut="documents", val_fraction=0.5)
    ]

    assert numbers == list(range(len(numbers)))
    assert len(numbers) > 30


def test_an_official_split_is_not_cut(tmp_path):
    for name in ("train", "val"):
        (tmp_path / name).write_text(f"{name} {name}\n")
    changes = {"files": "train", "val_files": "val", "val_fraction": 0.5}

    assert text(tmp_path, "train", **changes) == "train train\n"
    assert text(tmp_path, "val", **changes) == "val val\n"
    assert text(tmp_path, "test", **changes) == ""
    assert corpus(tmp_path, **changes).splits == ("train", "val")


def test_the_fingerprint_is_of_content_and_settings_not_of_names(tmp_path):
    (tmp_path / "a.txt").write_text("a\n")
    (tmp_path / "b.txt").write_text("a\n")
    before = corpus(tmp_path, "a.txt").fingerprint()

    assert corpus(tmp_path, "b.txt").fingerprint() == before
    assert corpus(tmp_path, "a.txt", document="line").fingerprint() != before
    (tmp_path / "a.txt").write_text("b\n")
    assert corpus(tmp_path, "a.txt").fingerprint() != before


@pytest.mark.parametrize("packed", [False, True])
def test_invalid_utf8_is_named_with_its_offset(packed, tmp_path):
    data = b"first\n" + "é".encode() + b"\xff\n"
    path = tmp_path / ("a.txt.gz" if packed else "a.txt")
    path.write_bytes(gzip.compress(data) if packed else data)

    with pytest.raises(ValueError, match=r"a\.txt.* byte 0xFF at offset 8.*iconv") as error:
        read(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("on_invalid", "expected", "counts"),
    [
        ("replace", "a\n\ufffd\nb\n", {"replaced invalid UTF-8": 1}),
        ("drop", "a\nb\n", {"invalid UTF-8": 1}),
    ],
)
def test_invalid_utf8_is_replaced_or_dropped_if_one_says_so(on_invalid, expected, counts, tmp_path):
    (tmp_path / "a.txt").write_bytes(b"a\n\xff\nb\n")
    files = corpus(tmp_path, "a.txt", on_invalid=on_invalid)

    assert "".join(piece.text for piece in files.pieces("train")) == expected
    assert files.counts == counts


def test_a_byte_order_mark_is_no_text(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n")

    assert read(tmp_path) == [("a\n", 0), ("\ufeffb\n", 0)]


def test_an_empty_file_is_refused_alone_and_counted_among_others(tmp_path):
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(ValueError, match=r"a\.txt is empty: name files with text"):
        read(tmp_path)
    (tmp_path / "b.txt").write_text("b")
    files = corpus(tmp_path, "*")

    assert [tuple(piece) for piece in files.pieces("train")] == [("b", 0)]
    assert files.counts == {"empty file": 1}


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: b"plain text\n" + data])
def test_a_damaged_packed_file_is_named(suffix, damage, tmp_path):
    packed = {".gz": gzip.compress, ".zst": zstandard.compress}[suffix](b"some text\n" * 100)
    (tmp_path / f"a.txt{suffix}").write_bytes(damage(packed))

    with pytest.raises(ValueError, match=rf"a\.txt{suffix} is no whole {suffix} file"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"val_fraction": 0.5, "test_fraction": 0.5}, "together less than 1"),
        ({"cut": "documents", "document": "split"}, "document=split makes one document"),
        ({"download": [{"file": "a", "link": "b"}]}, "each entry has file, url, sha256"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        corpus(tmp_path, "*", **changes)


def test_memory_does_not_grow_with_the_file(tmp_path):
    line = "x" * 999 + "\n"
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(line.encode() * 20_000))  # 20 MB
    files = corpus(tmp_path, "*", val_fraction=0.1)

    tracemalloc.start()
    files.fingerprint()
    number = sum(1 for _ in files.pieces("train"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert number == 18_000
    assert peak < 6_000_000
