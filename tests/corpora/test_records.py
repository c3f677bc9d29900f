"""Records, one a line or in a list: their text, how they are cut, what is wrong with them."""

import gzip
import json

import pytest

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


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".jsonl.gz"])
def test_a_record_is_a_document(suffix, tmp_path):
    records = [{"body": "a\nb", "n": 1}, {"body": ["c", "d\n"]}, {"body": ""}, {"body": "e"}]
    data = json.dumps(records) if suffix == ".json" else "\n".join(map(json.dumps, records))
    packed = gzip.compress(data.encode()) if suffix.endswith(".gz") else data.encode()
    (tmp_path / f"a{suffix}").write_bytes(packed)

    assert read(tmp_path, text_field="body") == [
        ("a\n", 0),
        ("b", 0),
        ("c\n", 1),
        ("d\n", 1),
        ("e", 2),
    ]
    assert text(tmp_path, "train", text_field="body", document="split") == "a\nb\nc\nd\ne\n"


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
@pytest.mark.parametrize("indent", [None, 4])
def test_the_tail_of_records_is_cut_between_them(suffix, indent, tmp_path):
    texts = [f"{number:03}" for number in range(100)]
    records = [{"text": text} for text in texts]
    listed = json.dumps(records, indent=indent)
    content = listed if suffix == ".json" else "\n".join(map(json.dumps, records))
    (tmp_path / f"a{suffix}").write_text(content)
    fractions = {"val_fraction": 0.2, "test_fraction": 0.1}

    parts = [
        [piece for piece, _ in read(tmp_path, split=split, **fractions)]
        for split in ("train", "val", "test")
    ]

    assert [text for part in parts for text in part] == texts
    assert [len(part) for part in parts] == pytest.approx([70, 20, 10], abs=1)


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_records_without_text_do_not_move_the_cut(suffix, tmp_path):
    records = [{"text": "" if number % 2 else f"{number:03}"} for number in range(200)]
    lines = "\n\n".join(map(json.dumps, records))
    (tmp_path / f"a{suffix}").write_text(json.dumps(records) if suffix == ".json" else lines)

    sizes = [len(read(tmp_path, split=split, val_fraction=0.2)) for split in ("train", "val")]

    assert sizes == pytest.approx([80, 20], abs=1)


def test_a_list_of_no_records_is_a_text_without_pieces(tmp_path):
    (tmp_path / "a.json").write_text("[]")

    assert read(tmp_path, split="val", val_fraction=0.5) == []


def test_a_lone_surrogate_in_json_is_invalid(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "ok"}\n{"text": "\\ud800"}\n')

    with pytest.raises(ValueError, match=r"a\.jsonl, line 2: the surrogate \\ud800"):
        read(tmp_path)
    assert read(tmp_path, on_invalid="drop") == [("ok", 0)]


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_a_replaced_record_is_kept_and_counted_once(suffix, tmp_path):
    records = ['{"text": "a\\nb\\ud800\\nc"}', '{"text": "ok"}']
    text = "\n".join(records) if suffix == ".jsonl" else f"[{', '.join(records)}]"
    (tmp_path / f"a{suffix}").write_text(text)
    files = corpus(tmp_path, "*", on_invalid="replace")

    assert [tuple(p) for p in files.pieces("train")] == [
        ("a\n", 0),
        ("b?\n", 0),
        ("c", 0),
        ("ok", 1),
    ]
    assert files.counts == {"replaced invalid UTF-8": 1}


def test_a_replaced_line_of_records_is_still_read(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "a\xff"}\n{"text": "b"}\n')
    files = corpus(tmp_path, "*", on_invalid="replace")

    assert [piece.text for piece in files.pieces("train")] == ["a\ufffd", "b"]
    assert files.counts == {"replaced invalid UTF-8": 1}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ('{"text": "a"}\n{"text": ', r"a\.jsonl, line 2 is no JSON"),
        ('{"body": "a", "n": 1}\n', r"line 1 has no 'text' but body, n: name the field"),
        ('{"text": 3}\n', r"line 1: 'text' is int, not text"),
        ("[1]\n", r"line 1 is list, not an object with fields: write"),
    ],
)
def test_a_record_without_text_is_named(data, message, tmp_path):
    (tmp_path / "a.jsonl").write_text(data)

    with pytest.raises(ValueError, match=message):
        read(tmp_path)
