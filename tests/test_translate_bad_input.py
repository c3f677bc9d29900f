"""Whatever is translated, every line that comes in gives one that goes out."""

import io
import json
import shutil
from types import SimpleNamespace

import pytest

from lmexp.__main__ import main

TARGET = "a\nb"  # two lines: what is put out must not be
TEXT = b"a b"  # as it is put out
LONGEST = 15  # tokens of a source, here bytes

ODD = {  # what comes in, and what goes out: None is a line of any text
    "nothing": (b"", []),
    "the end of a line": (b"\n", [b""]),
    "one line without its end": (b"7", [TEXT]),
    "a last line without its end": (b"7\n8", [TEXT, TEXT]),
    "an empty line at the end": (b"7\n\n", [TEXT, b""]),
    "lines of white space": (b"\n \n\t\n\xe3\x80\x80\n\r\n7\n", [b"", b"", b"", b"", b"", TEXT]),
    "CRLF": (b"7\r\n8\r\n", [TEXT, TEXT]),
    "NUL bytes": (b"\0\n7\0\n\0\0", [None, None, None]),
    "a byte order mark": (b"\xef\xbb\xbf7\n8\n", [None, TEXT]),
    "separators that end no line": ("1\u2028\x85\x0b\x0c\x1e\r2\n8\n".encode(), [None, TEXT]),
    "invalid UTF-8": (b"\xff\n7\xff\n8\n\xc3", [None, None, TEXT, None]),
    "an encoded surrogate": (b"\xed\xa0\x80\n8\n", [None, TEXT]),
    "a line of a megabyte": (b"x" * (1 << 20) + b"\n8\n", [None, TEXT]),
}
TOLD = {
    "invalid UTF-8": "3 lines are not UTF-8 throughout: U+FFFD stands for what could not be read",
    "an encoded surrogate": "1 lines are not UTF-8 throughout",
    "a line of a megabyte": f"1 lines are longer than {LONGEST} tokens: their first {LONGEST} are",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A model that has learnt one target of two lines, for every source."""
    folder = tmp_path_factory.mktemp("odd")
    records = [{"source": str(number), "target": TARGET} for number in range(40)]
    (folder / "a.jsonl").write_text("\n".join(map(json.dumps, records)))
    small = ["model=gru", "model.d_model=32", "model.num_layers=1", "model.dropout=0.0"]
    data = ["data=parallel", f"data.train={folder}/a.jsonl", "data.fields=[source,target]"]
    sizes = [f"data.max_length={LONGEST + 1}", "data.batch_tokens=512", "tokenizer=byte"]
    splits = ["data.val_fraction=0.1", "data.test_fraction=0.1"]
    brief = ["trainer=debug", "trainer.max_steps=100", "logger=none"]
    fast = ["optimizer.lr=0.02", "schedule=constant", "trainer.checkpoint_every_steps=100"]
    search = ["eval.sample_pairs=0", "eval.beam_size=2", "eval.metrics=[bleu]"]
    typed = [*small, *data, *sizes, *splits, *brief, *fast, *search]
    assert main(["train", *typed, f"hydra.run.dir={folder / 'run'}"]) == 0
    return folder / "run"


@pytest.mark.parametrize("name", ODD)
def test_every_line_in_gives_one_line_out(name, run, monkeypatch, capfdbinary):
    data, expected = ODD[name]
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(data)))

    assert main(["translate", str(run)]) == 0

    out, err = capfdbinary.readouterr()
    found = out.decode().split("\n")
    assert found.pop() == ""
    assert len(found) == len(expected)
    for line, wanted in zip(found, expected, strict=True):
        assert wanted is None or line == wanted.decode()
    told = err.decode().splitlines()
    assert told.pop().startswith(f"{len(expected)} lines in ")
    assert len(told) == (name in TOLD)
    assert TOLD.get(name, "") in "".join(told)


def test_a_run_with_damaged_checkpoints_is_refused_in_one_line(run, tmp_path, monkeypatch, capsys):
    shutil.copytree(run, tmp_path / "run")
    for file in (tmp_path / "run" / "checkpoints").iterdir():
        file.write_bytes(file.read_bytes()[:100])
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"7\n")))

    assert main(["translate", str(tmp_path / "run")]) == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("lmexp: ")
    assert err.count("\n") == 1
    assert ".ckpt" in err
