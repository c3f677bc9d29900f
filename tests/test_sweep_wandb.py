"""Sweeps that Weights & Biases runs: what the file says, and what its agent would start."""

import sys

import pytest
import wandb
import yaml

from lmexp.__main__ import main
from lmexp.mirrors import WandB
from lmexp.recipe import compose


@pytest.fixture
def written(tmp_path, monkeypatch, capsys):
    """Runs the command without an account; gives the file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)

    def command(*typed: str) -> dict:
        assert main(["sweep", "wandb", *typed]) == 0
        assert "written to sweep.yaml; W&B is not online here" in capsys.readouterr().err
        return yaml.safe_load((tmp_path / "sweep.yaml").read_text())

    return command


def test_a_grid_of_lists(written):
    found = written("model=gru,lstm", "seed=1,2,3", "data=wikitext2")

    assert found["method"] == "grid"
    assert found["metric"] == {"name": "val/loss", "goal": "minimize"}
    assert found["parameters"] == {
        "model": {"values": ["gru", "lstm"]},
        "seed": {"values": ["1", "2", "3"]},
    }
    assert found["command"] == [
        *("${env}", sys.executable, "-m", "lmexp", "train", "data=wikitext2", "logger=wandb"),
        "${args_no_hyphens}",
    ]


def test_a_search_of_ranges(written):
    found = written(
        "sweep=search",
        "data=sst2",
        "optimizer.lr=tag(log,interval(1e-4,1e-2))",
        "model.dropout=interval(0,0.5)",
        "model.num_layers=range(1,5)",
        "model.d_model=choice(64,128)",
        "logger=wandb",
    )

    assert found["method"] == "bayes"
    assert found["metric"] == {"name": "val/accuracy", "goal": "maximize"}
    assert found["parameters"] == {
        "optimizer.lr": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-2},
        "model.dropout": {"distribution": "uniform", "min": 0.0, "max": 0.5},
        "model.num_layers": {"distribution": "int_uniform", "min": 1, "max": 4},
        "model.d_model": {"values": ["64", "128"]},
    }
    assert found["command"].count("logger=wandb") == 1


def test_what_the_agent_hands_over_composes(written):
    found = written("model=gru,lstm", "data=wikitext2")
    words = found["command"]
    overrides = [*words[words.index("train") + 1 : -1], "model=lstm"]

    assert compose(overrides)["model"]["cell"] == "lstm"


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["model=gruu,lstm"], "there is no conf/model/gruu.yaml"),
        (["seed=1,2", "--count", "0"], "--count 0: at least 1"),
        (["seed=1,2", "--file", "sweep.txt"], "--file sweep.txt"),
        (["seed=1,2", "optimizer.lr=interval(1,2)"], "add sweep=search"),
        (["seed=1,2", "logger=none"], "W&B sees nothing of a sweep's runs that are not mirrored"),
    ],
)
def test_mistakes_are_refused_and_nothing_is_written(typed, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    assert main(["sweep", "wandb", *typed]) == 2

    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_entity_that_is_none_is_a_mistake_in_one_line(tmp_path, monkeypatch, capsys):
    def refuse(*_, **__):
        raise wandb.errors.CommError("entity nobody not found\nfor upsertSweep")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setattr(wandb, "sweep", refuse)

    assert main(["sweep", "wandb", "seed=1,2", "--entity", "nobody", "--project", "p"]) == 2

    said = capsys.readouterr().err
    assert said.startswith("lmexp: W&B makes no sweep in nobody/p (entity nobody not found")
    assert "--project p and --entity nobody have to be" in said
    assert said.count("\n") == 1


def test_a_run_that_an_agent_starts_has_the_id_that_it_was_given(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_RUN_ID", "agent1id")
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep1")
    mirror = WandB("p", None, None, (), "train", "auto", 1.0)

    mirror.start(tmp_path, {"name": "a"}, -1)
    mirror.finish({"step": 0}, "finished")
    wandb.teardown()  # else it keeps the agent's id for the next run of this process

    assert '"id": "agent1id"' in (tmp_path / "wandb.json").read_text()
