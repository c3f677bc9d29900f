"""A sweep over several data sets: each has its own baseline, and one correction is over all."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from made_runs import SIGNATURE, make_run, recipe, write_text_scores

from lmexp.__main__ import main
from lmexp.compare.comparing import compared
from lmexp.compare.files import as_latex
from lmexp.compare.importance import importance
from lmexp.compare.page_tables import tables
from lmexp.compare.runs import find_runs
from lmexp.compare.seeds import difference, holm
from lmexp.sweep.manifest import Job, Manifest, write_job

FIGURES = {  # by cell and data: losses of three seeds
    ("lstm", "ptb"): (4.1, 4.12, 4.08),
    ("lstm", "wikitext2"): (5.0, 5.1, 5.05),
    ("gru", "ptb"): (4.0, 4.02, 4.01),
    ("gru", "wikitext2"): (5.3, 5.41, 5.37),
    ("rnn", "ptb"): (4.11, 4.13, 4.08),
}
HASHES = {"ptb": "a" * 64, "wikitext2": "b" * 64}
UNITS = {"ptb": "document", "wikitext2": "line"}  # of few documents the lines are examples
LSTM = {name: f"model=lstm data={name}" for name in HASHES}


def sweep(folder, figures=FIGURES, hashes=HASHES):
    """A finished sweep of cells and data, each with a tokenizer of its own."""
    jobs = []
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for (cell, data), own in figures.items():
        for seed, loss in enumerate(own, start=1):
            typed = [f"model={cell}", f"data={data}", f"seed={seed}"]
            jobs.append(Job(f"{len(jobs):02}", typed, status="finished"))
            run = folder / jobs[-1].folder
            size = 256 + list(hashes).index(data)
            made = recipe(seed, model__cell=cell, data__max_length=size)
            nats = rng.normal(0, 0.1, 40)
            nats += loss - nats.mean()
            signature = SIGNATURE | {"data_hash": hashes[data], "tokenizer_hash": data * 9}
            make_run(run, {"test/loss": loss}, own_recipe=made, summary={"tokens": 10.0 * seed})
            write_text_scores(run, nats, signature, unit=UNITS.get(data, "document"))
            write_job(jobs[-1], run)
    Manifest(folder, jobs, {}, "code").write()
    return folder


@pytest.fixture
def cells(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    return sweep(tmp_path / "cells")


def result(**options):
    return compared(find_runs(["cells"]), **options)


def of_group(found, name):
    return next(group for group in found.groups if group.name == name)


def test_each_data_set_has_the_counterpart_of_the_baseline(cells):
    found = result()

    assert {group.name: group.baseline for group in found.groups} == {
        "model=lstm data=ptb": LSTM["ptb"],
        "model=gru data=ptb": LSTM["ptb"],
        "model=rnn data=ptb": LSTM["ptb"],
        "model=lstm data=wikitext2": LSTM["wikitext2"],
        "model=gru data=wikitext2": LSTM["wikitext2"],
    }
    assert list(found.by_baseline) == list(LSTM.values())  # and so the groups stand together
    assert not any(group.mismatches for group in found.groups)
    assert (found.baseline, found.figure) == (LSTM["ptb"], "test/loss")
    other = of_group(found, "model=gru data=wikitext2")
    expected = difference((5.0, 5.1, 5.05), (5.3, 5.41, 5.37), 0.95)
    assert other.row.against == expected
    assert other.over_examples.difference == pytest.approx(expected.difference)
    assert (other.examples, other.unit) == (40, "line")
    assert of_group(found, "model=gru data=ptb").unit == "document"


def test_one_correction_is_over_the_comparisons_of_all_data_sets(cells):
    found = result()

    groups = [group for group in found.groups if group.name != group.baseline]
    by_seeds = holm([group.row.against.p for group in groups])
    by_examples = holm([group.over_examples.p_bootstrap for group in groups])
    assert len(groups) == 3
    assert [group.row.p_corrected for group in groups] == by_seeds
    assert [group.over_examples.p_bootstrap_corrected for group in groups] == by_examples


def test_where_the_baseline_has_no_counterpart_the_first_group_of_the_data_is_it(cells):
    found = result(baseline="model=rnn")

    assert list(found.by_baseline) == ["model=rnn data=ptb", LSTM["wikitext2"]]
    assert [group.name for group in found.by_baseline["model=rnn data=ptb"]] == [
        f"model={cell} data=ptb" for cell in ("lstm", "gru", "rnn")
    ]


def test_a_baseline_that_is_named_by_its_model_is_that_of_every_data_set(cells):
    assert list(result(baseline="model=gru").by_baseline) == [
        *("model=gru data=ptb", "model=gru data=wikitext2")
    ]


def test_two_names_of_equal_data_are_one_data_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    figures = {("lstm", "ptb"): (4.1,), ("lstm", "copy"): (4.2,)}
    sweep(tmp_path / "cells", figures, {"ptb": "a" * 64, "copy": "a" * 64})

    assert list(result(metric="test/loss").by_baseline) == [LSTM["ptb"]]


def test_other_data_under_one_name_are_refused_as_ever(cells):
    for job in ("06", "07", "08"):  # model=gru data=ptb
        nats = np.full(40, FIGURES["gru", "ptb"][int(job) - 6])
        signature = SIGNATURE | {"data_hash": "c" * 64, "tokenizer_hash": "ptb" * 9}
        write_text_scores(cells / job, nats, signature)

    found = result()

    gru = of_group(found, "model=gru data=ptb")
    assert ([wrong.field for wrong in gru.mismatches], gru.row) == (["data_hash"], None)
    assert of_group(found, "model=rnn data=ptb").row.verdict == "no difference shown"
    assert of_group(found, "model=gru data=wikitext2").row.verdict == "worse"


def test_every_output_says_what_a_group_is_compared_with(cells, capsys):
    assert main(["compare", "cells", "--csv", "t.csv", "--json", "t.json"]) == 0

    out = " ".join(capsys.readouterr().out.split())  # long titles fold
    for data, name in LSTM.items():
        assert f"test/loss (less is better), over seeds, against {name} " in out
        assert f"over {UNITS[data]}s, of these trained models alone against {name} " in out
    assert "there are 2 data sets, whose figures do not compare" in out
    rows = list(csv.DictReader(io.StringIO(Path("t.csv").read_text())))
    assert [row["baseline"] for row in rows] == [LSTM["ptb"]] * 3 + [LSTM["wikitext2"]] * 2
    groups = json.loads(Path("t.json").read_text())["groups"]
    assert [group["baseline"] for group in groups] == [row["baseline"] for row in rows]


def test_latex_and_page_say_it_too(cells):
    found = result()

    text = as_latex(found)
    by_name = {table.name: table for table in tables(found)}
    for name in LSTM.values():
        assert rf"\multicolumn{{11}}{{l}}{{against {name}}} \\" in text
    for name in ("groups", "examples"):
        place = by_name[name].columns.index("against")
        assert {row[0].text: row[place].text for row in by_name[name].rows} == {
            group.name: group.baseline
            for group in found.groups
            if name == "groups" or group.name != group.baseline
        }
    place = by_name["examples"].columns.index("n")
    assert [row[place].text for row in by_name["examples"].rows] == [
        *("40 documents", "40 documents"),
        "40 lines",
    ]


def test_importance_is_said_of_each_data_set(cells):
    ptb, wikitext2 = importance(result())

    assert "over 9 runs with the data of model=lstm data=ptb" in ptb.of
    assert "over 6 runs with the data of model=lstm data=wikitext2" in wikitext2.of
    assert [own.key for own in (*ptb.shares, *wikitext2.shares)] == ["model", "model"]
