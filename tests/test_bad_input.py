"""Odd text through the real command: one line with a remedy, or a run that counts what it did."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from lmexp.recipe import main

LINE = b"the quick brown fox\n"
GOOD = LINE * 60
NUMBERED = b"".join(b"%d quick brown foxes\n" % number for number in range(100))

REFUSED = {
    "a missing file": (None, [], ("text.txt: there is no such file in", "did you mean", "ext.txt")),
    "no file": (None, ["data.files=[]"], ("data.files=[] names no file: write names",)),
    "a glob without a match": (GOOD, ["data.files=*.txx"], ("nothing under", "has such a name")),
    "a list a line": (
        b"[1]\n",
        ["data.files=text.json"],
        ('text.json, record 1 is int, not an object with fields: write {"text":',),
    ),
    "an empty file": (b"", [], ("text.txt is empty: name files with text in them",)),
    "blank lines alone": (
        b"\n \n" * 99,
        ["data.cleaning.drop_blank=true"],
        ("the train split of", "is empty (dropped: ", " blank", "give it text"),
    ),
    "invalid UTF-8": (
        LINE + "é".encode() + b"\xff\n" + GOOD,
        [],
        (
            "text.txt is not UTF-8: byte 0xFF at offset 22, in line 2;",
            "iconv",
            "on_invalid=drop or replace",
        ),
    ),
    "a text shorter than a block": (
        b"short\n",
        ["data.lanes=null"],
        ("tokens of training text are shorter than one block", "write data.max_length="),
    ),
    "a text shorter than a step": (
        LINE * 5,
        ["data.batch_size=64", "data.lanes=null"],
        ("blocks of max_length=8, fewer than the 64 of one step", "write data.batch_size="),
    ),
    "more characters than there are": (
        GOOD,
        ["tokenizer=char", "tokenizer.vocab_size=5000"],
        # 256 bytes, 15 letters, the space and the end of the line
        ("tokenizer.vocab_size=5000", "write tokenizer.vocab_size=273 or less"),
    ),
    "more pieces than there are": (
        GOOD,
        ["tokenizer=bpe", "tokenizer.vocab_size=5000"],
        ("tokenizer.vocab_size=5000", "write"),
    ),
    "more words than there are": (
        GOOD,
        ["tokenizer=word", "tokenizer.vocab_size=5000"],
        ("tokenizer.vocab_size=5000", "write"),
    ),
    "a list that is no JSON": (b'[{"text": "a"}', ["data.files=text.json"], ("is no JSON", "line")),
    "no share for validation": (
        GOOD,
        ["data.val_fraction=0.0"],
        ("data.corpus.val_fraction=0.05",),
    ),
}

READ = {
    "NUL bytes": (
        GOOD.replace(b"quick", b"qu\0ck"),
        [],
        {"control character": 60},
    ),
    "NUL bytes that are kept": (
        GOOD.replace(b"quick", b"qu\0ck"),
        ["data.cleaning.strip_control=false"],
        {},
    ),
    "CRLF": (GOOD.replace(b"\n", b"\r\n"), [], {"control character": 60}),
    "a line separator, which ends no line": (
        GOOD.replace(b"quick", "qu\u2028ck".encode()),
        [],
        {},
    ),
    "a line of a megabyte": (b"x" * (1 << 20) + b"\n" + GOOD, ["data.cut=tail"], {}),
    "a line too long for the rule": (
        b"x" * (1 << 20) + b"\n" + NUMBERED,
        ["data.cleaning.max_bytes=1000", "data.document=line", "data.cut=documents"],
        {"longer than 1000 bytes": 1},
    ),
    "invalid UTF-8 that is replaced": (
        b"\xff\n" * 3 + GOOD,
        ["data.on_invalid=replace"],
        {"replaced invalid UTF-8": 3},
    ),
    "invalid UTF-8 that is dropped": (
        b"\xff\n" * 3 + GOOD,
        ["data.on_invalid=drop"],
        {"invalid UTF-8": 3},
    ),
    "duplicates": (  # 48, 6 and 6 lines, all equal
        GOOD,
        ["data.cleaning.drop_duplicates=true", "data.max_length=4"],
        {"duplicate": 47 + 5 + 5},
    ),
}


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs `train` on a text in the current folder; gives the exit status."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LMEXP_CACHE", str(tmp_path / "cache"))

    def command(content: bytes | None, typed: Sequence[str]) -> int:
        name = "text.json" if "data.files=text.json" in typed else "text.txt"
        Path(name if content is not None else "texts.txt").write_bytes(content or b"")
        small = ["model=gru", "model.d_model=8", "model.num_layers=1", "trainer=debug"]
        fixed = ["data=text", f"data.files={name}", "data.max_length=8", "data.batch_size=4"]
        brief = ["trainer.max_steps=2", "task.sample_tokens=0", "schedule.warmup_steps=0"]
        more = ["data.val_fraction=0.1", "data.test_fraction=0.1", "tokenizer=byte", "logger=none"]
        return main([*small, *fixed, *brief, *more, "hydra.run.dir=run", *typed])

    return command


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_in_one_line_with_a_remedy(name, train, capsys):
    content, typed, expected = REFUSED[name]

    status = train(content, typed)

    error = capsys.readouterr().err
    assert status == 2
    assert error.startswith("lmexp: ")
    assert error.count("\n") == 1
    for part in expected:
        assert part in error


@pytest.mark.parametrize("name", READ)
def test_what_a_rule_changes_or_drops_is_counted_in_the_record(name, train, capsys):
    content, typed, expected = READ[name]

    status = train(content, typed)

    assert status == 0, capsys.readouterr().err
    facts = json.loads(Path("run/environment.json").read_text())["data"]
    dropped = {}
    for split in ("train", "val", "test"):
        for reason, count in facts[split]["dropped"].items():
            dropped[reason] = dropped.get(reason, 0) + count
    assert {reason: count for reason, count in dropped.items() if count} == expected
    assert facts["train"]["tokens"] > 0
