"""Searches: what is searched and pruned, and that an interruption changes nothing of either."""

import re
import shutil

import optuna
import pytest
from simulated_search import SETTINGS, STEPS, Simulated, best, loss, simulated  # noqa: F401

from lmexp.forwarding import Forwarder
from lmexp.grid import Dimension, grid
from lmexp.run_folder import read_recipe
from lmexp.sweep import planning, queue
from lmexp.sweep.launching import begin, run_all
from lmexp.sweep.manifest import Manifest
from lmexp.sweep.planning import plan, studies_of
from lmexp.sweep.queue import Trials
from lmexp.sweep.search import Search


def study_of(manifest: Manifest) -> optuna.Study:
    return optuna.load_study(
        study_name="study", storage=f"sqlite:///{manifest.folder / 'studies.db'}"
    )


@pytest.mark.parametrize("pruner", ["median", "halving"])
def test_pruning_saves_two_steps_in_five_at_an_equal_best_value(pruner, search):
    whole, every = search("whole")
    pruned, some = search("pruned", pruner=pruner)

    assert whole.steps == 24 * STEPS
    assert pruned.steps <= 0.6 * whole.steps
    assert best(some) == best(every)
    assert best(every) < 0.1  # two dozen draws over six decades come close to the optimum
    assert {job.status for job in some.jobs} == {"finished", "pruned"}


def test_a_model_of_the_space_comes_closer_than_draws(search):
    _, drawn = search("drawn")
    _, modelled = search("modelled", sampler="tpe")

    assert best(modelled) < best(drawn)


@pytest.mark.parametrize(("repeats", "started"), [(False, 2), (True, 8)])
def test_a_recipe_that_another_trial_has_finished_is_not_trained_again(repeats, started, search):
    rates = Dimension("optimizer.lr", choices=("1e-3", "1e-2"))

    launcher, manifest = search("few", trials=8, space=rates, repeat=repeats)

    assert launcher.started == started  # of eight draws of two values
    assert [job.status for job in manifest.jobs] == ["finished"] * 8
    assert len({manifest.folder_of(job).resolve() for job in manifest.jobs}) == started
    told = {}
    for trial in study_of(manifest).trials:
        told.setdefault(trial.params["optimizer.lr"], set()).add(trial.value)
    assert told == {rate: {loss(float(rate), STEPS)} for rate in ("1e-3", "1e-2")}


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_an_interrupted_study_goes_on_with_no_trial_lost(sampler, search):
    _, whole = search("whole", sampler=sampler, pruner="median", trials=12)
    _, killed = search(
        "killed", sampler=sampler, pruner="median", trials=12, kills=(7, 23, 1, 0, 40)
    )

    assert [job.overrides for job in killed.jobs] == [job.overrides for job in whole.jobs]
    assert [job.status for job in killed.jobs] == [job.status for job in whole.jobs]
    assert [job.trial for job in killed.jobs] == list(range(12))
    for one, other in zip(whole.jobs, killed.jobs, strict=True):
        records = [
            (manifest.folder / job.folder / "metrics.jsonl").read_text()
            for manifest, job in ((whole, one), (killed, other))
        ]
        assert records[0] == records[1]


def test_a_trial_that_was_asked_for_and_never_became_a_job_is_replaced(search, tmp_path):
    _, manifest = search("first", trials=3)
    study_of(manifest).ask()

    manifest.settings["search"]["trials"] = 5
    manifest.write()
    again = Manifest.read(manifest.folder)
    run_all(again, Trials(again), Simulated(again), Forwarder())

    assert [job.trial for job in again.jobs] == [0, 1, 2, 4, 5]
    assert all(job.status == "finished" for job in again.jobs)


def test_several_generations_fit_into_a_short_search(search):
    _, manifest = search("bred", sampler="nsgaii", trials=20, startup_trials=5)

    attributes = [trial.system_attrs for trial in study_of(manifest).trials]
    generations = [own["NSGAIISampler:generation"] for own in attributes]
    assert generations == [place // 5 for place in range(20)]


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "studies.db knows 0 trials, and the sweep 2: put"), (b"x" * 5000, "cannot be read (")],
)
def test_a_database_that_was_lost_is_told_in_one_line(content, message, search):
    _, manifest = search("whole", trials=2)
    file = manifest.folder / "studies.db"
    file.write_bytes(content) if content is not None else file.unlink()

    with pytest.raises(ValueError, match=re.escape(message)):
        Trials(Manifest.read(manifest.folder))


def test_seeds_draw_trials_of_their_own(search):
    drawn = [
        {job.overrides[0] for job in search(f"seed {seed}", seed=seed)[1].jobs} for seed in range(3)
    ]

    assert [len(own) for own in drawn] == [24] * 3
    assert len(set().union(*drawn)) == 3 * 24


def test_another_trial_is_asked_for_in_place_of_one_that_failed(search):
    _, manifest = search("failing", trials=6, fails=lambda place: place in (1, 2))
    _, hopeless = search("hopeless", trials=3, fails=lambda place: True)

    assert [job.status for job in manifest.jobs] == [
        *("finished", "failed", "failed"),
        *["finished"] * 5,
    ]
    assert [job.status for job in hopeless.jobs] == ["failed"] * 6  # and no more
    assert Trials(manifest).is_whole
    assert not Trials(hopeless).is_whole


def test_studies_take_turns(search):
    _, manifest = search("two", studies=(("model=gru",), ("model=lstm", "name='a b'")), trials=2)

    assert [(job.study, job.trial) for job in manifest.jobs] == [
        ("model=gru", 0),
        ("model=lstm name='a b'", 0),
        ("model=gru", 1),
        ("model=lstm name='a b'", 1),
    ]
    assert manifest.jobs[1].overrides[:2] == ["model=lstm", "name='a b'"]


def test_a_trial_that_cannot_be_composed_is_a_failed_one(search, monkeypatch):
    def refuse(*_):
        raise ValueError("conf/model/gru.yaml: model.d_model=0 is not at least 1")

    monkeypatch.setattr(queue, "frozen_recipe", refuse)

    _, manifest = search("refused", trials=2)

    assert [(job.status, job.cause) for job in manifest.jobs] == [("failed", "error")] * 4
    assert "model.d_model=0" in str(manifest.jobs[0].error)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("a=interval(1e-4,1e-2)", Dimension("a", 1e-4, 1e-2)),
        ("a=tag(log,interval(1e-4,1e-2))", Dimension("a", 1e-4, 1e-2, is_log=True)),
        ("a=tag(log,int(interval(4,64)))", Dimension("a", 4, 64, 1, is_log=True)),
        ("a=range(1,10,4)", Dimension("a", 1, 9, 4)),
        ("a=range(9,0,-4)", Dimension("a", 1, 9, 4)),
        ("a=choice(x,'y z')", Dimension("a", choices=("x", "y\\ z"))),
        ("a=range(0.25,0.9,0.25)", Dimension("a", choices=("0.25", "0.5", "0.75"))),
    ],
)
def test_ranges_and_choices_are_dimensions_of_a_search(typed, expected):
    found = grid([typed, "seed=1,2", "b=3"], searches=True)

    assert found.space == [expected]
    assert found.combinations == [["seed=1", "b=3"], ["seed=2", "b=3"]]


def test_what_is_typed_replaces_a_dimension_of_the_file():
    written = {"a": "interval(0,1)", "b": "choice(x,y)", "c": "range(3)"}

    found = grid(["a=interval(2,3)", "b=x"], searches=True, space=written)

    assert [dimension.key for dimension in found.space] == ["a", "c"]
    assert found.space[0].low == 2


def test_a_plan_of_a_search_has_its_studies_objectives_and_space():
    typed = ["sweep=lr", "model=gru,lstm", "data=sst2", "sweep.parallel=2"]

    studies = studies_of(plan(typed, None, ()))

    assert [study.name for study in studies] == ["model=gru", "model=lstm"]
    assert studies[0].objectives == [["best/accuracy", "val/accuracy", "maximize"]]
    assert [own[0] for own in studies[0].space] == ["optimizer.lr", "schedule.warmup_steps"]
    assert "trainer.threads=1" in studies[1].overrides


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["optimizer.lr=interval(1,2)"], "add sweep=search to search in it"),
        (
            ["sweep=search", "model.num_layers=tag(log,range(1,17,2))"],
            "steps that are equal are not so in the logarithm: write tag(log,interval(low,high))",
        ),
        (["sweep=search"], "nothing is searched: write for example"),
        (["sweep=search", "model.d_model=int(interval(-8,64))"], "model.d_model=-8"),
        (["sweep=search", "model.num_layers=choice(1,two)"], "model.num_layers=two"),
        (["sweep=search", "optimizer.rl=interval(1,2)"], "AdamW takes no 'rl'"),
        (["sweep=lr", "sweep.search.trials=0"], "sweep.search.trials=0"),
        (["sweep=lr", "sweep.search.sampler=tep"], "sweep.search.sampler=tep"),
        (["sweep=lr", "sweep.search.space.seed='3'"], "'3' of seed is one value"),
        (["sweep=search", "sweep.search.space={seed: 3}"], "3 of seed is no text: write the whole"),
        (
            ["sweep=lr", "sweep.search.space.seed='in(1'"],
            "'in(1' of seed cannot be read: write int",
        ),
        (["sweep=lr", "sweep.search.objectives=[best/loss,parameters]"], "cannot weigh 2"),
        (["sweep=lr", "sweep.search.directions=[minimize,minimize]"], "are 2, of 1"),
    ],
)
def test_mistakes_in_a_search_are_refused_before_itbegins(typed, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        plan(typed, None, ())


def test_objectives_and_their_directions_go_together():
    fixed = {**SETTINGS, "objectives": ["best/loss", "parameters"]}

    assert Search(**fixed).objectives == ["best/loss", "parameters"]
    with pytest.raises(ValueError, match="name one, or leave it null"):
        Search(**{**SETTINGS, "objectives": []})
    with pytest.raises(ValueError, match="name each once"):
        Search(**{**fixed, "objectives": ["best/loss", "best/loss"]})


def test_trials_are_composed_from_frozen_files_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(planning, "_build_sizes", lambda _: None)  # which takes seconds
    own = tmp_path / "my_conf" / "model"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("defaults: [gru]\nd_model: 4\n")
    typed = ["model=mine", "data=ptb", "sweep=search", "sweep.search.trials=1"]
    planned = plan([*typed, "optimizer.lr=tag(log,interval(1e-3,1e-1))"], "my_conf", ())
    place = tmp_path / "place"
    place.mkdir()
    manifest = begin(planned, place, "my_conf")
    shutil.rmtree(tmp_path / "my_conf")  # nothing of it is read again

    trial = Trials(manifest).next()

    recipe = read_recipe(place / trial.folder)
    assert trial.error is None
    assert recipe["model"]["d_model"] == 4
    assert trial.overrides == [f"optimizer.lr={recipe['optimizer']['lr']!r}"]
    assert 1e-3 <= recipe["optimizer"]["lr"] <= 1e-1
    assert (place / "studies.db").is_file()
