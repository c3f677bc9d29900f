"""Which runs paths mean, and what is read of them."""

import json
import os
from dataclasses import replace

import pytest
from made_runs import make_run, make_sweep, recipe

from lmexp.__main__ import main
from lmexp.compare.runs import Cost, find_runs
from lmexp.sweep.manifest import Job, Manifest, write_job


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def folders(*paths):
    return [os.path.relpath(run.folder) for run in find_runs([str(path) for path in paths])]


def test_a_sweep_is_meant_by_its_folder_its_parent_and_its_name_the_newest(here):
    for time in ("2026-01-01", "2026-01-02"):
        make_sweep(here / f"logs/sweeps/cells/{time}", {"model=lstm": [1.0, 2.0]})
    newest = [f"logs/sweeps/cells/2026-01-02/0{job}" for job in (0, 1)]

    assert folders("logs/sweeps/cells") == newest
    assert folders("cells") == newest
    assert folders("logs/sweeps") == newest
    assert folders("logs/sweeps/cells/2026-01-01")[0] == "logs/sweeps/cells/2026-01-01/00"


def test_runs_are_meant_by_their_folders_their_files_and_folders_above(here):
    for name in ("a/1", "a/2", "b/1"):
        make_run(here / "logs/runs" / name, {"test/loss": 1.0})
    (here / "logs/runs/b/1/checkpoints").mkdir()
    (here / "logs/runs/b/1/checkpoints/best.ckpt").write_text("")

    assert folders("logs/runs") == ["logs/runs/a/1", "logs/runs/a/2", "logs/runs/b/1"]
    assert folders("logs/runs/b", "logs/runs/a/2") == ["logs/runs/b/1", "logs/runs/a/2"]
    assert folders("logs/runs/b/1/checkpoints/best.ckpt") == ["logs/runs/b/1"]


def test_a_job_that_was_taken_over_is_read_where_it_ran(here):
    first = make_sweep(here / "sweeps/cells/1", {"model=lstm": [1.5]})
    taken = replace(Manifest.read(first).jobs[0], taken_from="../1/00")
    (here / "sweeps/cells/2").mkdir()
    Manifest(here / "sweeps/cells/2", [taken], {}, "code").write()

    [run] = find_runs([str(here / "sweeps/cells/2")])

    assert (run.folder.resolve(), run.figures) == (first / "00", {"test/loss": 1.5})
    assert len(find_runs([str(first), str(here / "sweeps/cells/2")])) == 1  # once for both


def test_a_run_has_status_cause_seed_overrides_and_cost(here):
    make_sweep(here / "cells", {"model=lstm": [1.0, 2.0]})
    failed = Job("01", ["model=lstm", "seed=2"], status="failed", cause="killed", error="SIGKILL")
    write_job(failed, here / "cells/01")

    good, bad = find_runs(["cells"])

    assert (good.status, good.seed, good.overrides) == ("finished", 1, ("model=lstm", "seed=1"))
    assert (bad.status, bad.cause, bad.error) == ("failed", "killed", "SIGKILL")
    assert good.cost == Cost(60.0, 1000.0, 100.0, 2e6, flops=3e9, peak_memory_bytes=2**30)


@pytest.mark.parametrize(
    ("summary", "status"),
    [("running", "interrupted"), ("failed", "failed"), ("stopped", "stopped")],
)
def test_a_run_by_itself_stands_as_its_summary_says_unless_nobody_runs_it(here, summary, status):
    make_run(here / "a", {}, summary={"status": summary})

    assert find_runs(["a"])[0].status == status


def test_a_run_that_never_began_and_one_that_has_gone_say_so(here):
    make_run(here / "a", {})
    (here / "a/summary.json").unlink()
    Manifest(here, [Job("b", ["seed=1"], status="finished")], {}, "code").write()

    assert find_runs(["a"])[0].status == "not begun"
    assert find_runs(["."])[0].status == "gone"


def test_figures_are_numbers_of_tests_and_best_validations(here):
    make_run(here / "a", {"test/bleu": 30, "test/bleu_signature": "x", "best/loss": 1.5})

    assert find_runs(["a"])[0].figures == {"test/bleu": 30.0, "best/loss": 1.5}


def test_what_is_no_run_is_said_in_one_line(here):
    (here / "empty").mkdir()
    (here / "file.txt").write_text("")
    make_run(here / "a", {})
    make_run(here / "broken", {})
    (here / "broken/summary.json").write_text("{")

    with pytest.raises(FileNotFoundError, match="empty is no run and holds none: looked for"):
        find_runs(["empty"])
    with pytest.raises(FileNotFoundError, match=r"file\.txt lies in no run"):
        find_runs(["file.txt"])
    with pytest.raises(FileNotFoundError, match="there is no folder nowhere, and nowhere is no sw"):
        find_runs(["nowhere"])
    with pytest.raises(ValueError, match=r"^a and \./a: a is given twice$"):
        find_runs(["a", "./a"])
    with pytest.raises(ValueError, match=r"broken: its summary\.json is damaged"):
        find_runs(["broken"])


def test_not_finite_figures_are_read_as_such(here):
    make_run(here / "a", {"test/loss": "nan"}, own_recipe=recipe(seed=3))

    [run] = find_runs(["a"])

    assert run.seed == 3
    assert str(run.figures["test/loss"]) == "nan"
    assert json.loads((here / "a/summary.json").read_text())["test/loss"] == "nan"


@pytest.mark.parametrize("damaged", ["{", "[]", '{"folder": "00"}', '{"colour": 1}'])
def test_a_damaged_job_is_one_line(here, capsys, damaged):
    make_sweep(here / "cells", {"model=lstm": [1.0]})
    (here / "cells/00/job.json").write_text(damaged)

    for given in ("cells", "cells/00"):  # of a sweep, and by itself
        assert main(["compare", given]) == 2

        said = capsys.readouterr().err
        assert said.startswith("lmexp: cells/00/job.json cannot be read (")
        assert said.count("\n") == 1
