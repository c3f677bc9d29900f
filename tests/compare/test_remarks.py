"""Sentences about many groups or runs name six of them."""

import pytest
from made_runs import SIGNATURE, make_run, recipe

from lmexp.compare.comparing import compared
from lmexp.compare.remarks import listed
from lmexp.compare.runs import find_runs
from lmexp.sweep.manifest import Job, write_job


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def result(path):
    return compared(find_runs([path]))


def remarks(found, *words):
    return [line for line in found.remarks if all(word in line for word in words)]


def test_a_list_names_six_and_says_how_many_more():
    names = list("abcdefgh")

    assert listed(names[:6]) == "a, b, c, d, e, f"
    assert listed(names) == "a, b, c, d, e, f and 2 more"


def test_many_runs_that_stand_alike_are_one_remark(here):
    make_run(here / "runs/a", {"test/loss": 1.0})
    for place in range(7):
        make_run(here / f"runs/{place}", {}, summary={"status": "stopped"})

    assert result("runs").remarks[0] == (
        "runs/0, runs/1, runs/2, runs/3, runs/4, runs/5 and 1 more are left out: stopped"
    )


def test_of_many_groups_a_remark_names_six(here):
    signature = SIGNATURE | {"eval.context": 9}
    for place in range(9):
        own = recipe(optimizer__lr=place + 1)
        other = SIGNATURE if place == 0 else signature
        make_run(here / f"runs/{place}", {"test/loss": 2}, own_recipe=own, signature=other)

    found = result("runs")

    names = [f"optimizer.lr={place + 1}" for place in range(9)]
    assert f"{', '.join(names[:6])} and 3 more: one seed has no spread" in found.remarks[-1]
    assert remarks(found, f"{', '.join(names[1:7])} and 2 more must not be", "their eval.context")


def test_of_many_runs_that_failed_in_other_ways_six_are_named(here):
    jobs = [
        Job(f"{place}", [f"a={place}"], status="failed", cause="error", error=f"no {place}")
        for place in range(9)
    ]
    make_run(here / "cells/fine", {"test/loss": 1.0})
    for job in jobs:
        write_job(job, make_run(here / "cells" / job.folder, {}))

    found = result("cells").remarks

    assert found[0] == "cells/0 is left out: failed (error: no 0)"
    assert found[5:7] == [
        "cells/5 is left out: failed (error: no 5)",
        "others are left out: failed, of 3 more causes",
    ]


def test_a_group_whose_trainings_broke_down_is_named(here):
    broken = {"breakdown/step": 400, "breakdown/lowest": 0.45, "breakdown/highest": 0.674}
    for seed in (1, 2, 3):
        make_run(here / f"runs/a{seed}", {"test/loss": 1.0}, own_recipe=recipe(seed))
        own = recipe(seed, optimizer__lr=0.1)
        summary = broken if seed > 1 else {}
        make_run(here / f"runs/b{seed}", {"test/loss": 2.0}, own_recipe=own, summary=summary)

    (found,) = remarks(result("runs"), "broke down")

    assert "trainings of optimizer.lr=0.1 (2 of 3) broke down, in the first " in found
    assert "rose from 0.45 to 0.674 after step 400" in found
    assert "try a lower optimizer.lr or more schedule.warmup_steps" in found
