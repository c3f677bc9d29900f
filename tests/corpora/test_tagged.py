"""Sentences with a tag for every word: columns and records, what is counted, what is refused."""

import gzip
import json
import zipfile

import pytest

from lmexp.corpora.tagged import TaggedFiles

DEFAULTS = {
    "train": "*",
    "val": None,
    "test": None,
    "val_fraction": 0.0,
    "test_fraction": 0.0,
    "word_column": 0,
    "tag_column": -1,
    "words_field": "tokens",
    "tags_field": "ner_tags",
    "scheme": "bio",
    "on_bad_tag": "error",
    "types": {},
    "joins_words": False,
    "drop_seen": False,
    "on_invalid": "error",
}
CONLL = "-DOCSTART- -X- O\n\nEU NNP B-ORG\nrejects VBZ O\n\nPeter NNP B-PER\nBlackburn NNP I-PER\n"
EU = (("EU", "rejects"), ("B-ORG", "O"))
PETER = (("Peter", "Blackburn"), ("B-PER", "I-PER"))


def corpus(root, **changes):
    return TaggedFiles(**{**DEFAULTS, **changes}, root=str(root))


def read(root, split="train", **changes):
    return [tuple(sentence) for sentence in corpus(root, **changes).tagged(split)]


@pytest.mark.parametrize("end", ["", "\n"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_columns_of_conll_are_sentences(end, line_end, tmp_path):
    (tmp_path / "a.txt").write_bytes((CONLL + end).replace("\n", line_end).encode())
    files = corpus(tmp_path)

    assert [tuple(sentence) for sentence in files.tagged("train")] == [EU, PETER]
    assert files.counts == {"-DOCSTART- line": 1}
    assert (files.splits, files.joins_words) == (("train",), False)


def test_a_gz_and_a_zip_of_one_file_are_read_likewise(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("folder/", "")
        archive.writestr("folder/a.txt", CONLL)
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(CONLL.encode()))

    assert read(tmp_path, train="a.zip") == read(tmp_path, train="b.txt") == [EU, PETER]


def test_a_zip_of_two_files_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.txt", CONLL)
        archive.writestr("b.txt", CONLL)

    with pytest.raises(ValueError, match=r"a\.zip holds 2 files \(a\.txt, b\.txt\): .* unpack it"):
        read(tmp_path)


def test_a_file_that_is_no_zip_is_refused(tmp_path):
    (tmp_path / "a.zip").write_text(CONLL)

    with pytest.raises(ValueError, match=r"a\.zip is no whole \.zip file"):
        read(tmp_path)


def test_columns_between_tabs_may_hold_spaces(tmp_path):
    (tmp_path / "a.tsv").write_text("New York\tB-LOC\n\u3000\tO\n")

    assert read(tmp_path) == [(("New York", "\u3000"), ("B-LOC", "O"))]


def test_a_docstart_line_ends_a_sentence(tmp_path):
    (tmp_path / "a.txt").write_text("a O\n-DOCSTART- O\nb O\n")

    assert [words for words, _ in read(tmp_path)] == [("a",), ("b",)]


def test_empty_sentences_are_counted(tmp_path):
    (tmp_path / "a.txt").write_text("\na O\n\n\n \t\nb O\n")
    files = corpus(tmp_path)

    assert [sentence.words for sentence in files.tagged("train")] == [("a",), ("b",)]
    assert files.counts == {"empty sentence": 3}


@pytest.mark.parametrize("suffix", [".jsonl", ".json"])
def test_records_hold_lists_of_words_and_tags(suffix, tmp_path):
    records = [{"tokens": list(words), "ner_tags": list(tags)} for words, tags in (EU, PETER)]
    records.append({"tokens": [], "ner_tags": []})
    text = json.dumps(records) if suffix == ".json" else "\n".join(map(json.dumps, records))
    (tmp_path / f"a{suffix}").write_text(text)
    files = corpus(tmp_path)

    assert [tuple(sentence) for sentence in files.tagged("train")] == [EU, PETER]
    assert files.counts == {"empty sentence": 1}


def test_words_that_are_joined_may_be_one_string(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"tokens": "北京", "ner_tags": ["B-LOC", "I-LOC"]}')

    assert read(tmp_path, joins_words=True) == [(("北", "京"), ("B-LOC", "I-LOC"))]
    with pytest.raises(ValueError, match=r"line 1: 'tokens' is str, not a list: write"):
        read(tmp_path)


def test_a_scheme_of_each_split_and_other_names_of_types(tmp_path):
    (tmp_path / "a.txt").write_text("a I-NR\nb I-NR\n")
    (tmp_path / "b.txt").write_text("a B-NR\nb E-NR\n")
    changes = {
        "train": "a.txt",
        "test": "b.txt",
        "scheme": {"train": "iob1", "test": "bmes"},
        "types": {"NR": "PER"},
    }

    expected = [(("a", "b"), ("B-PER", "I-PER"))]
    assert read(tmp_path, "train", **changes) == read(tmp_path, "test", **changes) == expected
    with pytest.raises(ValueError, match=r"data\.scheme has train, but not test"):
        corpus(tmp_path, **changes | {"scheme": {"train": "iob1"}})


def test_a_tag_that_the_scheme_forbids_is_an_error_or_repaired(tmp_path):
    (tmp_path / "a.txt").write_text("a O\n\nb I-PER\nc I-PER\n")
    message = (
        r"a\.txt, line 3: scheme bio forbids the tag I-PER of 'b' here: nothing of type PER stands "
        r"before it; write data\.scheme=iob1 if .*, or data\.on_bad_tag=repair, which reads it as "
        r"B-PER"
    )

    with pytest.raises(ValueError, match=message):
        read(tmp_path)
    files = corpus(tmp_path, on_bad_tag="repair")
    assert [sentence.tags for sentence in files.tagged("train")] == [("O",), ("B-PER", "I-PER")]
    assert files.counts == {"repaired tag": 1}


def test_sentences_seen_in_val_and_test_are_dropped_from_training_and_counted(tmp_path):
    (tmp_path / "a.txt").write_text("a O\n\nb O\n\na B-X\n\n\nc O\n")
    (tmp_path / "b.txt").write_text("a O\n")
    (tmp_path / "c.txt").write_text("c O\n\nd O\n")
    named = {"train": "a.txt", "val": "b.txt", "test": "c.txt"}
    files = corpus(tmp_path, **named, drop_seen=True)

    assert [sentence.words for sentence in files.tagged("train")] == [("b",)]
    assert files.counts == {"also in another split": 3, "empty sentence": 1}
    assert [sentence.words for sentence in files.tagged("test")] == [("c",), ("d",)]
    assert not files.counts
    assert len(read(tmp_path, **named)) == 4
    assert files.fingerprint() != corpus(tmp_path, **named).fingerprint()


def test_equal_sentences_fall_into_the_same_split(tmp_path):
    lines = [f"w{number % 50} {'O' if number < 50 else 'B-X'}\n" for number in range(100)]
    (tmp_path / "a.txt").write_text("\n".join(lines))
    cut = {"val_fraction": 0.2, "test_fraction": 0.2}

    parts = [read(tmp_path, split, **cut) for split in ("train", "val", "test")]
    words = [{words for words, _ in part} for part in parts]

    assert sum(map(len, parts)) == 100
    assert not words[0] & words[1] | words[0] & words[2] | words[1] & words[2]
    assert all(words)


def test_what_is_not_utf8_drops_the_sentence_or_is_replaced(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"a\xff O\nb O\n\nc O\n")

    with pytest.raises(ValueError, match=r"a\.txt is not UTF-8: byte 0xFF"):
        read(tmp_path)
    files = corpus(tmp_path, on_invalid="drop")
    assert [sentence.words for sentence in files.tagged("train")] == [("c",)]
    assert files.counts == {"invalid UTF-8": 1}
    files = corpus(tmp_path, on_invalid="replace")
    assert [sentence.words for sentence in files.tagged("train")] == [("a\ufffd", "b"), ("c",)]
    assert files.counts == {"replaced invalid UTF-8": 1}


@pytest.mark.parametrize(
    ("data", "changes", "message"),
    [
        ("a X O\nb O\n", {}, r"a\.txt, line 2 has 2 columns, but the first line has 3 \('b O'\)"),
        (
            "a\nb\n",
            {},
            r"line 1 has 1 column, which gives no word and tag with data\.word_column=0",
        ),
        ("a O\n", {"tag_column": 3}, r"line 1 has 2 columns, which gives no .*tag_column=3"),
        ("a O\n", {"word_column": 1}, r"line 1 has 2 columns, which gives no .*word_column=1"),
        ("a O\n", {"word_column": -3}, r"line 1 has 2 columns, which gives no .*word_column=-3"),
        ("a\tO\n\tO\n", {}, r"line 2 has a tag, O, but no word: delete the line"),
        ("a PER\n", {}, r"line 1: 'PER' is no tag of scheme bio: write O, B-TYPE, I-TYPE"),
        ("\n", {"train": []}, r"data\.train=\[\] names no file"),
        ("", {}, r"a\.txt has no sentences: name files with text in them"),
        ("a O\n", {"train": "b.txt"}, r"b\.txt"),
    ],
)
def test_columns_that_are_wrong_are_named(data, changes, message, tmp_path):
    (tmp_path / "a.txt").write_text(data)

    with pytest.raises((ValueError, FileNotFoundError), match=message):
        read(tmp_path, **changes)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"tokens": ["a"], "ner_tags": []}, "line 1 has 1 words in 'tokens' and 0 tags in 'ner_t"),
        ({"tokens": ["a"], "ner_tags": [3]}, "line 1, word 1 has the tag 3, .* names of tags"),
        ({"tokens": ["a", 1], "ner_tags": ["O", "O"]}, "line 1, word 2 is int, not text"),
        ({"tokens": ["a"]}, r"line 1 has no 'ner_tags' but tokens: .* data\.tags_field"),
        ({"tokens": ["a"], "ner_tags": ["I-X"]}, "line 1, word 1: scheme bio forbids the tag I-X"),
        ({"tokens": "a", "ner_tags": ["O"]}, r"'tokens' is str, not a list: .*data\.words_field"),
        ([1], "line 1 is list, not an object"),
    ],
)
def test_records_that_are_wrong_are_named(record, message, tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps(record))

    with pytest.raises(ValueError, match=message):
        read(tmp_path)


def test_the_fingerprint_tells_what_decides_the_sentences(tmp_path):
    (tmp_path / "a.txt").write_text("a O\n")
    changes = [
        {},
        {"word_column": 1, "tag_column": 0},
        {"scheme": "bioes"},
        {"on_bad_tag": "repair"},
        {"types": {"X": "Y"}},
        {"joins_words": True},
        {"drop_seen": True},
        {"val_fraction": 0.1},
    ]

    assert len({corpus(tmp_path, **own).fingerprint() for own in changes}) == len(changes)
