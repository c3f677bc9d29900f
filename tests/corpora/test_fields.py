import gzip
import json

import pytest

from lmexp.corpora import rows
from lmexp.corpora.fields import RecordPairs

DEFAULTS = {
    "files": "*",
    "val_files": None,
    "test_files": None,
    "val_fraction": 0.0,
    "test_fraction": 0.0,
    "source": "text",
    "target": "summary",
    "languages": None,
    "on_invalid": "error",
}
RECORDS = [{"text": "a long one", "summary": "long", "n": 1}, {"text": "b\nc", "summary": ""}]


def corpus(root, **changes):
    return RecordPairs(**{**DEFAULTS, **changes}, root=str(root))


def read(root, split="train", **changes):
    return [tuple(pair) for pair in corpus(root, **changes).pairs(split)]


def write(path, *records):
    path.write_text("\n".join(map(json.dumps, records)) + "\n")


@pytest.mark.parametrize("suffix", [".jsonl", ".ndjson", ".json", ".jsonl.gz"])
def test_two_fields_of_a_record_are_a_pair(suffix, tmp_path):
    text = json.dumps(RECORDS) if suffix == ".json" else "\n\n".join(map(json.dumps, RECORDS))
    data = gzip.compress(text.encode()) if suffix.endswith(".gz") else text.encode()
    (tmp_path / f"a{suffix}").write_bytes(data)

    assert read(tmp_path) == [("a long one", "long", ()), ("b\nc", "", ())]
    assert read(tmp_path, source="summary", target="text")[0] == ("long", "a long one", ())


def test_a_json_that_holds_no_list_has_a_record_a_line(tmp_path):
    (tmp_path / "a.json").write_text("\n" + "\n".join(map(json.dumps, RECORDS)))

    assert [source for source, *_ in read(tmp_path)] == ["a long one", "b\nc"]


def test_a_tsv_has_names_on_top_and_knows_no_quotes(tmp_path):
    (tmp_path / "a.tsv").write_text('\ufeffid\ttext\tsummary\n1\t"a\tb"\n\n2\t\tc,\u2028d\n')

    assert read(tmp_path) == [('"a', 'b"', ()), ("", "c,\u2028d", ())]


def test_a_tsv_with_crlf_keeps_it_but_in_names(tmp_path):
    (tmp_path / "a.tsv").write_bytes(b"text\tsummary\r\na\tb\r\n\r\n")

    assert read(tmp_path) == [("a", "b\r", ())]


def test_a_csv_has_quotes_and_line_ends_within_them(tmp_path):
    (tmp_path / "a.csv").write_bytes(b'text,summary\r\n"a, ""b""\nc",d\r\n\r\ne,"f"\r\n')

    assert read(tmp_path) == [('a, "b"\nc', "d", ()), ("e", "f", ())]


def test_a_list_of_strings_is_joined_by_line_ends(tmp_path):
    write(tmp_path / "a.jsonl", {"text": ["a", "b"], "summary": ["c"]})

    assert read(tmp_path) == [("a\nb", "c", ())]


def test_of_several_targets_the_first_is_the_target_and_others_are_references(tmp_path):
    names = ["summary", "summary1", "summary2", "summary3"]
    write(
        tmp_path / "a.jsonl",
        {"text": "t", "summary": "s"},
        {"text": "t", "summary1": "1", "summary2": "2", "summary3": "3"},
        {"text": "t", "summary": None, "summary2": "2"},
    )

    assert read(tmp_path, target=names) == [("t", "s", ()), ("t", "1", ("2", "3")), ("t", "2", ())]


def test_of_several_sources_the_first_with_a_value_is_taken(tmp_path):
    write(
        tmp_path / "a.jsonl",
        {"intent": "i", "rewritten": "r", "summary": "s"},
        {"intent": "i", "rewritten": None, "summary": "s"},
    )

    found = read(tmp_path, source=["rewritten", "intent"])

    assert found == [("r", "s", ()), ("i", "s", ())]


def test_a_name_with_dots_leads_into_a_record_unless_a_field_has_it(tmp_path):
    write(
        tmp_path / "a.jsonl",
        {"text": {"en": "one"}, "summary": "s"},
        {"text.en": "two", "text": {"en": "one"}, "summary": "s"},
    )

    assert [source for source, _, _ in read(tmp_path, source="text.en")] == ["one", "two"]


def test_tests_of_a_program_are_taken_from_fields_in_the_order_of_their_names(tmp_path):
    write(
        tmp_path / "a.jsonl",
        {"text": "t", "summary": "s", "asserts": ["assert a", "assert b"], "setup": "a = b = 1"},
        {"text": "t", "summary": "s", "setup": "", "asserts": "assert c"},
        {"text": "t", "summary": "s", "setup": None},
    )

    found = [pair[3] for pair in read(tmp_path, tests=["setup", "asserts"])]

    assert found == [("a = b = 1", "assert a\nassert b"), ("", "assert c"), ()]
    assert [pair.tests for pair in corpus(tmp_path).pairs("train")] == [()] * 3


def test_tests_that_are_no_text_are_refused(tmp_path):
    write(tmp_path / "a.jsonl", {"text": "t", "summary": "s", "asserts": [1]})

    with pytest.raises(ValueError, match=r"line 1: 'asserts' is list, not text or a list of str"):
        read(tmp_path, tests="asserts")
    with pytest.raises(ValueError, match=r"data\.tests=\[\] names no field"):
        corpus(tmp_path, tests=[])


def test_every_record_is_in_one_split_and_equal_sources_are_in_the_same(tmp_path):
    records = [{"text": str(number % 300), "summary": str(number)} for number in range(600)]
    write(tmp_path / "a.jsonl", *records)
    changes = {"val_fraction": 0.2, "test_fraction": 0.2}

    parts = [read(tmp_path, split, **changes) for split in ("train", "val", "test")]

    assert sorted(int(target) for part in parts for _, target, _ in part) == list(range(600))
    assert sum(len({source for source, _, _ in part}) for part in parts) == 300
    assert min(map(len, parts)) > 60


def test_official_splits_and_several_files(tmp_path):
    for name in ("a1", "a2", "v"):
        write(tmp_path / f"{name}.jsonl", {"text": name, "summary": "s"})
    changes = {"files": ["a*.jsonl", "a1.jsonl"], "val_files": "v.jsonl", "val_fraction": 0.5}

    assert [source for source, _, _ in read(tmp_path, **changes)] == ["a1", "a2"]
    assert read(tmp_path, "val", **changes) == [("v", "s", ())]
    assert corpus(tmp_path, **changes).splits == ("train", "val")


def test_languages_are_what_the_recipe_says(tmp_path):
    assert corpus(tmp_path).languages == (None, None)
    assert tuple(corpus(tmp_path, languages=["zh", None]).languages) == ("zh", None)


def test_the_fingerprint_is_of_content_and_settings(tmp_path):
    write(tmp_path / "a.jsonl", *RECORDS)
    before = corpus(tmp_path).fingerprint()

    assert corpus(tmp_path, languages=["en", "en"]).fingerprint() == before
    assert corpus(tmp_path, source="summary", target="text").fingerprint() != before
    assert corpus(tmp_path, tests="n").fingerprint() != before
    write(tmp_path / "a.jsonl", *RECORDS[:1])
    assert corpus(tmp_path).fingerprint() != before


@pytest.mark.parametrize(
    ("on_invalid", "expected", "counts"),
    [
        ("replace", ["a?", "b", "c\ufffd"], {"replaced invalid UTF-8": 2}),
        ("drop", ["b"], {"invalid UTF-8": 2}),
    ],
)
def test_a_record_that_is_not_utf8_is_replaced_or_dropped(on_invalid, expected, counts, tmp_path):
    (tmp_path / "a.jsonl").write_bytes(
        b'{"text": "a\\ud800", "summary": ""}\n{"text": "b", "summary": ""}\n'
        b'{"text": "c\xff", "summary": ""}\n'
    )
    records = corpus(tmp_path, on_invalid=on_invalid)

    assert [pair.source for pair in records.pairs("train")] == expected
    assert records.counts == counts
    with pytest.raises(ValueError, match=r"line 1: 'text': the surrogate \\ud800 stands alone"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_a_row_that_is_not_utf8_is_dropped(name, tmp_path):
    text = b"text,summary\n\xff\nb,c\n".replace(b",", b"\t" if name == "a.tsv" else b",")
    (tmp_path / name).write_bytes(text)
    records = corpus(tmp_path, on_invalid="drop")

    assert list(records.pairs("train")) == [("b", "c", ())]
    assert records.counts == {"invalid UTF-8": 1}


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.txt", "a", r"a\.txt: its name does not say how .*\.jsonl, \.ndjson, \.json, \.tsv or"),
        ("a.jsonl", "", r"a\.jsonl has no pairs: name files with text"),
        ("a.tsv", "text\tsummary\n", r"a\.tsv has no pairs"),
        (
            "a.json",
            '{\n"text": "a"}',
            r"a\.json, line 1 is no JSON .* one record a line, or a list",
        ),
        ("a.json", '[{"text"', r"a\.json is no JSON \(.*\): write a list"),
        (
            "a.jsonl",
            '{"text": "a", "n": 1}',
            r"line 1 has no 'summary' but text, n: .*data\.target",
        ),
        ("a.jsonl", '{"text": null}', r"line 1: 'text' is null: .*data\.source"),
        ("a.jsonl", '{"text": ["a", 1], "summary": ""}', r"line 1: 'text' is list, not text or a"),
        ("a.tsv", "text\tsummary\na\n", r"line 2 has 1 cells, but the first row names 2 fields \("),
        ("a.tsv", "text\tsummary\na\tb\tc\n", r"line 2 has 3 cells"),
        ("a.csv", "text,text\na,b\n", r"line 1 names a field twice \(text, text\)"),
        ("a.csv", 'text,summary\na,b\n"c\nd', r"a\.csv, line 3 is no CSV \(unexpected end of data"),
        ("a.csv", 'text,summary\n"a"b,c\n', r"a\.csv, line 2 is no CSV \(.*quotes within it are d"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_refused(name, data, message, tmp_path):
    (tmp_path / name).write_text(data)

    with pytest.raises(ValueError, match=message) as error:
        read(tmp_path)
    assert "\n" not in str(error.value)


def test_a_quote_that_is_never_closed_does_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "_CELL_CHARS", 1000)
    (tmp_path / "a.csv").write_text('text,summary\n"' + "a\n" * 1000)

    with pytest.raises(ValueError, match=r"line 2 is no CSV \(field larger than field limit"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"files": []}, r"data\.files=\[\] names no file"),
        ({"val_files": []}, r"data\.val_files=\[\] names no file"),
        ({"source": []}, r"data\.source=\[\] names no field"),
        ({"target": ""}, r"data\.target=\[\] names no field"),
        ({"val_fraction": 0.5, "test_fraction": 0.5}, "together less than 1"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        corpus(tmp_path, **changes)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"data\.files=b\.jsonl: there is no such file"):
        read(tmp_path, files="b.jsonl")


def test_dialogsum_has_three_summaries_in_test(data_folder):
    data_folder("dialogsum")
    names = {"files": "dialogsum.dev.jsonl", "test_files": "dialogsum.test.jsonl"}
    fields = {"source": "dialogue", "target": ["summary", "summary1", "summary2", "summary3"]}
    records = RecordPairs(**{**DEFAULTS, **names, **fields}, folder="dialogsum")

    train, test = (list(records.pairs(split)) for split in ("train", "test"))

    assert [len(train), len(test)] == [500, 500]
    assert {len(pair.references) for pair in train} == {0}
    assert {len(pair.references) for pair in test} == {2}


def test_conala_has_an_intent_for_every_snippet(data_folder):
    data_folder("conala")
    names = {"files": "conala-train.json", "test_files": "conala-test.json"}
    fields = {"source": ["rewritten_intent", "intent"], "target": "snippet"}
    records = RecordPairs(**{**DEFAULTS, **names, **fields}, folder="conala/v1.1")

    assert [len(list(records.pairs(split))) for split in ("train", "test")] == [2378, 500]
