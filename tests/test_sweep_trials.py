"""Trials as processes of their own: kills while one is composed, devices, and what is read of it.

The composer and the trials are a small program here; search, launcher and watch are lmexp's.
"""

import json
import os
import re
import shutil
import sys
import textwrap

import pytest
from simulated_search import OBJECTIVES, RATE, SETTINGS, STEPS, Killed, loss

from lmexp.forwarding import Forwarder
from lmexp.run_folder import read_recipe
from lmexp.sweep import code, launching, queue, search, study
from lmexp.sweep.launchers import Local, jobs_at_once
from lmexp.sweep.launching import resume
from lmexp.sweep.manifest import Job, Manifest, Outline, recipe_hash
from lmexp.sweep.planning import plan, studies_of
from lmexp.sweep.queue import Trials
from lmexp.sweep.watch import Task

PROGRAM = """
    import json, os, pathlib, sys
    words = sys.argv[sys.argv.index("lmexp") + 1 :]
    if words[0] == "train":  # composes
        if pathlib.Path("refuses").exists():
            sys.exit("lmexp: optimizer.lr is refused")
        recipe = {"seed": 1, "logger": {}, "words": words, "session": os.getsid(0)}
        recipe["directory"] = os.getcwd()
        print(json.dumps(recipe))
    else:
        folder = pathlib.Path(words[words.index("--folder") + 1])
        (folder / "summary.json").write_text('{"best/loss": 1.5}')
        (folder / "directory").write_text(os.getcwd())
    """


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """The folder of a search of two trials, none begun; the program stands in for lmexp."""
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM))
    monkeypatch.setattr(code, "python", lambda _: [sys.executable, str(program)])
    monkeypatch.setattr(launching, "LOOK_SECONDS", 0.01)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "sweep"
    (folder / "code").mkdir(parents=True)
    settings = {"search": {**SETTINGS, "trials": 2}, "parallel": 1, "launcher": "local"}
    settings |= {"options": {}, "minutes": None, "silent_minutes": None}
    outline = Outline(
        *("model=gru", ["data=ptb", "model=gru"], [], OBJECTIVES[:1], [list(RATE)]),
        swept=["model=gru"],
    )
    Manifest(folder, [], settings, "", studies=[outline]).write()
    return folder


@pytest.mark.parametrize("has_folder", [True, False])
def test_a_search_that_was_killed_while_it_composed_a_trial_goes_on_with_that_trial(
    has_folder, sweep, monkeypatch
):
    def killed(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(queue, "frozen_recipe", killed)
        with pytest.raises(Killed):
            Trials(Manifest.read(sweep)).next()
    (asked,) = Manifest.read(sweep).jobs
    if not has_folder:
        (sweep / asked.folder).rmdir()

    assert resume(sweep) == 0

    jobs = Manifest.read(sweep).jobs
    assert [(job.trial, job.status) for job in jobs] == [(0, "finished"), (1, "finished")]
    assert jobs[0].overrides == asked.overrides
    recipe = read_recipe(sweep / jobs[0].folder)
    assert recipe["words"][-3:] == ["data=ptb", *asked.overrides]
    assert jobs[0].recipe_hash == recipe_hash(recipe)


def test_a_search_goes_on_after_a_trial_that_could_not_be_composed(sweep, tmp_path):
    (tmp_path / "refuses").touch()
    job = Trials(manifest := Manifest.read(sweep)).next()
    manifest.write()
    assert (job.status, job.error) == ("failed", "optimizer.lr is refused")
    (tmp_path / "refuses").unlink()

    assert resume(sweep) == 0

    assert [job.status for job in Manifest.read(sweep).jobs] == ["failed", *["finished"] * 2]


def test_a_signal_of_the_terminal_does_not_reach_the_composer(sweep):
    assert search.frozen_recipe(Manifest.read(sweep), [], [])["session"] != os.getsid(0)


def test_a_sweep_goes_on_where_it_was_launched_whoever_resumes_it(sweep, tmp_path, monkeypatch):
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")

    assert resume(sweep) == 0

    jobs = Manifest.read(sweep).jobs
    assert len(jobs) == 2
    for job in jobs:
        assert read_recipe(sweep / job.folder)["directory"] == str(tmp_path)
        assert (sweep / job.folder / "directory").read_text() == str(tmp_path)


@pytest.mark.parametrize("taken_from", ["../1/0", None])
def test_a_finished_job_whose_folder_is_gone_is_a_failed_one(taken_from, tmp_path, capsys):
    run = tmp_path / ("1/0" if taken_from else "2/0")
    run.mkdir(parents=True)
    (tmp_path / "2" / "code").mkdir(parents=True)
    (run / "recipe.yaml").write_text("{trainer: {devices: 1, strategy: auto}}")
    done = Job("0", [], status="finished", taken_from=taken_from, seconds=2.0)
    other = Job("1", [], status="finished", taken_from="../1/1")  # which is there
    settings = {"search": None, "parallel": 1, "launcher": "local", "options": {}}
    settings |= {"minutes": None, "silent_minutes": None}
    (tmp_path / "1" / "1").mkdir(parents=True)
    (tmp_path / "1" / "1" / "recipe.yaml").touch()
    Manifest(tmp_path / "2", [done, other], settings, "").write()

    assert resume(tmp_path / "2") == 0
    shutil.move(run, tmp_path / "away")
    assert resume(tmp_path / "2") == 1
    said = capsys.readouterr().err
    assert re.search(r"/2/0: error: .*/0/recipe\.yaml is gone: launch the sweep again", said)
    assert [job.status for job in Manifest.read(tmp_path / "2").jobs] == ["failed", "finished"]


def test_a_sweep_whose_frozen_code_was_edited_is_not_gone_on_with(sweep):
    manifest = Manifest.read(sweep)
    manifest.code_hash = code.hash_of(sweep / "code")
    manifest.write()
    (sweep / "code" / ".nfs0001").touch()  # which nobody has edited
    assert resume(sweep) == 0

    (sweep / "code" / "lmexp.py").touch()

    with pytest.raises(ValueError, match="/code has been edited since the launch"):
        resume(sweep)


def test_a_sweep_whose_folder_of_the_launch_is_gone_says_so(sweep, tmp_path, monkeypatch, capsys):
    manifest = Manifest.read(sweep)
    manifest.directory = str(tmp_path / "gone")
    manifest.write()

    assert resume(sweep) == 0

    assert f"{tmp_path}/gone, where this sweep was launched, is gone: " in capsys.readouterr().err
    assert Manifest.read(sweep).directory == str(tmp_path)


@pytest.mark.parametrize(
    ("devices", "visible", "expected"),
    [
        (1, "4,5", ["4", "5"]),
        (2, "4,5,6,7", ["4,5", "6,7"]),
        (2, "4,5", [None]),
        ("auto", "4,5", [None]),  # all of them, by a strategy over all
        (None, "4,5", [None]),  # the search decides
    ],
)
def test_trials_side_by_side_have_devices_of_their_own(
    devices, visible, expected, sweep, monkeypatch
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    manifest = Manifest.read(sweep)
    manifest.studies[0].devices = devices
    given: list[Task] = []
    monkeypatch.setattr("lmexp.sweep.launchers.Watch", lambda task: Started(given, task))

    launcher = Local(manifest, Forwarder())
    for job in (Trials(manifest).next() for _ in expected):
        assert launcher.has_room
        launcher.start(task_of(manifest, job))

    assert not launcher.has_room
    assert [task.environment.get("CUDA_VISIBLE_DEVICES") for task in given] == expected


class Started:
    """A watch that starts nothing."""

    def __init__(self, given: list[Task], task: Task) -> None:
        given.append(task)
        self.job, self.process = task.job, None


def test_as_many_jobs_run_side_by_side_as_there_are_devices_for(sweep, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    manifest = Manifest.read(sweep)
    manifest.studies[0].devices = 1
    assert jobs_at_once(manifest) == 4

    manifest.settings["launcher"] = "submitit"
    assert jobs_at_once(manifest) == manifest.settings["parallel"] == 1


def task_of(manifest: Manifest, job) -> Task:
    return Task(job, str(manifest.folder), str(manifest.folder), None, None, False, {})


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("trainer.devices=2", (2, "cpu")),
        ("trainer.devices=auto", (1, "cpu")),  # as hardware.choose reads it
        ("trainer.strategy=choice(auto,ddp)", (None, "cpu")),
        ("trainer.devices=choice(1,2)", (None, "cpu")),
    ],
)
def test_a_study_says_what_its_trials_run_on(typed, expected):
    words = ["sweep=lr", "data=ptb", "model=gru", "trainer.accelerator=cpu", typed]

    (found,) = studies_of(plan(words, None, ()))

    assert (found.devices, found.accelerator) == expected


def test_a_record_is_read_once_for_each_time_that_it_has_grown(sweep, monkeypatch):
    manifest = Manifest.read(sweep)
    manifest.settings["search"]["pruner"] = "median"
    trials = Trials(manifest)
    job = trials.next()
    job.status = "running"
    record = sweep / job.folder / "metrics.jsonl"
    reads = []
    read = study.read_figure
    monkeypatch.setattr(study, "read_figure", lambda *asked: reads.append(asked) or read(*asked))

    for step in range(STEPS):
        with record.open("a") as file:
            file.write(json.dumps({"step": step, "val/loss": loss(0.1, step)}) + "\n")
        for _ in range(5):
            trials.look([job])

    assert len(reads) == STEPS
    (trial,) = trials._studies["model=gru"]._study.get_trials()
    assert trial.intermediate_values == {step: loss(0.1, step) for step in range(STEPS)}
