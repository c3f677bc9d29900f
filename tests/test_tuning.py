"""Which weights are trained: frozen layers, rates that fall with depth, adapters."""

import shutil
from pathlib import Path

import pytest
import torch
from tiny_models import save_tiny
from torch import nn

from lmexp.build import build_task
from lmexp.hardware import choose
from lmexp.loading import load
from lmexp.memory import device_memory
from lmexp.networks.interface import Vocab
from lmexp.optimizers import parameter_groups
from lmexp.parts import assemble
from lmexp.ranks import Ranks
from lmexp.recipe import compose, main
from lmexp.targets import build
from lmexp.tuning import Tuning, depths

SIZES = ("model.d_model=16", "model.num_layers=3", "model.num_heads=2", "model.d_ff=32")
NONE = {"freeze_layers": None, "layer_decay": None, "rank": None, "alpha": 16, "targets": None}
MODELS = {
    "bert": ["model=bert", *SIZES],
    "transformer": ["model=transformer", *SIZES, "model.num_kv_heads=2"],
    "gpt2": ["model=pretrained", "model.path=gpt2"],
    "tiny": ["model=pretrained", "model.path=bert", "task=masked_lm"],
}


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """With a text and tiny pretrained models."""
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("".join(f"the name {n} in a scope\n" for n in range(200)))
    for name in ("gpt2", "bert"):
        save_tiny(tmp_path / name, name)
    return tmp_path


def overrides(model: str, *more: str) -> list[str]:
    """A short run."""
    own = MODELS[model]
    return [
        *own,
        *("data=text", "data.files=text.txt", "data.corpus.document=line", "data.max_length=32"),
        *("data.batch_size=8", "trainer=debug", "trainer.max_steps=2", "logger=none"),
        *("trainer.validate_every_steps=1", "schedule=constant"),
        *([] if own[0] == "model=pretrained" else ["tokenizer=byte"]),
        *([] if model in ("bert", "tiny") else ["task.sample_tokens=0"]),
        *more,
    ]


def task_of(model: str, *more: str):
    return build_task(compose(overrides(model, *more)), Vocab(80, 0, 2, 3, 4), None)


@pytest.mark.parametrize("model", MODELS)
def test_embeddings_and_the_first_layers_are_frozen_and_heads_are_not(model, here):
    network = task_of(model, "tuning.freeze_layers=1").network

    found = depths(network)
    frozen = {name for name, p in network.named_parameters() if not p.requires_grad}

    assert frozen == {name for name, depth in found.items() if depth <= 1}
    assert sorted(set(found.values())) == list(range(len(set(found.values()))))
    embedding = [name for name in found if "embed" in name or "wte" in name or "wpe" in name]
    assert {found[name] for name in embedding} == {0}
    heads = [n for n in found if n.startswith(("transform", "pair", "norm", "model.ln_f"))]
    assert heads
    assert {found[name] for name in heads} == {max(found.values())}


def test_frozen_weights_take_no_gradient_and_no_state_of_the_optimizer(here):
    vocab, rows = Vocab(80, 0, 2, 3, 4), (1, "32-true")

    whole = device_memory(compose(overrides("bert")), vocab, *rows)
    upper = device_memory(compose(overrides("bert", "tuning.freeze_layers=3")), vocab, *rows)

    network = task_of("bert", "tuning.freeze_layers=3").network
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    assert upper.weights == whole.weights
    assert upper.gradients == 4 * trained < whole.gradients
    assert upper.optimizer < whole.optimizer / 4


def test_frozen_weights_stay_and_others_move(here):
    asked = overrides("bert", "tuning.freeze_layers=2", "task.ema_decay=0.5")
    assert main([*asked, "hydra.run.dir=run"]) == 0

    before = build_task(compose(asked), load("run").vocab, None).network
    after = load("run").network
    for name, parameter in after.named_parameters():
        is_same = torch.equal(parameter, before.get_parameter(name))
        assert is_same == (depths(after)[name] <= 2), name


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_ranks_freeze_alike_and_a_resumed_run_goes_on(strategy, here):
    asked = overrides("bert", "tuning.freeze_layers=1", "tuning.layer_decay=0.5")
    asked += ["trainer.devices=2", f"trainer.strategy={strategy}", "hydra.run.dir=run"]
    assert main(asked) == 0
    assert main(["resume=run", "trainer.max_steps=4"]) == 0

    before = build_task(compose(asked), load("run").vocab, None).network
    after = load("run/checkpoints/last.ckpt")
    frozen = after.network.encoder.layers[0].state_dict()
    assert after.step == 4
    for name, tensor in before.encoder.layers[0].state_dict().items():
        assert torch.equal(tensor, frozen[name])


@pytest.mark.parametrize("model", MODELS)
def test_the_rate_falls_by_a_factor_a_layer(model, here):
    task = task_of(model, "tuning.layer_decay=0.5")
    found = depths(task.network)
    top = max(found.values())
    names = {id(p): name for name, p in task.network.named_parameters()}

    groups = parameter_groups(task.network, task.layer_decay)

    rates = {names[id(p)]: g["lr_factor"] for g in groups for p in g["params"]}
    assert rates == {name: 0.5 ** (top - depth) for name, depth in found.items()}


def test_each_group_learns_at_its_rate(here):
    Path("run/checkpoints").mkdir(parents=True)
    recipe = compose(overrides("bert", "tuning.layer_decay=0.5", "optimizer.lr=0.1"))
    recipe["trainer"]["micro_batches"] = 1
    asked = Path("run"), (), build(recipe["trainer"]), choose("cpu", 1, "32-true"), Ranks()
    task = assemble(recipe, *asked).task
    task.trainer = type("Trainer", (), {"scaler": None})()

    optimizer = task.configure_optimizers()

    rates = {group["base_lr"] for group in optimizer.param_groups}
    assert sorted(rates) == pytest.approx([0.1 * 0.5**n for n in (4, 3, 2, 1, 0)])


@pytest.mark.parametrize("model", MODELS)
def test_adapters_begin_as_nothing_and_they_and_the_heads_alone_are_trained(model, here):
    asked = overrides(model, "tuning=lora", "tuning.rank=2")
    vocab = Vocab(80, 0, 2, 3, 4)
    plain = build_task(compose(overrides(model)), vocab, None).network.eval()
    adapted = build_task(compose(asked), vocab, None).network.eval()
    ids = torch.randint(7, 80, (2, 9))
    mask = torch.ones_like(ids, dtype=torch.bool)

    torch.testing.assert_close(adapted.hidden(ids, mask), plain.hidden(ids, mask))

    trained = {name for name, p in adapted.named_parameters() if p.requires_grad}
    assert any("lora_A" in name for name in trained)
    others = {name.split(".")[0] for name in trained if "lora_" not in name}
    assert others <= {"transform", "transform_norm", "output", "pooler", "pair"}
    assert bool(others) == (model in ("bert", "tiny"))


def test_a_run_with_adapters_begins_from_weights_is_resumed_and_loaded(here, capsys):
    asked = overrides("tiny", "tuning=lora", "tuning.rank=2", "task.ema_decay=0.5")
    assert main([*asked, "hydra.run.dir=run"]) == 0
    said = capsys.readouterr()
    assert "new: encoder (24)" in said.err
    assert "trained" in said.out
    shutil.rmtree("bert")

    assert main(["resume=run", "trainer.max_steps=4"]) == 0
    network = load("run").network
    assert network.encoder.model.encoder.layer[0].attention.self.query.lora_B.default.weight.any()

    again = overrides("tiny", "init_from=run", "task=masked_lm")[2:]
    assert main([*again, "tuning=lora", "tuning.rank=2", "hydra.run.dir=new"]) == 0
    assert main([*again, "hydra.run.dir=plain"]) == 2
    assert "it trained adapters, tuning={" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["tuning.freeze_layers=4"], "tuning.freeze_layers=4: the network has 3 layers: write at"),
        (["tuning=lora", "tuning.freeze_layers=1"], "rank=8 and freeze_layers=1: LoRA leaves all"),
        (
            ["tuning=lora", "tuning.targets=[query]"],
            "the layers have matrices of other names: write tuning.targets=",
        ),
        (["tuning.layer_decay=2.0"], "tuning.layer_decay=2.0: layer_decay should be less than or"),
    ],
)
def test_refusals(typed, told, here, capsys):
    assert main(overrides("bert", *typed)) == 2

    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_a_network_without_a_list_of_layers_cannot_be_frozen():
    task = type("Task", (), {"network": nn.Linear(2, 2), "average": None})()

    with pytest.raises(ValueError, match=r"Linear has no nn\.ModuleList of layers"):
        Tuning(**(NONE | {"freeze_layers": 0})).apply(task)
