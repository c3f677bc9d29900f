"""Budgets: architectures of equal size, and as many steps as operations or tokens allow."""

import json
import math
from pathlib import Path

import pytest
import torch
import yaml

from lmexp.__main__ import main
from lmexp.budget import Budget, asked_of, in_words, keep
from lmexp.build import build_data, build_task
from lmexp.compare.runs import find_runs
from lmexp.networks.flops import flops_per_token
from lmexp.recipe import compose
from lmexp.run_folder import read_recipe
from lmexp.targets import build

MODELS = ("rnn", "lstm", "gru", "transformer")
SMALL = [
    *("data=text", "data.max_length=16", "data.batch_size=4", "tokenizer=byte"),
    *("task.sample_tokens=0", "trainer=debug", "logger=none"),
]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """About fifty steps."""
    file = tmp_path / "text.txt"
    file.write_text("the quick brown fox jumps over the lazy dog\n" * 80)
    return file


def prepared(text: Path, *typed: str):
    """A recipe, and its data."""
    recipe = compose([*SMALL, f"data.files={text}", *typed])
    data = build_data(recipe, build(recipe["tokenizer"]))
    data.prepare(fit=True, splits=("train", "val", "test"))
    return recipe, data


def parameters(recipe, data) -> int:
    with torch.device("meta"):
        network = build_task(recipe, data.vocab, None).network
    return sum(own.numel() for own in network.parameters())


@pytest.mark.parametrize("wanted", [60_000, 1_000_000])
@pytest.mark.parametrize("model", MODELS)
def test_a_width_is_found_that_comes_nearest(model, wanted, text):
    recipe, data = prepared(text, f"model={model}", f"budget.parameters={wanted}")

    sized, _ = keep(recipe, data, 6, ())

    found = parameters(sized, data)
    step = math.lcm(8, 2 * sized["model"].get("num_heads", 1))
    for other in (-step, step):
        wider = {**sized["model"], "d_model": sized["model"]["d_model"] + other}
        if "d_ff" in wider:
            wider["d_ff"] = round(wider["d_ff"] * wider["d_model"] / sized["model"]["d_model"])
        if wider["d_model"] > 0:
            assert abs(found - wanted) <= abs(parameters({**sized, "model": wider}, data) - wanted)
    assert found == pytest.approx(wanted, rel=0.25 if wanted < 100_000 else 0.08)
    untouched = sized["model"].keys() - {"d_model", "d_ff"}
    assert all(sized["model"][key] == recipe["model"][key] for key in untouched)
    assert keep(sized, data, 6, ())[0] == sized  # a resume finds the same


def test_tokens_and_operations_decide_the_steps(text):
    recipe, data = prepared(text, "model=gru", "budget.tokens=640")
    network = build_task(recipe, data.vocab, None).network

    assert keep(recipe, data, 6, ()).total_steps == 10  # of four rows of sixteen
    asked = 10 * data.tokens_per_step * flops_per_token(network, data.row_length)
    flops = {**recipe, "budget": {"flops": asked}}
    assert keep(flops, data, 6, ()).total_steps == 10
    assert keep({**recipe, "budget": {}}, data, 6, ()).total_steps == 6


def test_both_ways_to_say_how_many_steps_are_refused():
    with pytest.raises(ValueError, match=r"budget\.flops=100 and budget\.tokens=5 both say"):
        Budget(flops=100, tokens=5)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("budget.parameters=10", r"what comes nearest is model\.d_model=8 with"),
        ("budget.parameters=1e15", r"more than any memory holds: write at most 1e\+12"),
        ("budget.tokens=31", r"budget\.tokens=31 is less than half of a step, which takes 64:"),
        ("budget.flops=1", r"budget\.flops=1 is less than half of a step"),
    ],
)
def test_a_budget_that_cannot_be_met_is_refused(typed, message, text):
    recipe, data = prepared(text, "model=gru", typed)

    with pytest.raises(ValueError, match=message):
        keep(recipe, data, 6, ())


def test_a_number_of_steps_beside_a_budget_that_decides_it_is_refused(capsys):
    typed = [*SMALL, "data.files=text.txt", "trainer.max_steps=6", "budget.tokens=640"]

    assert main(["train", *typed]) == 2

    assert "trainer.max_steps=6 and budget.tokens=640 both say how many" in capsys.readouterr().err


def test_a_budget_is_told_beside_what_the_network_has():
    recipe = {"budget": {"minutes": 3, "parameters": 200.0}}

    told = in_words(recipe, {"parameters": 190})

    assert told == (
        "minutes 3; parameters 200, of which the network has 95.0% in steps of model.d_model"
    )
    assert in_words({"budget": {"minutes": None}}, {"parameters": 190}) is None


def test_what_has_no_width_is_refused(text):
    recipe, data = prepared(text, "model=gru", "budget.parameters=1000")
    model = {"_target_": "my_bag.BagSizes", "width": 8}

    with pytest.raises(ValueError, match=r"my_bag\.BagSizes has no d_model to change"):
        keep({**recipe, "model": model}, data, 6, ())


def test_a_run_is_what_its_budget_allows_and_says_how_well(text, tmp_path, capsys):
    run = tmp_path / "run"
    typed = ["model=transformer", "model.num_heads=2", "budget.parameters=200000"]
    typed += ["budget.tokens=640", f"data.files={text}", f"hydra.run.dir={run}"]

    assert main(["train", *SMALL, *typed]) == 0

    summary = json.loads((run / "summary.json").read_text())
    assert summary["budget/parameters"] == 200_000
    assert summary["parameters"] == pytest.approx(200_000, rel=0.1)
    assert summary["step"] == 10
    assert summary["stopped_because"] == "all 10 steps are done"
    sized = yaml.safe_load((run / "recipe.yaml").read_text())["model"]["d_model"]
    assert sized != compose(["model=transformer"])["model"]["d_model"]
    assert main(["train", f"resume={run}"]) == 0
    assert read_recipe(run)["model"]["d_model"] == sized
    assert main(["evaluate", str(run)]) == 0
    assert main(["plan", *SMALL, *typed[:-1]]) == 0
    assert f"{summary['parameters']:,}" in capsys.readouterr().out


def test_minutes_stop_a_run(text, tmp_path):
    run = tmp_path / "run"
    typed = ["model=gru", "trainer.max_steps=100000", "budget.minutes=0.02"]

    assert main(["train", *SMALL, *typed, f"data.files={text}", f"hydra.run.dir={run}"]) == 0

    summary = json.loads((run / "summary.json").read_text())
    assert "budget.minutes is over after step" in summary["stopped_because"]
    assert summary["budget/minutes"] == 0.02
    assert 1.2 <= summary["training_seconds"] < summary["seconds"]  # the test is no training


def test_a_budget_that_is_not_set_is_not_spoken_of():
    assert asked_of(compose(["model=gru"])) == {}


def test_a_budget_below_nothing_is_refused(capsys):
    assert main(["train", "budget.parameters=0"]) == 2
    assert "budget.parameters=0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "predicted"),
    [
        (["model=lstm", "data=labelled_text", "data.train=labels.tsv"], 1),
        (["model=bert", "data=text", "data.files=text.txt", "data.pairs=null"], 0.15 * 64),
    ],
)
def test_the_operations_of_a_run_are_those_of_all_that_it_reads(
    typed, predicted, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    lines = [f"{'one two three ' * 20}{n}" for n in range(400)]
    rows = [f"{line}\t{n % 2}" for n, line in enumerate(lines)]
    Path("labels.tsv").write_text("\n".join(["text\tlabel", *rows]))
    Path("text.txt").write_text("\n".join(lines))
    typed = [*typed, "tokenizer=word", "data.max_length=64"]
    typed += ["data.batch_size=40", "model.d_model=32", "trainer=debug"]
    recipe = compose([*typed, "logger=none"])
    data = build_data(recipe, build(recipe["tokenizer"]))
    data.prepare()
    network = build_task(recipe, data.vocab, None).network
    encoder = flops_per_token(network.encoder, 64)
    a_row = 64 * encoder + predicted * (flops_per_token(network, 64) - encoder)

    asked = ["logger=none", f"budget.flops={10 * 40 * a_row}", "hydra.run.dir=run"]
    assert main(["train", *typed, *asked]) == 0

    (run,) = find_runs(["run"])
    assert run.cost.steps == pytest.approx(10, abs=1)
    assert run.cost.tokens == pytest.approx(10 * 40 * 64, rel=0.1)
    assert run.cost.flops == pytest.approx(run.budgets["flops"], rel=0.1)
