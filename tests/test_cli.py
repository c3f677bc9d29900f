"""The commands as a user types them: help without torch, `models`, `plan`, mistakes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lmexp.__main__ import COMMANDS, main
from lmexp.errors import run_command


def test_models_prints_the_matrix(capsys):
    assert main(["models"]) == 0

    out = capsys.readouterr().out
    assert "causal_lm" in out
    assert all(name in out for name in ("gru", "lstm", "rnn", "transformer", "decoder"))


def test_plan_says_what_a_run_would_do(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text("0123456789\n" * 100)  # 1100 bytes: 990 + 55 + 55
    sizes = ["model=gru", "model.d_model=8", "model.num_layers=1", "model.tied=true"]
    data = ["data=text", "data.files=a.txt", "tokenizer=byte", "data.max_length=10"]
    more = ["data.batch_size=3", "trainer.max_steps=66", "schedule=constant"]

    assert main(["plan", *sizes, *data, *more]) == 0

    out = " ".join(capsys.readouterr().out.split())
    parameters = 263 * 8 + 3 * (8 * 8 + 8 * 8 + 8 + 8)  # embedding; W, U and two biases a gate
    assert f"parameters {parameters:,}, {parameters - 263 * 8:,} of them" in out
    assert "3 rows of 10 tokens, 30 in all" in out
    assert "66: 2.00 epochs of 33 steps, 1,980 tokens" in out
    assert "learning rate by step" in out
    assert list(tmp_path.iterdir()) == [tmp_path / "a.txt"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_without_torch(command):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "lmexp", command, "--help"],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )

    assert done.returncode == 0, done.stderr
    assert "usage: lmexp" in done.stdout
    assert not re.search(r"\| +torch$", done.stderr, re.MULTILINE)  # indented by who imports it


def test_an_unknown_command_names_the_nearest(capsys):
    assert main(["generat"]) == 2

    assert "did you mean 'generate'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["evaluate"], "the following arguments are required: run"),
        (["evaluate", "a", "b"], "unrecognized arguments: b"),
        (["generate", "a", "--top-p", "x"], "argument --top-p: invalid float value: 'x'"),
        (["train", "--bogus"], "unrecognized arguments: --bogus"),
    ],
)
def test_a_mistake_in_the_arguments_is_one_line_too(typed, told, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(typed)

    error = capsys.readouterr().err
    assert error.startswith(f"lmexp: {told}: ")
    assert error.endswith("--help says what there is\n")
    assert error.count("\n") == 1


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "note.txt").write_text("no folder")
    monkeypatch.setenv("LMEXP_CACHE", str(tmp_path / "note.txt"))

    assert main(["train", "logger=none"]) == 2

    assert "the cache cannot be written (Not a directory): set LMEXP_CACHE" in (
        capsys.readouterr().err
    )


def test_a_defect_keeps_its_traceback():
    with pytest.raises(ValueError, match="invalid literal"):
        run_command(lambda: int("x"))


def test_an_error_of_the_system_names_the_file(capsys, tmp_path):
    status = run_command(lambda: len((tmp_path / "none").read_bytes()))

    assert status == 2
    assert capsys.readouterr().err == f"lmexp: {tmp_path / 'none'}: No such file or directory\n"


def test_a_reader_that_has_seen_enough_ends_a_command_without_a_word():
    program = (
        "import sys\nfrom lmexp.errors import run_command\n"
        "sys.exit(run_command(lambda: print('a line\\n' * 100_000) or 0))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()

    error = process.stderr.read()
    process.stderr.close()

    assert (process.wait(), error) == (141, b"")  # 128 + SIGPIPE


def test_a_closed_standard_output_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout", None)

    assert main(["models"]) == 2

    assert "standard output is closed" in capsys.readouterr().err
