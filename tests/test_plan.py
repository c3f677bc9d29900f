"""What `plan` says of a run, against arithmetic by hand."""

from pathlib import Path

import pytest
import torch

from lmexp.__main__ import main
from lmexp.build import build_task
from lmexp.losses import CHUNK_LOGITS
from lmexp.memory import (
    ParameterCount,
    count_parameters,
    device_memory,
    loss_bytes,
    optimizer_bytes,
)
from lmexp.networks.interface import PairVocab, Vocab
from lmexp.optimizers import parameter_groups
from lmexp.recipe import compose
from lmexp.targets import build

VOCAB = Vocab(size=50, pad_id=0, bos_id=2, eos_id=3, mask_id=4)
GRU = ["model=gru", "model.d_model=8", "model.num_layers=1", "model.dropout=0.0"]
LAYER = 3 * (8 * 8 + 8 * 8 + 8 + 8)  # W, U and two biases for each of three gates


def network_of(overrides):
    return build_task(compose(overrides), VOCAB, None).network


@pytest.fixture
def plan(capsys, tmp_path, monkeypatch):
    """Runs the command on 1,100 bytes; gives what it printed, in one line."""
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text("0123456789\n" * 100)

    def command(*arguments):
        sizes = [*GRU, "model.tied=true", "data.max_length=10", "data.batch_size=3"]
        data = ["data=text", "data.files=a.txt", "schedule=constant"]
        assert main(["plan", *sizes, *data, *arguments]) == 0
        return " ".join(capsys.readouterr().out.split())

    return command


@pytest.mark.parametrize("tokenizer", ["char", "word"])
def test_an_unread_vocabulary_is_said_to_be_unknown_and_left_out_of_every_number(plan, tokenizer):
    out = plan(f"tokenizer={tokenizer}", "--no-data")

    assert "vocabulary known after reading the text" in out
    assert f"parameters {LAYER:,} without embedding and output layer" in out
    assert f"FLOPs per token {6 * 2 * 3 * 8 * 8:,} without the output layer" in out
    assert "memory per device" not in out


def test_a_vocabulary_that_was_asked_for_is_the_most_there_can_be(plan):
    out = plan("tokenizer=word", "tokenizer.vocab_size=40", "--no-data")

    assert "vocabulary 47 ids, at most" in out
    assert f"parameters {LAYER + 47 * 8:,}, {LAYER:,} of them outside" in out


def test_the_vocabulary_of_a_read_text_is_counted(plan):
    out = plan("tokenizer=char", "tokenizer.byte_fallback=false")

    assert "vocabulary 18 ids" in out  # seven reserved, ten digits and the end of a line


def test_the_time_is_that_of_the_arithmetic_at_half_the_peak_and_called_an_estimate(
    plan, monkeypatch
):
    flops = (6 * 2 * 3 * 8 * 8 + 6 * 263 * 8) * 30 * 66  # a token, in a step, of the run
    monkeypatch.setattr("lmexp.hardware.peak_flops", lambda _: flops / 50)

    out = plan("tokenizer=byte", "trainer.max_steps=66")

    assert "time 1:40 of training, a rough estimate: 50% of the" in out


def test_a_budget_of_minutes_ends_before_all_steps_are_done(plan, monkeypatch):
    monkeypatch.setattr("lmexp.hardware.peak_flops", lambda _: 1e9)

    out = plan("tokenizer=byte", "trainer.max_steps=1_000_000", "budget.minutes=3")

    assert "time 3:00 of training, by trainer.max_time or budget.minutes; all steps would" in out


def test_devices_share_a_step(plan):
    assert "3 rows of 10 tokens, in 3 micro-batches, 30 in all" in plan(
        "tokenizer=byte", "trainer.devices=3"
    )


@pytest.mark.parametrize(
    ("tied", "count"),
    [
        ("true", ParameterCount(LAYER + 50 * 8, 50 * 8, LAYER)),
        ("false", ParameterCount(LAYER + 2 * 50 * 8, 50 * 8, LAYER)),
    ],
)
def test_parameters_are_counted_once_and_by_where_they_stand(tied, count):
    assert count_parameters(network_of([*GRU, f"model.tied={tied}"])) == count


def test_memory_is_counted_in_the_bytes_of_each_part():
    recipe = compose([*GRU, "model.tied=true", "data.max_length=10", "task.ema_decay=0.9"])
    total = LAYER + 50 * 8

    memory = device_memory(recipe, VOCAB, 2, "32-true")

    assert memory[:4] == (4 * total, 4 * total, 8 * total, 4 * total)
    assert memory.total == sum(memory)


def test_devices_that_share_a_network_hold_a_part_each_and_what_they_gather():
    sizes = ["model.d_model=8", "model.num_heads=2", "model.num_kv_heads=2", "model.d_ff=16"]
    of_four = [*sizes, "model.num_layers=3", "data.max_length=10", "trainer=fsdp"]
    recipe = compose([*of_four, "trainer.devices=4", "task.ema_decay=0.9"])
    block = 4 * 8 * 8 + 3 * 8 * 16 + 2 * 8  # attention, feed-forward, two norms
    outside = 50 * 8 + 8  # the tied embedding, the last norm
    total = 3 * block + outside

    memory = device_memory(recipe, VOCAB, 2, "32-true", devices=4)

    assert memory[:4] == (total, total, 2 * total, total)  # a fourth of 4, 4, 8 and 4 bytes
    assert memory.gathered == 4 * (2 * outside + 3 * block)


def test_in_pure_bfloat16_the_average_alone_stays_in_float32():
    recipe = compose([*GRU, "model.tied=true", "data.max_length=10", "task.ema_decay=0.9"])
    total = LAYER + 50 * 8

    memory = device_memory(recipe, VOCAB, 2, "bf16-true")

    assert memory[:4] == (2 * total, 2 * total, 4 * total, 4 * total)


@pytest.mark.parametrize(
    ("precision", "expected"),
    [
        # gradient and copy of the matrix, gradient by the states, logits and probabilities
        ("32-true", 50 * 8 * 4 + 20 * 8 * 4 + 20 * 50 * (4 + 4)),
        ("bf16-mixed", 50 * 8 * (4 + 2) + 20 * 8 * 2 + 20 * 50 * (2 + 4 + 2)),
        ("bf16-true", 50 * 8 * 4 + 20 * 8 * 2 + 20 * 50 * (2 + 4 + 2)),
    ],
)
def test_the_loss_keeps_a_gradient_in_float32_and_the_logits(precision, expected):
    assert loss_bytes((50, 8), 20, precision) == expected


def test_of_all_logits_one_chunk_is_alive():
    vocab_size = CHUNK_LOGITS // 4

    many, more = (loss_bytes((vocab_size, 1), positions, "32-true") for positions in (4, 8))

    assert more - many == 4 * 4  # the gradient by four more hidden states


@pytest.mark.parametrize(
    ("optimizer", "hidden", "others"),
    [("adamw", 2, 2), ("muon", 1, 2), ("sgd", 0, 0)],
)
def test_an_optimizer_remembers_what_it_would_after_a_step(optimizer, hidden, others):
    recipe = compose([*GRU, f"optimizer={optimizer}"])
    network = network_of([*GRU])
    matrices = 2 * 3 * 8 * 8
    rest = count_parameters(network).total - matrices

    kept = optimizer_bytes(network, recipe["optimizer"], torch.float32)

    assert kept == 4 * (hidden * matrices + others * rest)
    stepped = build(recipe["optimizer"], params=parameter_groups(network))
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    stepped.step()
    states = [value for state in stepped.state.values() for value in state.values()]
    assert kept == sum(
        state.numel() * 4 for state in states if torch.is_tensor(state) and state.ndim
    )


def test_activations_grow_with_the_rows_and_copies_of_weights_do_not(monkeypatch):
    monkeypatch.setattr("lmexp.memory.has_bf16_instructions", lambda: True)
    sizes = ["model.d_model=8", "model.num_heads=2", "model.num_kv_heads=2", "model.d_ff=16"]
    recipe = compose([*sizes, "model.num_layers=1", "model.dropout=0.0", "data.max_length=10"])
    inner = 4 * 8 * 8 + 8 * 32 + 16 * 8  # attention; up and gate, down

    one, two, five = (
        device_memory(recipe, VOCAB, rows, "bf16-mixed").activations for rows in (1, 2, 5)
    )

    assert five - one == 4 * (two - one)
    assert two - one > 10 * 8 * 4  # at least the embedded tokens of a row
    assert 2 * one - two >= 2 * inner  # what any number of rows needs: the weights in 16 bits


def test_plan_is_of_no_run_that_has_begun(capsys):
    assert main(["plan", "resume=logs/runs"]) == 2

    assert "lmexp show logs/runs" in capsys.readouterr().err


def test_a_plan_of_pairs_counts_both_sides(capsys):
    sizes = ["model=gru", "model.d_model=8", "model.num_layers=1", "data.batch_tokens=64"]
    reverse = ["data.corpus.vocabulary=5", "data.corpus.size=40", "data.corpus.test_size=10"]
    lengths = ["data.corpus.min_length=4", "data.corpus.max_length=4", "data.corpus.val_size=10"]
    steps = ["trainer.max_steps=9", "schedule=constant"]

    assert main(["plan", "data=reverse", *sizes, *reverse, *lengths, *steps]) == 0

    out = " ".join(capsys.readouterr().out.split())
    assert f"vocabulary {7 + 5} ids" in out
    assert "train 40 pairs, 200 source and 200 target tokens, val 10 pairs, 50" in out
    # four integers and the end: 12 pairs of 5 tokens fit into 64, so 40 pairs take 4 steps
    assert "a step 64 tokens at most, 50 of targets on average; padding 0.0%" in out
    assert "steps 9: 2.25 epochs of 4 steps, 450 tokens" in out


@pytest.mark.parametrize("model", ["gru", "transformer"])
def test_parameters_of_an_encoder_decoder_are_told_apart(model):
    sizes = ["model.d_model=16", "model.num_layers=1", "model.tied=true"]
    heads = ["model.num_heads=2", "model.d_ff=32"] if model == "transformer" else []
    recipe = compose([f"model={model}", "data=reverse", *sizes, *heads])
    joint = build_task(recipe, PairVocab(VOCAB, VOCAB), None).network
    apart = build_task(recipe, PairVocab(VOCAB, Vocab(70, *VOCAB[1:])), None).network

    one, two = count_parameters(joint), count_parameters(apart)

    assert one.embedding == 50 * 16
    assert two.embedding == (50 + 70) * 16
    assert one.total - one.embedding == one.inner == two.inner
