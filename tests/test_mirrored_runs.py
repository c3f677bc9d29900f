"""What Weights & Biases and TensorBoard hold of real runs, read back by their own readers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from test_mirrors import stored_records

from lmexp.nested import flat
from lmexp.record_files import read_metrics, read_summary
from lmexp.wandb_facts import HASHES, MARK, hashes_of, signature_of

SMALL = [
    *("data=text", "data.files=text.txt", "tokenizer=byte", "data.max_length=16"),
    *("data.batch_size=4", "model=gru", "model.d_model=8", "model.num_layers=1"),
    *("task.sample_tokens=0", "trainer=debug", "trainer.max_steps=4"),
]
OF_WANDB = ("_timestamp", "_runtime", "_wandb.runtime")  # its own, in rows and summaries
BESIDE_THE_RECIPE = ("_wandb", MARK)  # keys of W&B's config begin so


def lmexp(folder: Path, *typed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lmexp", "train", *typed],
        cwd=folder,
        env={**os.environ, "WANDB_MODE": "offline"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wandb_runs(tmp_path_factory, cache_of_the_session):
    """A run that was resumed, and a sweep of two."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "text.txt").write_text("the quick brown fox jumps over the lazy dog\n" * 60)
    lmexp(folder, *SMALL, "logger=wandb", "logger.tags=[mine]", "hydra.run.dir=run")
    lmexp(folder, "resume=run", "trainer.max_steps=8")
    swept = ["logger=wandb", "logger.tags=[mine]", "seed=1,2", "sweep.name=seeds"]
    lmexp(folder, "-m", *SMALL, *swept)
    return folder


def history_of(records):
    rows = {}
    for record in records:
        if record["type"] == "history":
            item = {k: v for k, v in record["history"]["item"].items() if k not in OF_WANDB}
            assert item["_step"] not in rows
            rows[item.pop("_step")] = item
    return rows


def recorded(folder):
    """metrics.jsonl by step; lines of one step as one."""
    rows = {}
    for line in read_metrics(folder):
        rows.setdefault(line.pop("step"), {}).update(line)
    return rows


def assert_equal(folder):
    """The offline files hold what the record and the recipe hold, no more and no less."""
    records = list(stored_records(folder))
    summary = {}
    for record in records:
        summary |= record["summary"]["update"] if record["type"] == "summary" else {}
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())

    assert history_of(records) == recorded(folder)
    assert summary.pop("_step") == summary["step"]
    assert {k: v for k, v in summary.items() if k not in OF_WANDB} == read_summary(folder)
    config = {}
    for run in (record["run"] for record in records if record["type"] == "run"):
        config |= run["config"]["update"]  # a resume may have changed the number of steps
    assert {k: v for k, v in config.items() if not k.startswith(BESIDE_THE_RECIPE)} == flat(recipe)
    for update in (record["config"]["update"] for record in records if record["type"] == "config"):
        config |= update
    environment = json.loads((folder / "environment.json").read_text())
    test = json.loads((folder / "scores" / "test.json").read_text())
    assert hashes_of(config) == {name: environment["data"][name] for name in HASHES}
    told = {**signature_of(config), "checkpoint": test["signature"]["checkpoint"]}
    assert told == test["signature"]
    return records


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_wandb_holds_a_resumed_run_no_more_and_no_less(wandb_runs):
    records = assert_equal(wandb_runs / "run")

    runs = [record["run"] for record in records if record["type"] == "run"]
    assert len(runs) == 2
    assert len({run["run_id"] for run in runs}) == 1
    assert {run["run_group"] for run in runs} == {"gru-text"}
    assert max(history_of(records)) == 8


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_wandb_holds_the_jobs_of_a_sweep_grouped_by_its_name(wandb_runs):
    jobs = sorted(wandb_runs.glob("logs/sweeps/seeds/*/*_seed-*"))

    assert len(jobs) == 2
    for job in jobs:
        (run,) = [r["run"] for r in assert_equal(job) if r["type"] == "run"]
        assert (run["run_group"], run["job_type"]) == ("seeds", "train")
        assert run["tags"] == ["mine", "sweep", job.parent.name]
        assert run["display_name"] == f"gru-text {job.name}"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_wandb_is_told_neither_command_line_nor_folder(wandb_runs):
    records = list(stored_records(wandb_runs / "run"))

    assert "trainer.max_steps=4" not in json.dumps(records)
    assert str(wandb_runs) not in json.dumps(records)
