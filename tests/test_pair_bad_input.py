"""Odd pairs through the real command: one line with a remedy, or a run that counts what it did."""

import errno
import gzip
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from lmexp.recipe import main

NUMBER = 60
EN = b"".join(b"%d foxes\n" % number for number in range(NUMBER))
DE = b"".join(b"%d Fuchs\n" % number for number in range(NUMBER))
MEGABYTE = b"x" * (1 << 20)
LONG = b"a longer line than the model\n"
OWN = ["data.val=[b.en,b.de]", "data.test=[b.en,b.de]"]  # splits with files of their own
B = {"b.en": EN, "b.de": DE}
SOME_TOKENS = 24  # data.max_length, in bytes here
LEARNED = ["model=transformer", "model.num_heads=2", "model.positions=learned"]
LEARNED += [f"model.max_length={SOME_TOKENS + 50}"]  # outputs have eval.max_extra=50 more


def lines(data: bytes) -> list[bytes]:
    return data.splitlines(keepends=True)


def without(data: bytes, number: int) -> bytes:
    return b"".join(line for n, line in enumerate(lines(data)) if n != number)


def changed(data: bytes, number: int, line: bytes) -> bytes:
    return b"".join(line if n == number else own for n, own in enumerate(lines(data)))


COUNTS = ("a.en has 60 lines", "a.de has 59 lines", "line n of one belongs to line n", "get the")
REFUSED = {
    "a missing side": ({"a.en": EN}, [], ("a.de: there is no such file in", "did you mean")),
    "no side": ({}, ["data.train=[]"], ("data.train=[] names 0 of two files", "write")),
    "one side": ({"a.en": EN}, ["data.train=[a.en]"], ("names 1 of two files", "[SOURCE,TARGET]")),
    "a folder for a side": (
        {"a.en/1": EN, "a.en/2": EN, "a.de": DE},
        [],
        ("data.train: a.en means 2 files", "name one for each side"),
    ),
    "a line lost in the middle": ({"a.en": EN, "a.de": without(DE, 30)}, [], COUNTS),
    "a line lost at the end": ({"a.en": EN, "a.de": without(DE, NUMBER - 1)}, [], COUNTS),
    "a line broken in two": (
        {"a.en": changed(EN, 30, b"30\nfoxes\n"), "a.de": DE},
        [],
        ("a.en has 61 lines", "a.de has 60 lines", "lines end at \\n alone", "broken in two"),
    ),
    "a line more in a reference": (
        {"a.en": EN, "a.de": DE, **B, "c.de": DE + b"\n"},
        ["data.val=[b.en,b.de]", "data.test=[b.en,b.de,c.de]"],
        ("b.en has 60 lines", "b.de has 60 lines", "c.de has 61 lines"),
    ),
    "one side empty": (
        {"a.en": EN, "a.de": b""},
        [],
        ("a.en has 60 lines, ", "a.de has 0 lines"),
    ),
    "both sides empty": (
        {"a.en": b"", "a.de": b""},
        [],
        ("a.en, ", "a.de has no pairs: name files with text in them"),
    ),
    "a packed file cut short": (
        {"a.en": EN, "a.de.gz": gzip.compress(DE)[:-9]},
        [],
        ("a.de.gz is no whole .gz file", "copy or download it again"),
    ),
    "a packed file that is none": (
        {"a.en": EN, "a.de.gz": DE},
        [],
        ("a.de.gz is no whole .gz file", "copy or download it again"),
    ),
    "invalid UTF-8": (
        {"a.en": EN, "a.de": changed(DE, 2, b"2\xff\n")},
        [],
        ("a.de is not UTF-8: byte 0xFF at offset 17, in line 3; convert it", "on_invalid=drop or"),
    ),
    "one pair": (
        {"a.en": b"a\n", "a.de": b"b\n"},
        [],
        ("split of a.en, a.de has no pair (nothing was read): give it some",),
    ),
    "empty sides alone": (
        {"a.en": EN, "a.de": b" \n" * NUMBER, **B},
        OWN,
        ("the train split of ", " has no pair (dropped: 60 empty side): ", "data.cleaning"),
    ),
    "pairs too long alone": (
        {"a.en": EN, "a.de": LONG * NUMBER, **B},
        OWN,
        ("has no pair (dropped: 60 longer than 24 tokens): ", "look at", "data.max_length"),
    ),
    "invalid UTF-8 alone": (
        {"a.en": EN, "a.de": b"\xff\n" * NUMBER, **B},
        ["data.on_invalid=drop", *OWN],
        ("the train split of ", " has no pair (dropped: 60 invalid UTF-8): "),
    ),
    "more pieces than there are": (
        {"a.en": EN, "a.de": DE},
        ["tokenizer=bpe", "tokenizer.vocab_size=5000"],
        ("tokenizer.vocab_size=5000", "write"),
    ),
    "more pieces than one side has": (
        {"a.en": EN, "a.de": DE},
        ["tokenizer=bpe", "tokenizer.vocab_size=5000", "data.joint=false"],
        ("tokenizer.vocab_size=5000", "write"),
    ),
    "a column too few": (
        {"a.tsv": b"1\ta\n2  b\n"},
        ["data.train=a.tsv", "data.fields=[0,1]"],
        ("a.tsv, line 2 has 1 of the 2 columns", "put one tab between"),
    ),
    "a record that is no JSON": (
        {"a.jsonl": b'{"s": "1", "t": "a"}\n{"s": "2",\n'},
        ["data.train=a.jsonl", "data.fields=[s,t]"],
        ("a.jsonl, line 2 is no JSON", "write one record a line"),
    ),
    "a record without a side": (
        {"a.jsonl": b'{"s": "1", "t": "a"}\n{"s": "2"}\n'},
        ["data.train=a.jsonl", "data.fields=[s,t]"],
        ("a.jsonl, line 2 has no 't' but s: name the field in data.fields",),
    ),
}

READ = {  # what is dropped or changed, and pairs that stay
    "what is in order": ({"a.en": EN, "a.de": DE}, [], {}, NUMBER),
    "no end of the last line": ({"a.en": EN[:-1], "a.de": DE}, [], {}, NUMBER),
    "a byte order mark": ({"a.en": b"\xef\xbb\xbf" + EN, "a.de": DE}, [], {}, NUMBER),
    "a packed side": ({"a.en": EN, "a.de.gz": gzip.compress(DE)}, [], {}, NUMBER),
    "separators that end no line": (
        {"a.en": changed(EN, 1, "1\u2028\x85\x0b\x0c\x1e\r2\n".encode()), "a.de": DE},
        [],
        {},
        NUMBER,
    ),
    "CRLF on one side": (
        {"a.en": EN.replace(b"\n", b"\r\n"), "a.de": DE, **B},
        ["data.cleaning.strip_control=true", *OWN],
        {"control character": NUMBER},
        3 * NUMBER,
    ),
    "CRLF that is kept": ({"a.en": EN.replace(b"\n", b"\r\n"), "a.de": DE}, [], {}, NUMBER),
    "NUL bytes": (
        {"a.en": EN, "a.de": DE.replace(b"u", b"\0"), **B},
        ["data.cleaning.strip_control=true", *OWN],
        {"control character": NUMBER},
        3 * NUMBER,
    ),
    "NUL bytes that are kept": ({"a.en": EN, "a.de": DE.replace(b"u", b"\0")}, [], {}, NUMBER),
    "empty sides": (
        {"a.en": changed(EN, 3, b"\n"), "a.de": changed(DE, 5, b" \t\n"), **B},
        OWN,
        {"empty side": 2},
        3 * NUMBER - 2,
    ),
    "empty sides in an evaluation, which are scored as they stand": (
        {"a.en": EN, "a.de": DE, "b.en": changed(EN, 3, b"\n"), "b.de": changed(DE, 5, b"\n")},
        OWN,
        {},
        3 * NUMBER,
    ),
    "a line of a megabyte": (
        {"a.en": changed(EN, 3, MEGABYTE + b"\n"), "a.de": DE, **B},
        OWN,
        {"longer than 24 tokens": 1},
        3 * NUMBER - 1,
    ),
    "a line of a megabyte in an evaluation": (
        {"a.en": EN, "a.de": DE, "b.en": EN, "b.de": changed(DE, 3, MEGABYTE + b"\n")},
        OWN,
        {"cut at 24 tokens": 2},  # in val and in test
        3 * NUMBER,
    ),
    "a side too long for the rule": (
        {"a.en": changed(EN, 3, MEGABYTE + b"\n"), "a.de": DE, **B},
        ["data.cleaning.max_chars=1000", *OWN],
        {"longer than 1000 characters": 1},
        3 * NUMBER - 1,
    ),
    "sources longer than the model allows": (
        {"a.en": changed(EN, 3, LONG), "a.de": DE, "b.en": changed(EN, 7, LONG), "b.de": DE},
        [*LEARNED, *OWN],
        {"longer than 24 tokens": 1, "cut at 24 tokens": 2},
        3 * NUMBER - 1,
    ),
    "invalid UTF-8 that is replaced": (
        {"a.en": changed(EN, 3, b"\xff\xff\n"), "a.de": changed(DE, 3, b"\xff\n")},
        ["data.on_invalid=replace"],
        {"replaced invalid UTF-8": 1},  # pairs
        NUMBER,
    ),
    "invalid UTF-8 that is dropped": (
        {"a.en": changed(EN, 3, b"\xff\n"), "a.de": changed(DE, 5, b"\xff\n")},
        ["data.on_invalid=drop"],
        {"invalid UTF-8": 2},
        NUMBER - 2,
    ),
    "a target equal to its source": (
        {"a.en": EN, "a.de": changed(DE, 3, b"3 foxes\n")},
        [],
        {},
        NUMBER,
    ),
    "a target equal to its source that is dropped": (
        {"a.en": EN, "a.de": changed(DE, 3, b"3 foxes\n"), **B},
        ["data.cleaning.drop_identical=true", *OWN],
        {"identical sides": 1},
        3 * NUMBER - 1,
    ),
    "one pair to train on": ({"a.en": b"a\n", "a.de": b"b\n", **B}, OWN, {}, 1 + 2 * NUMBER),
    "one pair in every split": (
        {"a.en": b"a\n", "a.de": b"b\n", "b.en": b"c\n", "b.de": b"d"},
        OWN,
        {},
        3,
    ),
}


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs `train` on files in the current folder; gives the exit status."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LMEXP_CACHE", str(tmp_path / "cache"))

    def command(files: Mapping[str, bytes], typed: Sequence[str]) -> int:
        for name, content in files.items():
            Path(name).parent.mkdir(exist_ok=True)
            Path(name).write_bytes(content)
        small = ["model=gru", "model.d_model=8", "model.num_layers=1", "trainer=debug"]
        fixed = ["data=parallel", "data.train=[a.en,a.de]", f"data.max_length={SOME_TOKENS}"]
        brief = ["trainer.max_steps=2", "schedule.warmup_steps=0", "data.batch_tokens=64"]
        search = ["eval.sample_pairs=2", "eval.beam_size=2", "eval.metrics=[bleu]"]
        more = ["data.val_fraction=0.1", "data.test_fraction=0.1", "tokenizer=byte", "logger=none"]
        return main([*small, *fixed, *brief, *search, *more, "hydra.run.dir=run", *typed])

    return command


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_in_one_line_with_a_remedy(name, train, capsys):
    files, typed, expected = REFUSED[name]

    status = train(files, typed)

    error = capsys.readouterr().err
    assert status == 2
    assert error.startswith("lmexp: ")
    assert error.count("\n") == 1
    for part in expected:
        assert part in error


@pytest.mark.parametrize("name", READ)
def test_what_a_rule_changes_or_drops_is_counted_in_the_record(name, train, capsys):
    files, typed, expected, pairs = READ[name]

    status = train(files, typed)

    assert status == 0, capsys.readouterr().err
    data = json.loads(Path("run/environment.json").read_text())["data"]
    facts = [data[split] for split in ("train", "val", "test")]
    dropped: dict[str, int] = {}
    for split in facts:
        for reason, count in split["dropped"].items():
            dropped[reason] = dropped.get(reason, 0) + count
    assert {reason: count for reason, count in dropped.items() if count} == expected
    assert sum(split["pairs"] for split in facts) == pairs


def test_a_full_disk_is_one_line_with_the_remedy(train, capsys, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("lmexp.pair_store._Writer.add", full)

    assert train({"a.en": EN, "a.de": DE}, []) == 2

    error = capsys.readouterr().err
    assert error.startswith("lmexp: No space left on device while writing tokens to ")
    assert "LMEXP_CACHE" in error
    assert error.count("\n") == 1
