"""Sweeps: one process a run, one after the other; a run that fails stops nobody else."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lmexp import checkpoint as checkpoints
from lmexp import recipe
from lmexp.environment import usable_cores
from lmexp.grid import grid
from lmexp.run_folder import read_recipe
from lmexp.sweep import causes
from lmexp.sweep.launchers import Asked, Local, jobs_on_these_cores
from lmexp.sweep.launching import sweep
from lmexp.sweep.manifest import Job, Manifest
from lmexp.sweep.planning import plan
from lmexp.sweep.table import print_table
from lmexp.sweep.watch import Task

TRAIN = Path(__file__).resolve().parent.parent / "train.py"
SMALL = [
    "data=text",
    "tokenizer=byte",
    "data.max_length=16",
    "data.batch_size=4",
    "model=gru",
    "model.d_model=8",
    "model.num_layers=1",
    "task.sample_tokens=0",
    "trainer=debug",
    "trainer.max_steps=4",
    "logger=none",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A current folder with a text in it."""
    (tmp_path / "text.txt").write_text("the quick brown fox jumps over the lazy dog\n" * 60)
    return tmp_path


def start(
    folder: Path, *typed: str, program=(TRAIN, "-m"), small=tuple(SMALL)
) -> "subprocess.Popen[str]":
    """`python train.py -m` in a folder."""
    return subprocess.Popen(
        [sys.executable, *program, *small, *typed],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a group of its own, as in a terminal
        env={**os.environ, "LOCAL_RANK": "3", "WORLD_SIZE": "7"},  # of a launcher around us
    )


def manifest(folder: Path) -> list[dict]:
    """The jobs of the only sweep in a folder; none before it has begun."""
    files = list(folder.glob("logs/sweeps/*/*/manifest.json"))
    return json.loads(files[0].read_text())["jobs"] if files else []


def test_each_run_has_its_own_folder_and_one_that_fails_does_not_stop_the_others(folder):
    process = start(folder, "data.files=missing.txt,text.txt", "seed=2", "hydra.sweep.dir=here")
    out, err = process.communicate()

    jobs = json.loads((folder / "here" / "manifest.json").read_text())["jobs"]
    assert process.returncode == 1
    assert [job["status"] for job in jobs] == ["failed", "finished"], err
    assert [job["return_code"] for job in jobs] == [2, 0]
    assert jobs[0]["cause"] == "error"
    assert jobs[0]["overrides"] == ["data.files=missing.txt"]
    assert "missing.txt" in jobs[0]["error"]
    assert all(job["seconds"] > 0 for job in jobs)
    assert "0_data.files-missing.txt: error: " in out
    assert "Traceback" not in out + err
    names = ["0_data.files-missing.txt", "1_data.files-text.txt"]
    recipes = [read_recipe(folder / "here" / name / "recipe.yaml") for name in names]
    assert [own["data"]["corpus"]["files"] for own in recipes] == ["missing.txt", "text.txt"]
    assert [(folder / "here" / name / "summary.json").exists() for name in names] == [False, True]
    assert not (folder / "logs").exists()


@pytest.mark.slow
def test_what_has_finished_is_run_again_once_its_data_have_changed(folder, monkeypatch, capfd):
    """A recipe names a file: the recipe of a run is the same whatever is in it."""
    monkeypatch.chdir(folder)
    words = [*SMALL, "data.files=text.txt", "seed=1", "sweep.name=same"]
    runs, told = [], []
    for other_text in ("", "", "a lazy dog jumps\n" * 60):
        with Path("text.txt").open("a") as file:
            file.write(other_text)
        assert sweep(words, None, []) == 0
        told.append(capfd.readouterr().err)
        runs.append(len(list(max(Path("logs/sweeps/same").iterdir()).glob("*/summary.json"))))

    assert runs == [1, 0, 1]
    assert "1 of 1 jobs have been finished by an earlier sweep with the same recipe" in told[1]
    assert "on other data than there are now" in told[2]


def test_the_table_is_whole_on_a_narrow_terminal(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    figures = {
        "best/loss": 4.5,
        "test/loss": 4.25,
        "test/perplexity": 70.1,
        "test/bits_per_byte": 2,
    }
    jobs = [
        Job(str(n), [f"model=transformer,{n}", "seed=123"], status="finished") for n in range(2)
    ]
    for job in jobs:
        (tmp_path / job.folder).mkdir()
        (tmp_path / job.folder / "summary.json").write_text(json.dumps(figures))

    print_table(Manifest(tmp_path, jobs, {}, ""))

    shown = capsys.readouterr().out
    assert "…" not in shown
    assert shown.count("70.1000") == 2
    assert all(name in shown for name in ("finished", "bits_per_byte", "perplexity"))


def test_below_the_table_stands_what_the_causes_mean_that_occurred(tmp_path, capsys):
    jobs = [
        Job(str(n), [f"seed={n}"], status="failed", cause=cause, error="…")
        for n, cause in enumerate((causes.HUNG, causes.NOT_FINITE, causes.HUNG))
    ]

    print_table(Manifest(tmp_path, jobs, {}, ""))

    shown = capsys.readouterr().out.splitlines()
    assert "2: hung: …" in shown
    explained = [line for line in shown if line in {f"{a}: {b}" for a, b in causes.CAUSES.items()}]
    assert [line.partition(":")[0] for line in explained] == ["not finite", "hung"]


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, marks=pytest.mark.slow),
    ],
)
def test_a_signal_to_the_whole_group_saves_the_run_under_way_and_ends_the_sweep(number, folder):
    """As a terminal sends Ctrl-C: a run that saw the signal twice would quit without saving."""
    if signal.getsignal(number) == signal.SIG_IGN:
        pytest.skip("the tests were started by nohup, which a sweep obeys too")
    process = start(
        folder, "data.files=text.txt", "seed=1,2", "trainer.max_steps=1000000", "name=long"
    )
    deadline = time.monotonic() + 120
    while not any(f.stat().st_size for f in folder.glob("logs/*/long/*/0_seed-1/metrics.jsonl")):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    os.killpg(process.pid, number)
    process.communicate(timeout=120)

    assert process.returncode == 128 + number
    assert [job["status"] for job in manifest(folder)] == ["stopped", "waiting"]
    assert [job["return_code"] for job in manifest(folder)] == [
        128 + number,
        None,
    ]
    job = next(folder.glob("logs/sweeps/long/*/0_seed-1"))
    saved = checkpoints.read(job / "checkpoints" / "last.ckpt")
    assert saved["training"]["steps_done"] > 0
    assert "go on with python train.py resume=" in (job / "stderr.txt").read_text()


def test_each_run_is_allowed_its_own_packages(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("typed_may", "written_may"):
        (tmp_path / f"{name}.py").write_text("")
    handed: list[Task] = []
    monkeypatch.setattr(Local, "start", lambda self, task: handed.append(task) or task.job)

    assert sweep(["allow_targets=[written_may]", "seed=1,2"], None, ["typed_may"]) == 1

    assert [task.job.allow_targets for task in handed] == [["typed_may", "written_may"]] * 2
    (code,) = tmp_path.glob("logs/sweeps/seed/*/code")
    assert {path.name for path in code.iterdir()} == {"lmexp", "typed_may.py", "written_may.py"}


def test_equal_combinations_are_one_job():
    assert [job.overrides for job in plan(["seed=1,1,2"], None, ()).combinations] == [
        ["seed=1"],
        ["seed=2"],
    ]


def test_jobs_side_by_side_share_the_cores_and_say_so_in_their_recipes():
    (alone,) = plan(["model=gru"], None, ()).combinations
    more = f"sweep.parallel={2 * usable_cores()}"
    (beside,) = plan(["model=gru", more], None, ()).combinations

    assert alone.composed.recipe["trainer"]["threads"] is None
    assert beside.composed.recipe["trainer"]["threads"] == 1


def test_jobs_on_machines_of_their_own_share_no_cores():
    settings = {"launcher": "ray", "parallel": 64}

    assert jobs_on_these_cores(settings, []) == 1
    assert jobs_on_these_cores({**settings, "launcher": "local"}, []) == 64


def test_jobs_on_gpus_of_one_machine_share_its_cores(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    settings = {"launcher": "local", "parallel": 1}

    assert jobs_on_these_cores(settings, [Asked(1, "auto"), Asked(2, "auto")]) == 2
    assert jobs_on_these_cores(settings, [Asked(1, "auto"), Asked(None, "auto")]) == 1
    assert jobs_on_these_cores(settings, [Asked(1, "cpu")]) == 1


def test_how_a_sweep_is_run_cannot_be_swept():
    with pytest.raises(
        ValueError, match=r"^sweep\.parallel=2 beside sweep\.parallel=1: a sweep is"
    ):
        plan(["model=gru", "sweep.parallel=1,2"], None, ())


def test_combinations_come_in_the_order_as_typed():
    typed = ["model=rnn,lstm", "trainer.max_steps=5", "seed=range(2)", "data.files='a,b'"]

    assert [c[0::2] for c in grid(typed).combinations] == [
        [model, seed] for model in ("model=rnn", "model=lstm") for seed in ("seed=0", "seed=1")
    ]
    assert {c[3] for c in grid(typed).combinations} == {"data.files='a,b'"}


def test_a_glob_sweeps_over_the_files_of_a_group():
    models = {combination[0] for combination in grid(["model=glob(*)"]).combinations}

    assert {"model=rnn", "model=lstm", "model=gru", "model=transformer"} <= models


def test_every_combination_is_checked_and_keeps_its_own_recipe():
    planned = plan(["model=rnn,gru", "seed=3,4"], None, ()).combinations

    found = [(job.composed.recipe["model"]["cell"], job.composed.recipe["seed"]) for job in planned]
    assert found == [("rnn", 3), ("rnn", 4), ("gru", 3), ("gru", 4)]


def test_a_sweep_of_one_combination_is_a_run_like_any_other():
    planned = plan(["model=gru"], None, ()).combinations

    assert [job.overrides for job in planned] == [[]]
    assert planned[0].composed.recipe == recipe.compose(["model=gru"])
