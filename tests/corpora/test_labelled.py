"""Texts with labels: rows and records, what is counted, what is refused."""

import json

import pytest

from lmexp.corpora.labelled import LabelledRecords
from lmexp.corpora.labelled_tasks import LabelledTasks

DEFAULTS = {
    "train": "*",
    "val": None,
    "test": None,
    "val_fraction": 0.0,
    "test_fraction": 0.0,
    "columns": None,
    "separator": None,
    "encoding": "utf-8",
    "text": "text",
    "second": None,
    "label": "label",
    "label_separator": None,
    "label_names": {},
    "drop_labels": [],
    "drop_seen": False,
    "on_invalid": "error",
}


def corpus(root, **changes):
    return LabelledRecords(**{**DEFAULTS, **changes}, root=str(root))


def read(root, split="train", **changes):
    return [tuple(record) for record in corpus(root, **changes).labelled(split)]


ROWS = [("a b", None, ("x",)), ('"c', None, ("y",))]


@pytest.mark.parametrize(
    ("name", "content", "changes"),
    [
        ("a.tsv", 'label\ttext\nx\ta b\ny\t"c\n', {}),
        ("a.tsv", 'text\tn\tlabel\r\na b\t1\tx\r\n"c\t2\ty\r\n', {}),
        ("a.tsv", 'a b\tx\n\n"c\ty', {"columns": ["text", "label"]}),
        ("a.txt", 'x\ta b\r\ny\t"c\r\n', {"columns": ["label", "text"]}),
        ("a.csv", 'text,label\na b,x\n"""c",y\n', {}),
        ("a.csv", 'a b,x\n"""c",y\n', {"columns": ["text", "label"]}),
        ("a.jsonl", '{"text": "a b", "label": "x"}\n{"text": "\\"c", "label": ["y"]}\n', {}),
        ("a.json", '[{"text": "a b", "label": " x"}, {"text": ["\\"c"], "label": "y"}]', {}),
        ("a.json", '{"text": "a b", "label": "x"}\n{"text": "\\"c", "label": "y"}\n', {}),
        ("a.txt", 'a b@x\n"c@y\n', {"columns": ["text", "label"], "separator": "@"}),
    ],
)
def test_rows_and_records_hold_texts_and_labels(name, content, changes, tmp_path):
    (tmp_path / name).write_bytes(content.encode())

    assert read(tmp_path, **changes) == ROWS


def test_a_separator_counts_from_the_end_of_a_line(tmp_path):
    (tmp_path / "a.txt").write_bytes("caf\xe9@home@x\n".encode("latin-1"))
    changes = {"columns": ["text", "label"], "separator": "@"}

    assert read(tmp_path, **changes, encoding="latin-1") == [("caf\xe9@home", None, ("x",))]
    with pytest.raises(ValueError, match=r"a\.txt is not UTF-8: byte 0xE9"):
        read(tmp_path, **changes)


def test_a_second_text_belongs_to_the_first(tmp_path):
    record = {"premise": "a", "hypothesis": ["b", "c"], "label": 0}
    (tmp_path / "a.jsonl").write_text(json.dumps(record))

    found = read(tmp_path, text="premise", second="hypothesis", label_names={"0": "no"})

    assert found == [("a", "b\nc", ("no",))]


def test_names_of_labels_may_be_keyed_by_numbers(tmp_path):
    (tmp_path / "a.tsv").write_text("text\tlabel\na\t0\nb\t1\n")

    found = read(tmp_path, label_names={0: "no", "1": "yes"})

    assert [labels for *_, labels in found] == [("no",), ("yes",)]


def test_several_labels_come_in_a_list_or_between_separators(tmp_path):
    (tmp_path / "a.tsv").write_text("text\tlabel\na\tx; y;x\nb\t\n")
    (tmp_path / "a.jsonl").write_text(
        '{"text": "a", "label": ["x", "y"]}\n{"text": "b", "label": []}'
    )

    expected = [("a", None, ("x", "y")), ("b", None, ())]
    assert read(tmp_path, train="a.tsv", label_separator=";") == expected
    assert read(tmp_path, train="a.jsonl") == expected


def test_labels_that_say_there_is_none_are_dropped_and_counted(tmp_path):
    (tmp_path / "a.tsv").write_text("text\tlabel\na\tx\nb\t-\nc\t-\n")
    files = corpus(tmp_path, drop_labels=["-"])

    assert [record.text for record in files.labelled("train")] == ["a"]
    assert files.counts == {"label -": 2}


def test_empty_texts_are_dropped_and_counted(tmp_path):
    (tmp_path / "a.tsv").write_text("text\tsecond\tlabel\na\tb\tx\n \tb\tx\na\t\tx\n")
    files = corpus(tmp_path, second="second")

    assert [tuple(record) for record in files.labelled("train")] == [("a", "b", ("x",))]
    assert files.counts == {"empty text": 2}


def test_files_of_each_split_as_the_command_line_names_them(tmp_path):
    for name in "abc":
        (tmp_path / f"{name}.tsv").write_text(f"text\tlabel\n{name}\tx\n")
    named = {"train": "a.tsv", "val": "b.tsv", "test": "c.tsv", "val_fraction": 0.5}

    assert corpus(tmp_path, **named).splits == ("train", "val", "test")
    assert [read(tmp_path, split, **named)[0][0] for split in ("train", "val", "test")] == [*"abc"]


def test_pairs_with_the_same_first_text_fall_into_the_same_split(tmp_path):
    lines = [f"p{number // 4}\th{number}\tx" for number in range(400)]
    (tmp_path / "a.tsv").write_text("\n".join(lines))
    changes = {
        "columns": ["premise", "text", "label"],
        "text": "premise",
        "second": "text",
        "val_fraction": 0.2,
    }

    parts = [read(tmp_path, split, **changes) for split in ("train", "val")]

    assert sum(map(len, parts)) == 400
    assert not {first for first, *_ in parts[0]} & {first for first, *_ in parts[1]}


def test_pairs_seen_elsewhere_are_dropped_as_pairs(tmp_path):
    (tmp_path / "a.tsv").write_text("a\tb\tx\na\tc\tx\nＡ１\tb.\ty\n")
    (tmp_path / "b.tsv").write_text("a\tb\tx\nA1\tb\ty\n")
    changes = {"columns": ["text", "second", "label"], "second": "second", "drop_seen": True}
    files = corpus(tmp_path, train="a.tsv", test="b.tsv", **changes)

    assert [record.second for record in files.labelled("train")] == ["c"]
    assert files.counts == {"also in another split": 2}
    assert len(list(files.labelled("test"))) == 2


def test_what_is_cut_off_for_val_is_not_in_test_either(tmp_path):
    lines = "".join(f"t{number}\tx\n" for number in range(100))
    (tmp_path / "a.tsv").write_text(lines)
    (tmp_path / "b.tsv").write_text(lines[: len(lines) // 2])
    changes = {"columns": ["text", "label"], "val_fraction": 0.3, "drop_seen": True}
    files = corpus(tmp_path, train="a.tsv", test="b.tsv", **changes)

    found = {split: {r.text for r in files.labelled(split)} for split in ("train", "val", "test")}

    assert found["val"]
    assert not found["test"] & (found["val"] | found["train"])


@pytest.mark.parametrize(
    ("name", "content", "changes", "message"),
    [
        (
            "a.tsv",
            "text\tlabel\na\t\n",
            {},
            r"a\.tsv, line 2: 'label' is '', which is no label: write one, a list",
        ),
        ("a.jsonl", '{"text": "a", "label": null}', {}, "line 1: 'label' is null: give it"),
        ("a.jsonl", '{"text": "a"}', {}, "has no 'label' but text: .*neither be trained on nor"),
        ("a.jsonl", '{"text": "a", "label": {}}', {}, "line 1: 'label' is {}, which is no label"),
        ("a.jsonl", '{"text": "a", "label": [""]}', {}, r"line 1: 'label' is \[''\], which is no"),
        ("a.jsonl", '{"text": 3, "label": "x"}', {}, "line 1: 'text' is int, not text"),
        ("a.jsonl", "[]", {}, "line 1 is list, not an object with fields"),
        ("a.tsv", "good\tx\nbad\ty\n", {}, r"line 2 has no 'text' but good, x: .*data\.columns"),
        ("a.txt", "a\tx\n", {}, "its name does not say how the records are written"),
        (
            "a.tsv",
            "a\tx\tz\n",
            {"columns": ["text", "label"]},
            r"line 1 has 3 cells, but data\.columns names 2 \(text, label\)",
        ),
        (
            "a.txt",
            "a x\n",
            {"columns": ["text", "label"], "separator": "@"},
            "line 1 has 1 cells, but",
        ),
        ("a.tsv", "a\tx\n", {"columns": ["text"]}, r"data\.columns=\[text\] has no label: it na"),
        ("a.tsv", "a\tx\n", {"separator": "@"}, r"data\.separator='@' is of files without names"),
        ("a.jsonl", "{}", {"columns": ["text", "label"]}, r"a\.jsonl has records with names: wri"),
        (
            "a.tsv",
            "text\tlabel\na\tz\n",
            {"label_names": {"x": "X"}},
            r"line 2: 'label' is 'z', which is none of the labels in data\.label_names \(x\)",
        ),
        ("a.tsv", "text\tlabel\n", {}, r"a\.tsv has no records: name files with text in them"),
        ("a.tsv", "", {"train": []}, r"data\.train=\[\] names no file"),
    ],
)
def test_what_is_wrong_is_named(name, content, changes, message, tmp_path):
    (tmp_path / name).write_text(content)

    with pytest.raises(ValueError, match=message):
        read(tmp_path, **changes)


def test_what_is_not_utf8_is_counted(tmp_path):
    (tmp_path / "a.tsv").write_bytes(b"a\xff\tx\nb\ty\n")
    changes = {"columns": ["text", "label"]}
    files = corpus(tmp_path, **changes, on_invalid="drop")

    assert [record.text for record in files.labelled("train")] == ["b"]
    assert files.counts == {"invalid UTF-8": 1}


def tasks(root, task, **own):
    both = {"one": {"train": "a.jsonl", "text": "text", "label": "label", **own}, "two": {}}
    return LabelledTasks(task, both, 0.0, 0.0, False, "error", root=str(root))


def test_a_task_of_several_is_read_by_name(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a", "label": "x"}')

    assert [*tasks(tmp_path, "one").labelled("train")] == [("a", None, ("x",))]
    with pytest.raises(ValueError, match=r"data\.task=three: there are one, two: write one"):
        tasks(tmp_path, "three")
    with pytest.raises(
        ValueError, match=r"data\.corpus\.tasks\.two: train is missing, text is missing"
    ):
        tasks(tmp_path, "two")
    with pytest.raises(ValueError, match=r"data\.corpus\.tasks\.one: it does not take lable"):
        tasks(tmp_path, "one", lable="label")


def test_the_fingerprint_tells_what_decides_the_records(tmp_path):
    (tmp_path / "a.tsv").write_text("text\tlabel\nb\tx\n")
    changes = [
        {},
        {"text": "label", "label": "text"},
        {"second": "label"},
        {"label_names": {"x": "y"}},
        {"label_separator": ";"},
        {"drop_labels": ["x"]},
        {"drop_seen": True},
        {"columns": ["text", "label"]},
        {"encoding": "latin-1"},
        {"val_fraction": 0.1},
    ]

    assert len({corpus(tmp_path, **own).fingerprint() for own in changes}) == len(changes)
