import json
import math

import pytest
from bigram import write_checkpoint

from lmexp import checkpoint
from lmexp.__main__ import main
from lmexp.build import build_task, vocab_of
from lmexp.tokenizers import Bytes

GAP = 2.0
V = 7 + 256
MISS = math.log(math.exp(GAP) + V - 1)  # nats for a token that is not the successor
HIT = MISS - GAP


LAYERS = {"d_model": 16, "num_layers": 2, "dropout": 0.5, "tied": True, "shares_embeddings": True}
ATTENTION = {"num_heads": 2, "num_kv_heads": 1, "d_ff": 32, "activation": "swiglu", "norm": "rms"}
KINDS = {"norm_first": True, "positions": "rotary", "max_length": None, "bias": False}
ARCHITECTURES = {
    cell: {
        "_target_": "lmexp.networks.recurrent.Recurrent",
        "cell": cell,
        "variational": False,
        "attention": "dot",
        **LAYERS,
    }
    for cell in ("rnn", "lstm", "gru")
} | {
    "transformer": {
        "_target_": "lmexp.networks.transformer.Transformer",
        **LAYERS,
        **ATTENTION,
        **KINDS,
    }
}


def rewrite(run, recipe, **more):
    """The checkpoint of a run with another recipe."""
    path = run / "checkpoints" / "best.ckpt"
    checkpoint.save({**checkpoint.read(path), "recipe": recipe, **more}, path)


@pytest.fixture
def evaluate(tmp_path, capsys):
    """Runs the command; gives its exit status, the JSON and what it wrote."""

    def command(*arguments, text="abcdef\n", **options):
        run = tmp_path / "run"
        if not run.exists():
            write_checkpoint(tmp_path, text, GAP, **options)
        out = tmp_path / "out.json"
        call = ["evaluate", str(run), "--allow-targets", "bigram", "--json", str(out), *arguments]
        status = main(call)
        figures = json.loads(out.read_text()) if out.exists() else {}
        return status, figures, capsys.readouterr()

    return command


def test_the_figures_of_a_known_network_are_those_of_arithmetic(evaluate):
    # bos a: miss; a b, b c, c d, d e, e f: hits; f \n, \n eos: misses
    status, figures, captured = evaluate()

    nll = 5 * HIT + 3 * MISS
    assert status == 0
    assert figures["test/tokens"] == 8
    assert figures["test/loss"] == pytest.approx(nll / 8, rel=1e-6)
    assert figures["test/perplexity"] == pytest.approx(math.exp(nll / 8), rel=1e-6)
    assert figures["test/accuracy"] == 5 / 8
    assert figures["test/bytes"] == 7
    assert figures["test/bits_per_byte"] == pytest.approx(nll / math.log(2) / 7, rel=1e-6)
    assert "test/perplexity" in captured.out


def test_the_signature_says_all_that_a_figure_depends_on(evaluate):
    _, figures, _ = evaluate("--context", "8", "--stride", "4")

    signature = figures["signature"]
    assert signature["step"] == 7
    assert signature["split"] == "test"
    assert (signature["eval.context"], signature["eval.stride"]) == (8, 4)
    assert signature["eval.carry"] is False
    assert len(signature["data_hash"]) == len(signature["tokenizer_hash"]) == 64


@pytest.mark.parametrize(
    "windows",
    [("--context", "3"), ("--context", "3", "--stride", "1"), ("--batch-size", "1")],
)
def test_each_token_is_scored_once_in_any_windows(evaluate, windows):
    _, figures, _ = evaluate(*windows)  # a bigram sees one token back, so no window changes it

    assert figures["test/tokens"] == 8
    assert figures["test/loss"] == pytest.approx((5 * HIT + 3 * MISS) / 8, rel=1e-6)


def test_another_split_is_scored_by_name(evaluate):
    _, figures, _ = evaluate("--split", "val")  # abc\n: a miss, two hits, \n and eos missed

    assert figures["val/loss"] == pytest.approx((2 * HIT + 3 * MISS) / 5, rel=1e-6)


def test_a_file_is_scored_like_the_split_that_holds_the_same_text(evaluate, tmp_path):
    file = tmp_path / "a [mine].txt"
    file.write_text("abcdef\n")

    _, of_file, _ = evaluate("--file", str(file))
    _, of_split, _ = evaluate()

    assert of_file["file/loss"] == of_split["test/loss"]
    assert of_file["file/bits_per_byte"] == of_split["test/bits_per_byte"]
    assert of_file["signature"]["split"] == str(file)


def test_a_file_is_cut_into_documents_as_the_training_text_was(evaluate, tmp_path):
    file = tmp_path / "mine.txt"
    file.write_text("ab\nab\n")

    _, figures, _ = evaluate("--file", str(file), document="line")

    assert figures["file/tokens"] == 8  # of each line: a, b, \n, eos


def test_a_continuous_text_has_no_end_that_is_scored(evaluate, tmp_path):
    file = tmp_path / "mine.txt"
    file.write_text("ab\nab\n")

    _, figures, _ = evaluate("--file", str(file), document="split")

    assert figures["file/tokens"] == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--file", "missing.txt"), "--file missing.txt: no such file"),
        (("--context", "4", "--stride", "5"), "eval.stride=5 is more than eval.context=4"),
        (("--context", "0"), "--context 0: at least 1"),
        (("--carry",), "eval.carry=true"),
        (("--device", "tpu"), "--device tpu: torch"),
    ],
)
def test_a_mistake_is_one_line_on_stderr(evaluate, arguments, message):
    status, figures, captured = evaluate(*arguments)

    assert (status, figures) == (2, {})
    assert message in captured.err
    assert "Traceback" not in captured.err


def test_an_empty_file_is_refused(evaluate, tmp_path):
    file = tmp_path / "empty.txt"
    file.touch()

    status, _, captured = evaluate("--file", str(file))

    assert status == 2
    assert "is empty" in captured.err


def test_a_json_file_in_a_folder_that_is_not_there_is_refused_first(evaluate):
    status, _, captured = evaluate("--json", "nowhere/out.json")

    assert status == 2
    assert "there is no folder nowhere" in captured.err


@pytest.fixture
def without_test_split(tmp_path):
    run, recipe = write_checkpoint(tmp_path, "abcdef\n", GAP)
    recipe["data"]["corpus"]["test_files"] = None
    rewrite(run, recipe)


@pytest.mark.usefixtures("without_test_split")
def test_without_a_test_split_the_validation_split_is_scored_and_named(evaluate):
    status, figures, captured = evaluate()

    assert status == 0
    assert figures["signature"]["split"] == "val"
    assert figures["val/loss"] == pytest.approx((2 * HIT + 3 * MISS) / 5, rel=1e-6)
    assert "no test split: this is its validation split" in captured.err


@pytest.mark.usefixtures("without_test_split")
def test_a_split_that_is_missing_is_refused_with_those_that_are_there(evaluate):
    status, figures, captured = evaluate("--split", "test")

    assert (status, figures) == (2, {})
    assert "--split test: the data of this run has: train, val;" in captured.err


@pytest.mark.parametrize("model", ARCHITECTURES)
def test_the_batch_size_changes_no_figure_of_any_architecture(evaluate, tmp_path, model):
    text = "".join(f"a line of its own, number {n * n}\n" for n in range(1, 12))
    run, recipe = write_checkpoint(tmp_path, text, document="line")
    recipe["model"] = ARCHITECTURES[model]
    task = build_task(recipe, vocab_of(Bytes(extra=[])), None)
    rewrite(run, recipe, state_dict=task.state_dict())

    losses = [evaluate("--batch-size", str(size))[1]["test/loss"] for size in (1, 3, 32)]

    assert losses == pytest.approx([losses[0]] * 3, abs=1e-6)
    assert losses[0] > 1
