"""Talking with a model of dialogues, as a user does."""

import io
import json
from types import SimpleNamespace

import pytest

from lmexp.__main__ import main
from lmexp.decoding.beam import Hypothesis
from lmexp.tokenizers import EOS_ID

TINY = ["model.d_model=16", "model.num_layers=1", "trainer=debug", "trainer.max_steps=2"]
BRIEF = ["tokenizer=byte", "data.batch_tokens=256", "logger=none", "eval.max_extra=4"]
TURNS = [["Hello.", "Hi, you.", "How are you?"], ["Who is it?", "It is me.", "I see.", "Bye."]]
ROOM = 40  # data.max_length
FIRST = 8  # id of byte 0, after the seven and a tag


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of dialogues with a history of three turns, and with a tag."""
    folder = tmp_path_factory.mktemp("chat")
    file = folder / "dialogs.jsonl"
    records = [{"dialogue": [f"{turn}{n}" for turn in turns]} for n in range(40) for turns in TURNS]
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    data = ["data=dialogues", f"data.files={file}", f"data.max_length={ROOM}"]
    tags = ["data.languages=[en,en]", "data.language_tags=[en]"]
    out = folder / "run"
    options = ["model=gru", *TINY, *BRIEF, *data, *tags, f"hydra.run.dir={out}"]
    assert main(["train", *options]) == 0
    return out


@pytest.fixture
def pipe(monkeypatch):
    def pipe(data):
        stdin = SimpleNamespace(buffer=io.BytesIO(data), isatty=lambda: False)
        monkeypatch.setattr("sys.stdin", stdin)

    return pipe


@pytest.fixture
def sources(monkeypatch):
    """What the network is asked, as text; it answers A0, A1, …"""
    seen = []

    def translate(network, sources, beam, *, batch_tokens):
        ((tag, *ids, end),) = sources
        assert (tag, end) == (FIRST - 1, EOS_ID)
        assert len(sources[0]) <= ROOM
        answer = f"A{len(seen)}"
        seen.append(bytes(own - FIRST for own in ids).decode())
        return [[Hypothesis([FIRST + byte for byte in answer.encode()], 0.0, 0.0)]]

    monkeypatch.setattr("lmexp.decoding.translate.translate", translate)
    return seen


def test_every_line_gets_a_line_and_no_prompt(run, pipe, capsys):
    pipe(b"Hello.\n\n/reset\n\xff\r\nHow are you?")

    assert main(["chat", str(run)]) == 0

    out = capsys.readouterr().out
    assert out.count("\n") == 5
    assert out.split("\n")[1:3] == ["", ""]
    assert "> " not in out


def test_no_line_gets_none(run, pipe, capsys):
    pipe(b"")
    assert main(["chat", str(run)]) == 0
    assert capsys.readouterr().out == ""


def test_an_answer_is_to_the_newest_turns(run, pipe, sources, capsys):
    pipe(b"a\nb\nc\n/reset\nd\n/quit\ne\n")

    assert main(["chat", str(run)]) == 0

    assert sources == ["a", "a\nA0\nb", "b\nA1\nc", "d"]
    assert capsys.readouterr().out == "A0\nA1\nA2\n\nA3\n"


@pytest.mark.parametrize(
    ("history", "last"), [("1", "c"), ("2", "A1\nc"), ("9", "a\nA0\nb\nA1\nc")]
)
def test_history_is_as_many_turns_as_are_asked_for(run, pipe, sources, history, last):
    pipe(b"a\nb\nc\n")
    assert main(["chat", str(run), "--history", history]) == 0
    assert sources[-1] == last


def test_the_oldest_turns_are_left_out_then_the_newest_is_cut(run, pipe, sources, capsys):
    pipe(b"a" * 20 + b"\n" + b"b" * 20 + b"\n" + b"c" * 50 + b"\nd\n")

    assert main(["chat", str(run)]) == 0

    # 40 tokens: the tag, 38 bytes, the end
    assert sources == ["a" * 20, "A0\n" + "b" * 20, "c" * 38, "A2\nd"]
    err = capsys.readouterr().err
    assert err.count("more than 39 tokens of turns: the oldest are left out") == 1
    assert "a turn of more than 39 tokens: its first are read" in err


def test_answers_that_are_drawn_depend_on_seed_and_number(run, pipe, capsys):
    def talk(*options):
        pipe(b"Hello.\n/reset\nHello.\n")
        assert main(["chat", str(run), "--temperature", "1.5", *options]) == 0
        first, _, second, _ = capsys.readouterr().out.split("\n")
        return first, second

    assert talk("--seed", "1") == talk("--seed", "1") != talk("--seed", "2")
    assert len(set(talk())) == 2


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_is_prompted_and_cannot_be_steered(run, monkeypatch, capsys):
    def translate(network, sources, beam, *, batch_tokens):
        steer = "a\x1b[31m\n\x9b2J\x7f"
        return [[Hypothesis([FIRST + byte for byte in steer.encode()], 0.0, 0.0)]]

    monkeypatch.setattr("lmexp.decoding.translate.translate", translate)
    monkeypatch.setattr("sys.stdin", Terminal("Hello.\n\n/reset\n"))
    out = Terminal()
    monkeypatch.setattr("sys.stdout", out)

    assert main(["chat", str(run)]) == 0

    assert out.getvalue() == "> a\u241b[31m \ufffd2J\ufffd\n> > > \n"


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["--history", "0"], "--history 0: at least 1"),
        (["--seed", "3"], "--seed 3: a search draws nothing; write --temperature 0.8 as well"),
        (["--beam", "2", "--top-p", "0.9"], "--beam 2 is of a search, and --temperature and"),
        (["--temperature", "-1"], "temperature=-1.0 must be a number from 0"),
        (["--beam", "0"], "--beam 0: at least 1"),
        (["--coverage-penalty", "-1"], "--coverage-penalty -1.0: a number from 0 up"),
    ],
)
def test_options_that_make_no_sense_are_refused(typed, told, run, capsys):
    assert main(["chat", str(run), *typed]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert told in error


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (
            ["data=reverse", "data.size=50", "eval.max_extra=4"],
            "was trained on lmexp.corpora.reverse.Reverse, not on turns of dialogues: put lines in "
            "with lmexp translate",
        ),
        (
            ["data=text", "data.files=text.txt", "data.batch_size=2", "data.max_length=16"],
            "is of a language model, which was trained on text, not on dialogues: continue a text "
            "with lmexp generate",
        ),
    ],
)
def test_runs_of_other_data_are_refused(data, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("some words\n" * 500)
    rest = ["model=gru", "tokenizer=byte", "logger=none", "hydra.run.dir=other"]
    assert main(["train", *TINY, *data, *rest]) == 0
    capsys.readouterr()

    assert main(["chat", "other"]) == 2

    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert told in error
