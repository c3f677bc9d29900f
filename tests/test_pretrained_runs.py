"""Runs of model=pretrained through the commands, and what is refused before one begins."""

import json
import shutil
import signal
from pathlib import Path

import pytest
import torch
from interruption import assert_same_run, interrupted
from tiny_models import save_tiny

from lmexp.__main__ import main as command
from lmexp.loading import load
from lmexp.recipe import compose, main

KINDS = {"bert": "task=masked_lm", "gpt2": "task=causal_lm", "marian": "data=parallel"}


def overrides(folder: Path, name: str, *more: str) -> list[str]:
    """A short run of a tiny model in folder / name."""
    text = folder / "text.txt"
    text.write_text("".join(f"the statement {n} bind a name in the scope\n" for n in range(200)))
    of_text = ["data=text", f"data.files={text}", "data.corpus.document=line", "data.batch_size=8"]
    if name == "marian":
        pairs = folder / "pairs.tsv"
        pairs.write_text("".join(f"a name {n}\tthe {n}\n" for n in range(200)))
        of_text = ["data=parallel", f"data.train={pairs}", "data.fields=[0,1]"]
        of_text += ["data.batch_tokens=256", "eval.sample_pairs=1"]
    if name == "gpt2":
        of_text.append("task.sample_tokens=4")
    return [
        *("model=pretrained", f"model.path={folder / name}", *of_text, "data.max_length=38"),
        *([KINDS[name]] if name != "marian" else []),
        *("trainer=debug", "trainer.max_steps=2", "trainer.validate_every_steps=1", "logger=none"),
        *more,
    ]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of each kind; the folders that they began from are gone."""
    folder = tmp_path_factory.mktemp("pretrained")
    for name in KINDS:
        save_tiny(folder / name, name)
        more = () if name == "marian" else ("eval.batch_size=4",)
        run = folder / f"run_{name}"
        assert main(overrides(folder, name, *more, f"hydra.run.dir={run}")) == 0
        shutil.rmtree(folder / name)
    return folder


@pytest.mark.parametrize("name", KINDS)
def test_a_checkpoint_needs_nothing_of_the_folder(name, runs):
    loaded = load(runs / f"run_{name}")

    assert loaded.recipe["model"]["config"]["model_type"] == name
    assert loaded.tokenizer.vocab_size == loaded.vocab.size if name != "marian" else True
    assert loaded.step == 2


@pytest.mark.parametrize("name", KINDS)
def test_it_is_evaluated_and_resumed_without_the_folder(name, runs, tmp_path):
    run = shutil.copytree(runs / f"run_{name}", tmp_path / "run")

    assert command(["evaluate", str(run)]) == 0
    assert main([f"resume={run}", "trainer.max_steps=3"]) == 0
    assert load(run / "checkpoints" / "last.ckpt").step == 3


def test_killed_and_resumed_without_the_folder_is_bitwise_the_uninterrupted_run(tmp_path):
    save_tiny(tmp_path / "bert", "bert")
    more = ["task.ema_decay=0.9", "tuning.layer_decay=0.8", "trainer.checkpoint_every_steps=1"]
    asked = overrides(tmp_path, "bert", "trainer.max_steps=4", *more)
    assert main([*asked, f"hydra.run.dir={tmp_path / 'whole'}"]) == 0

    killed = [*asked, f"hydra.run.dir={tmp_path / 'killed'}"]
    moment = "lmexp.tasks.masked_lm:MaskedLM.sums:3"
    assert interrupted(moment, "SIGKILL", killed) == -signal.SIGKILL
    shutil.rmtree(tmp_path / "bert")
    assert main([f"resume={tmp_path / 'killed'}"]) == 0

    assert_same_run(tmp_path / "whole", tmp_path / "killed")


def test_it_fills_generates_and_translates(runs, capsys, monkeypatch, tmp_path):
    source = tmp_path / "source.txt"
    source.write_text("a name\nthe name\n")

    assert command(["fill", str(runs / "run_bert"), "the [MASK] of a name"]) == 0
    assert command(["generate", str(runs / "run_gpt2"), "--prompt", "the"]) == 0
    capsys.readouterr()
    with source.open() as lines:
        monkeypatch.setattr("sys.stdin", lines)
        assert command(["translate", str(runs / "run_marian")]) == 0
    assert capsys.readouterr().out.count("\n") == 2


def test_another_run_begins_with_the_weights_of_one(runs, tmp_path, capsys):
    asked = overrides(runs, "bert", f"init_from={runs / 'run_bert'}")[2:]

    assert main([*asked, f"hydra.run.dir={tmp_path / 'new'}"]) == 0

    assert "new: nothing; left: nothing" in capsys.readouterr().err


@pytest.mark.slow
def test_two_ranks_begin_with_the_pretrained_weights(tmp_path):
    model = save_tiny(tmp_path / "gpt2", "gpt2")
    still = ["optimizer.lr=1.0e-12", "trainer.devices=2", "data.batch_size=4"]

    assert main(overrides(tmp_path, "gpt2", *still, f"hydra.run.dir={tmp_path / 'run'}")) == 0

    network = load(tmp_path / "run").network
    for name, tensor in model.transformer.h.state_dict().items():
        torch.testing.assert_close(network.model.h.state_dict()[name], tensor, rtol=0, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "layers"),
    [("gpt2", "h"), ("bert", "encoder.layer")],
)
def test_ranks_may_share_a_pretrained_network(name, layers, tmp_path):
    model = save_tiny(tmp_path / name, name)
    still = ["optimizer.lr=1.0e-12", "trainer.devices=2", "trainer.strategy=fsdp"]

    assert main(overrides(tmp_path, name, *still, f"hydra.run.dir={tmp_path / 'run'}")) == 0

    network = load(tmp_path / "run").network
    mine = (network.model if name == "gpt2" else network.encoder.model).get_submodule(layers)
    for key, tensor in model.base_model.get_submodule(layers).state_dict().items():
        torch.testing.assert_close(mine.state_dict()[key], tensor, rtol=0, atol=1e-9)


def test_it_brings_its_tokenizer_whatever_the_data_set_prefers(tmp_path):
    save_tiny(tmp_path / "gpt2", "gpt2")

    recipe = compose(["model=pretrained", f"model.path={tmp_path / 'gpt2'}", "data=shakespeare"])

    assert recipe["tokenizer"]["_target_"] == "lmexp.tokenizers.Pretrained"
    assert recipe["model"]["config"]["n_layer"] == 2
    assert recipe["optimizer"]["lr"] == 5e-5


def change(folder: Path, **values: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


MISTAKES = {
    "a tokenizer": ([], ["tokenizer=bpe"], "tokenizer=bpe: model.path=DIR brings its own vocabul"),
    "no folder": ([], ["model.path=/nowhere/x"], "model.path=/nowhere/x: there is no such folder"),
    "no path": ([], ["model.path=???"], "model.path=??? has to be given: write model.path=…"),
    "another kind": ([], ["task=masked_lm"], "DIR is a decoder (GPT2LMHeadModel), and the task"),
    "code": ([{"auto_map": {"AutoModel": "x.Y"}}], [], "has auto_map, code of its own, which is"),
    "unknown": ([{"model_type": "xyz"}], [], "model_type=xyz is none of those that were tried"),
    "no type": ([{"model_type": None}], [], "names no model_type"),
    "sizes": ([{"n_embd": "x"}], [], "model.config cannot be read by transformers"),
    "too long": ([], ["data.max_length=64"], "the pretrained model's 40 positions do not reach"),
    "weights": (["model.safetensors"], [], "no *.safetensors in it; it needs config.json, model"),
    "no config": (["config.json"], [], "no config.json in it; it needs config.json, model.safet"),
    "no tokenizer": (
        ["tokenizer.json", "tokenizer_config.json"], [], "no tokenizer in it: put a token"
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", MISTAKES)
def test_refusals_take_one_line(what, tmp_path, capsys):
    save_tiny(tmp_path / "gpt2", "gpt2")
    changes, typed, told = MISTAKES[what]
    for changed in changes:
        if isinstance(changed, dict):
            change(tmp_path / "gpt2", **changed)
        else:
            (tmp_path / "gpt2" / changed).unlink()
    capsys.readouterr()

    asked = overrides(tmp_path, "gpt2", *typed, f"hydra.run.dir={tmp_path / 'run'}")
    other_task = "task=masked_lm" in typed
    assert main([line for line in asked if not other_task or "sample_tokens" not in line]) == 2

    error = capsys.readouterr().err
    assert told.replace("DIR", str(tmp_path / "gpt2")) in error
    assert error.count("\n") == 1


def test_pickled_weights_are_refused_with_the_remedy(tmp_path, capsys):
    save_tiny(tmp_path / "gpt2", "gpt2")
    (tmp_path / "gpt2" / "model.safetensors").rename(tmp_path / "gpt2" / "pytorch_model.bin")

    assert main(overrides(tmp_path, "gpt2")) == 2

    told = "pickled (pytorch_model.bin), which can run code when they are read: convert them"
    assert told in capsys.readouterr().err


def test_weights_that_were_cut_off_are_refused(tmp_path, capsys):
    save_tiny(tmp_path / "gpt2", "gpt2")
    file = tmp_path / "gpt2" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:5_000])

    assert main(overrides(tmp_path, "gpt2")) == 2

    told = "model.safetensors (5,000 bytes) cannot be read"
    assert told in capsys.readouterr().err


def test_a_hub_name_without_network_is_refused_with_the_layout(tmp_path, capsys, monkeypatch):
    def nobody(*_: object, **__: object) -> str:
        raise OSError("no route to host\nand more")

    monkeypatch.setattr("huggingface_hub.snapshot_download", nobody)

    assert main(["model=pretrained", "model.path=google-bert/bert-base-cased"]) == 2

    error = capsys.readouterr().err
    assert "the hub cannot be asked for it (no route to host): give a folder with config" in error
    assert error.count("\n") == 1


def test_files_that_do_not_belong_together_are_refused(tmp_path, capsys):
    save_tiny(tmp_path / "gpt2", "gpt2", vocab_size=200)

    assert main(overrides(tmp_path, "gpt2")) == 2

    told = "its tokenizer has an id 260, and its embedding 200 rows: they do not belong together"
    assert told in capsys.readouterr().err
