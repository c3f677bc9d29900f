"""What needs a CUDA device: that a run there learns what it learns on the CPU."""

import json
from pathlib import Path

import pytest
import torch

from lmexp.recipe import main

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device here"),
]


def loss_of_a_run(tmp_path: Path, *changes: str) -> float:
    """The test loss of a small run, dropout off."""
    file = tmp_path / "text.txt"
    file.write_text("".join(f"{n} times {n} is {n * n}\n" for n in range(300)))
    folder = tmp_path / "-".join(change.split("=")[1] for change in changes)
    run = ["model.d_model=32", "model.num_heads=2", "model.d_ff=64", "model.num_layers=2"]
    run += ["model.dropout=0.0", "data=text", f"data.files={file}", "tokenizer=byte"]
    run += ["data.max_length=32", "data.batch_size=8", "trainer.max_steps=40", "logger=none"]
    assert main([*run, "task.sample_tokens=8", *changes, f"hydra.run.dir={folder}"]) == 0
    return float(json.loads((folder / "summary.json").read_text())["test/loss"])


@pytest.mark.parametrize(
    ("precision", "tolerance"),
    [("32-true", 0.01), ("bf16-mixed", 0.05), ("16-mixed", 0.05), ("bf16-true", 0.3)],
)
def test_a_gpu_learns_what_the_cpu_learns(precision, tolerance, tmp_path):
    on_cpu = loss_of_a_run(tmp_path, "trainer=cpu", "trainer.precision=32-true")
    on_gpu = loss_of_a_run(tmp_path, "trainer=gpu", f"trainer.precision={precision}")

    assert on_gpu == pytest.approx(on_cpu, abs=tolerance)


def test_a_run_begun_on_a_gpu_is_resumed_on_the_cpu(tmp_path):
    loss_of_a_run(tmp_path, "trainer=gpu", "trainer.precision=32-true")

    assert main([f"resume={tmp_path}", "trainer=cpu", "trainer.max_steps=50"]) == 0


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there are fewer than two CUDA devices")
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_two_gpus_learn_what_one_learns(precision, tmp_path):
    cut = ("trainer=gpu", f"trainer.precision={precision}", "trainer.micro_batches=2")

    one = loss_of_a_run(tmp_path, *cut, "trainer.devices=1")
    two = loss_of_a_run(tmp_path, *cut, "trainer.devices=2")  # NCCL

    assert two == pytest.approx(one, abs=1e-4 if precision == "32-true" else 0.02)


def test_a_compiled_network_learns_what_a_plain_one_learns(tmp_path):
    plain = loss_of_a_run(tmp_path, "trainer=gpu", "trainer.precision=32-true")
    compiled = loss_of_a_run(
        tmp_path, "trainer=gpu", "trainer.precision=32-true", "trainer.compile=true"
    )

    assert compiled == pytest.approx(plain, abs=0.01)
