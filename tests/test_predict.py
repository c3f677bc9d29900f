import io
import json

import pytest
from bigram import write_checkpoint

from lmexp import checkpoint, predict
from lmexp.__main__ import main
from lmexp.build import build_task, vocab_of
from lmexp.tokenizers import Bytes


@pytest.fixture
def run(tmp_path):
    """After each byte comes the next: a, b, c, …"""
    return write_checkpoint(tmp_path, "abc\n")[0]


@pytest.fixture
def generate(run, capsys, monkeypatch):
    """Runs the command; gives its exit status and what it wrote."""

    def command(*arguments, stdin=""):
        given = stdin if isinstance(stdin, bytes) else stdin.encode()
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given), encoding="utf-8"))
        status = main(["generate", str(run), "--allow-targets", "bigram", *arguments])
        return (status, *capsys.readouterr())

    return command


def test_the_prompt_is_followed_by_its_continuation(generate):
    status, out, err = generate("--prompt", "abc", "--greedy", "--max-new-tokens", "4")

    assert (status, out) == (0, "abcdefg\n")
    assert "4 tokens in" in err


def test_prompts_come_from_options_a_file_or_standard_input_alike(generate, tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("ab\nij\n")
    knobs = ("--greedy", "--max-new-tokens", "2")

    by_option = generate("--prompt", "ab", "--prompt", "ij", *knobs)[1]

    assert by_option == "--- 1 of 2 ---\nabcd\n--- 2 of 2 ---\nijkl\n"
    assert generate("--prompts-file", str(file), *knobs)[1] == by_option
    assert generate(*knobs, stdin="ab\nij\n")[1] == by_option


def test_text_is_written_as_its_tokens_come(generate, monkeypatch):
    pieces = []
    monkeypatch.setattr(predict._Terminal, "_write", lambda self, text, **_: pieces.append(text))

    generate("--prompt", "x", "--greedy", "--max-new-tokens", "3")

    assert pieces == ["x", "y", "z", "{", "\n"]


def test_an_empty_prompt_starts_from_nothing(generate):
    status, out, _ = generate("--prompt", "", "--max-new-tokens", "3", "--json", "--seed", "5")

    row = json.loads(out)
    assert status == 0
    assert (row["prompt"], row["seed"], row["ended_by"]) == ("", 5, "eos")
    assert row["ids"] == []  # bos is followed by eos


def test_json_lines_hold_text_ids_and_what_ended_each_row(generate):
    knobs = ("--greedy", "--max-new-tokens", "5", "--stop", "fg")
    _, out, _ = generate("--prompt", "abc", "--prompt", "hi", "--json", *knobs)

    first, second = map(json.loads, out.splitlines())
    assert (first["text"], first["ended_by"], first["row"]) == ("de", "stop", 0)
    assert first["ids"] == [7 + ord(letter) for letter in "defg"]
    assert (second["text"], second["ended_by"], second["row"]) == ("jklmn", "max_new_tokens", 1)


def test_samples_differ_and_a_seed_repeats_them_whatever_the_batch_size(tmp_path, capsys):
    run, _ = write_checkpoint(tmp_path, "abc\n", gap=2.0)
    command = ["generate", str(run), "--allow-targets", "bigram", "--prompt", "abc", "--json"]
    command += ["--num-samples", "5", "--max-new-tokens", "8", "--temperature", "1", "--top-p", "1"]

    def rows(*more):
        assert main([*command, *more]) == 0
        return [json.loads(line)["ids"] for line in capsys.readouterr().out.splitlines()]

    first = rows("--batch-size", "2")
    assert rows("--batch-size", "5") == first
    assert rows("--no-cache") == first
    assert rows("--seed", "1") != first
    assert len({tuple(row) for row in first}) == 5


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true"])
def test_every_precision_generates(generate, precision):
    out = generate("--prompt", "a", "--greedy", "--max-new-tokens", "3", "--precision", precision)[
        1
    ]

    assert out == "abcd\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--top-p", "3"), "top_p=3.0"),
        (("--greedy", "--temperature", "0.5"), "--greedy and --temperature 0.5"),
        (("--max-new-tokens", "0"), "max_new_tokens=0"),
        (("--num-samples", "0"), "--num-samples 0: at least 1"),
        (("--prompts-file", "missing.txt"), "missing.txt: No such file"),
        (("--device", "tpu"), "--device tpu: torch"),
    ],
)
def test_a_mistake_is_one_line_on_stderr(generate, arguments, message):
    status, out, err = generate(*arguments)

    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_a_prompts_file_that_is_not_utf8_is_refused_with_the_offset(generate, tmp_path):
    file = tmp_path / "latin1.txt"
    file.write_bytes(b"caf\xe9\n")

    status, _, err = generate("--prompts-file", str(file))

    assert status == 2
    assert "latin1.txt is not UTF-8: byte 0xE9 at offset 3" in err


@pytest.mark.parametrize(
    ("arguments", "stdin", "source"),
    [
        ((), b"caf\xe9\n", "standard input"),
        (("--prompt", b"caf\xe9".decode("utf-8", "surrogateescape")), "", "--prompt"),
    ],
)
def test_a_prompt_that_is_not_utf8_is_refused_with_the_offset(generate, arguments, stdin, source):
    status, out, err = generate(*arguments, stdin=stdin)

    assert (status, out) == (2, "")
    assert f"{source} is not UTF-8: byte 0xE9 at offset 3" in err
    assert err.count("\n") == 1


@pytest.fixture
def eight_positions(run):
    """The run, with a transformer of 8 learned positions in it."""
    path = run / "checkpoints" / "best.ckpt"
    saved = checkpoint.read(path)
    saved["recipe"]["data"]["max_length"] = 8
    saved["recipe"]["model"] = {
        "_target_": "lmexp.networks.transformer.Transformer",
        "d_model": 16,
        "num_layers": 1,
        "num_heads": 2,
        "num_kv_heads": 2,
        "d_ff": 32,
        "activation": "gelu",
        "norm": "layer",
        "norm_first": True,
        "positions": "learned",
        "max_length": 8,
        "dropout": 0.0,
        "bias": False,
        "tied": True,
        "shares_embeddings": True,
    }
    task = build_task(saved["recipe"], vocab_of(Bytes(extra=[])), None)
    checkpoint.save({**saved, "state_dict": task.state_dict()}, path)


@pytest.mark.usefixtures("eight_positions")
def test_generation_goes_on_past_the_learned_positions(generate):
    knobs = ("--json", "--seed", "1", "--max-new-tokens", "40")

    status, out, err = generate("--prompt", "abc", *knobs)

    assert status == 0
    assert len(json.loads(out)["ids"]) == 40
    assert "positions" not in err
    assert generate("--prompt", "abc", *knobs, "--no-cache")[1] == out


@pytest.mark.usefixtures("eight_positions")
def test_a_prompt_beyond_the_learned_positions_is_cropped_and_that_is_said(generate):
    knobs = ("--json", "--greedy", "--max-new-tokens", "4")

    long = generate("--prompt", "0123456789abcdef", *knobs)
    kept = generate("--prompt", "xx89abcdef", *knobs)

    message = "the prompt has 17 tokens, and the network has learned 8 positions: it reads the "
    assert message + "newest 8" in long[2]
    assert json.loads(long[1])["ids"] == json.loads(kept[1])["ids"]


def test_control_characters_cannot_steer_a_terminal(generate, monkeypatch):
    terminal = predict._Terminal(1)
    terminal.is_terminal = True

    assert terminal._visible("a\x1b[2Jb\n") == "a␛[2Jb\n"
