"""Searches with several objectives: their Pareto front, and what is refused."""

import math
import re
import signal
import time

import optuna
import pytest
from simulated_search import OBJECTIVES, best, simulated  # noqa: F401
from test_sweep import SMALL, folder, manifest, start  # noqa: F401

from lmexp.__main__ import main
from lmexp.record_files import read_summary
from lmexp.sweep.front import Trial, finished_trials, front
from lmexp.sweep.manifest import Job, Manifest, Outline
from lmexp.sweep.planning import plan, studies_of

SEVERAL = ("sweep=lr", "sweep.search.pruner=none")


def test_what_is_better_is_known_of_objectives():
    figures = "[best/loss,test/loss,best/accuracy,parameters,tokens_per_second]"

    (study,) = studies_of(plan([*SEVERAL, f"sweep.search.objectives={figures}"], None, ()))

    found = [direction for _, _, direction in study.objectives]
    assert found == [*("minimize", "minimize", "maximize"), *("minimize", "maximize")]


def test_several_objectives_have_a_front_that_an_interruption_does_not_change(search, capsys):
    _, whole = search("whole", objectives=OBJECTIVES, trials=12)
    _, killed = search("killed", objectives=OBJECTIVES, trials=12, kills=(7, 23, 1, 0, 40))

    for found in (whole, killed):
        trials = finished_trials(found, found.studies[0])
        values = [tuple(trial.values) for trial in trials]
        expected = {  # of the definition: nobody is as good in both, and better in one
            one
            for one in values
            if not any(a <= one[0] and b <= one[1] and (a, b) != one for a, b in values)
        }
        kept = [tuple(trial.values) for trial in front(trials, found.studies[0])]
        study = optuna.load_study(
            study_name="study", storage=f"sqlite:///{found.folder / 'studies.db'}"
        )
        assert len(values) == 12
        assert 1 < len(kept) < 12
        assert kept == sorted(expected)
        assert {tuple(trial.values) for trial in study.best_trials} == expected
    assert [job.overrides for job in killed.jobs] == [job.overrides for job in whole.jobs]


def test_status_shows_the_front_of_several_objectives_and_the_best_of_one(search, capsys):
    _, two = search("two", objectives=OBJECTIVES, trials=6)
    _, one = search("one", trials=6)
    best_of_two = front(finished_trials(two, two.studies[0]), two.studies[0])

    assert main(["sweep", "status", str(two.folder)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert main(["sweep", "status", str(one.folder)]) == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if "best of" in line]

    start = said.index(f"Pareto front of study, {len(best_of_two)} of 6 finished trials:")
    assert said[start + 1 :] == [
        f"  best/loss={loss_:.6g}, parameters={size:.6g} with {' '.join(job.overrides)}"
        for job, (loss_, size) in best_of_two
    ]
    assert line.startswith(f"best of study: best/loss={best(one):.6g} with optimizer.lr=")


def test_directions_decide_what_dominates():
    jobs = [Job(str(place), []) for place in range(4)]
    values = ([1.0, 5.0], [2.0, 7.0], [2.0, 6.0], [1.0, 5.0])
    trials = [Trial(job, own) for job, own in zip(jobs, values, strict=True)]
    outline = Outline("study", [], [], [["a", None, "minimize"], ["b", None, "maximize"]], [])

    # 2, 6 is no better than 2, 7 in a and worse in b; 1, 5 twice is as good as itself
    assert [trial.values for trial in front(trials, outline)] == [[1, 5], [1, 5], [2, 7]]


def test_a_trial_whose_objective_is_not_finite_is_a_failed_one(search, capsys, monkeypatch):
    monkeypatch.setattr("simulated_search.loss", lambda *_: math.nan)

    _, manifest = search("lacking", trials=1)

    assert "not all of best/loss are finite figures" in capsys.readouterr().err
    assert [(job.status, job.cause) for job in manifest.jobs] == [("failed", "not finite")] * 2
    assert finished_trials(manifest, manifest.studies[0]) == []


def test_a_search_of_what_no_run_has_ends_with_its_first_trial(search):
    objectives = [*OBJECTIVES[:1], ["best/water", None, "minimize"]]

    with pytest.raises(ValueError, match=r"has no best/water, but best/loss: launch a search of"):
        search("lacking", objectives=objectives, trials=3)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("sweep.search.objectives=[best/loss,flops]", "did you mean flops_per_token?"),
        ("sweep.search.objectives=[best/loss,nope/loss]", "a summary has no 'nope/loss'"),
        ("sweep.search.objectives=[best/loss,best/water]", "more of best/water is better"),
    ],
)
def test_objectives_that_no_run_has_or_without_a_direction_are_refused(typed, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        plan([*SEVERAL, typed], None, ())


@pytest.mark.slow
def test_a_search_with_two_objectives_is_stopped_resumed_and_shows_its_front(folder):  # noqa: F811
    typed = ["sweep=search", "sweep.search.trials=4", "sweep.search.pruner=none", "sweep.name=two"]
    typed += ["sweep.search.objectives=[best/loss,parameters]", "data.files=text.txt"]
    typed += ["model.d_model=choice(4,16)", "optimizer.lr=tag(log,interval(1e-3,1e-1))"]
    small = [word for word in SMALL if not word.startswith("model.d_model=")]
    process = start(folder, *typed, small=small)
    while not any(job["status"] == "finished" for job in manifest(folder)):
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM, err
    known = [job["overrides"] for job in manifest(folder)]

    again = start(folder, "resume", "two", program=("-m", "lmexp", "sweep"), small=())
    out, err = again.communicate()
    status = start(folder, "status", "two", program=("-m", "lmexp", "sweep"), small=())
    shown, _ = status.communicate()

    assert again.returncode == 0, err
    (sweep,) = folder.glob("logs/sweeps/two/*")
    jobs = Manifest.read(sweep).jobs
    assert [job.status for job in jobs] == ["finished"] * 4
    assert [job.overrides for job in jobs][: len(known)] == known
    summaries = [read_summary(sweep / job.folder) for job in jobs]
    values = [(summary["best/loss"], summary["parameters"]) for summary in summaries]
    expected = sorted(
        one
        for one in values
        if not any(a <= one[0] and b <= one[1] and (a, b) != one for a, b in values)
    )
    lines = [f"  best/loss={loss:.6g}, parameters={size:.6g} with " for loss, size in expected]
    for text in (out, shown):
        found = text.splitlines()
        start_ = found.index(f"Pareto front of study, {len(expected)} of 4 finished trials:")
        assert [line.partition("model.")[0] for line in found[start_ + 1 :]] == lines
