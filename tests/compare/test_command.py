"""The command `compare` as it is typed: what it writes, prints and refuses."""

import csv
import json
import re
import subprocess
import sys
import time

import numpy as np
import pytest
from made_runs import SIGNATURE, make_run, make_sweep, recipe, write_text_scores

from lmexp.__main__ import main
from lmexp.compare.comparing import compared
from lmexp.compare.files import COLUMNS, as_latex, escaped
from lmexp.compare.runs import find_runs

LOSSES = {"model=lstm": [4.1, 4.12, 4.08], "model=gru": [4.6, 4.62, 4.61], "model=rnn": [4.1]}
CURVE = [(10, 5.0), (20, 4.0)]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    return tmp_path


@pytest.fixture
def cells(here):
    rng = np.random.default_rng(0)
    examples = {
        name: [mean + rng.normal(0, 0.1, 60) for mean in own] for name, own in LOSSES.items()
    }
    losses = {name: [float(nats.mean()) for nats in own] for name, own in examples.items()}
    return make_sweep(here / "cells", losses, curve=CURVE, examples=examples)


def run(capsys, *typed):
    status = main(["compare", *map(str, typed)])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_it_prints_quality_over_seeds_and_examples_cost_and_remarks(cells, capsys):
    status, out, _ = run(capsys, "cells")

    lines = [line.split() for line in out.splitlines()]
    assert status == 0
    assert "test/loss (less is better), over seeds, against model=lstm" in out
    [lstm, gru, rnn] = [line for line in lines if line[:1] and line[0] in LOSSES][:3]
    assert (lstm[1], lstm[-1]) == ("3", "baseline")
    assert (gru[0], gru[-1]) == ("model=gru", "worse")
    assert (rnn[1], rnn[-3:]) == ("1", ["too", "few", "seeds"])
    assert "test/loss, over documents, of these trained models alone" in out
    assert ["model=rnn", "1:00", "100", "1.0", "k", "2.0", "M", "3.00e+09", "1.00", "GiB"] in lines
    assert "- model=rnn: one seed has no spread and no test over seeds" in out


def test_a_narrow_terminal_shows_every_word(cells, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")

    _, out, _ = run(capsys, "cells")

    assert "against model=lstm" in out
    assert "baseline" in out
    assert max(len(line) for line in out.splitlines() if not line.startswith("-")) <= 80


def test_it_says_which_files_it_has_written(cells, capsys):
    _, _, err = run(capsys, "cells", "--json", "t.json", "--html", "t.html")

    assert err == "lmexp: written to t.json, t.html\n"
    assert run(capsys, "cells")[2] == ""


def test_json_holds_everything_with_signatures(cells, capsys, here):
    run(capsys, "cells", "--json", "t.json")

    found = json.loads((here / "t.json").read_text())
    assert (found["figure"], found["baseline"]) == ("test/loss", "model=lstm")
    assert [group["unit"] for group in found["groups"]] == [None, "document", "document"]
    assert found["runs"][0]["signature"] == SIGNATURE
    assert found["groups"][1]["row"]["verdict"] == "worse"
    assert found["groups"][1]["over_examples"]["p_sacrebleu"] is None  # three models each
    assert found["groups"][0]["curve"]["steps"] == [10, 20]
    assert found["groups"][1]["row"]["against"]["interval"].keys() == {"low", "high"}


def test_sacrebleus_p_value_is_of_two_runs_and_in_the_json_alone(here, capsys):
    for name, nats in (("a", 2.0), ("b", 3.0)):
        own = recipe(optimizer__lr=nats)
        make_run(here / name, {"test/loss": nats}, own_recipe=own, signature=SIGNATURE)

    _, out, _ = run(capsys, "a", "b", "--json", "t.json", "--csv", "t.csv")

    found = json.loads((here / "t.json").read_text())
    assert found["groups"][1]["over_examples"]["p_sacrebleu"] == pytest.approx(1 / 1001)
    assert "sacrebleu" not in out + (here / "t.csv").read_text()


def test_csv_has_a_row_a_group_with_the_numbers_unrounded(cells, capsys, here):
    run(capsys, "cells", "--csv", "t.csv")

    with (here / "t.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    expected = compared(find_runs(["cells"])).groups
    assert tuple(found[0]) == COLUMNS
    assert [row["group"] for row in found] == list(LOSSES)
    assert float(found[1]["mean"]) == expected[1].aggregate.mean
    assert float(found[1]["difference"]) == expected[1].row.against.difference
    assert found[2]["verdict"] == expected[2].row.verdict == "too few seeds"
    assert found[2]["example_verdict"] == expected[2].over_examples.verdict == "no difference shown"
    assert float(found[1]["p_bootstrap"]) == expected[1].over_examples.p_bootstrap
    assert float(found[1]["p_corrected"]) == expected[1].row.p_corrected
    assert float(found[1]["example_high"]) == expected[1].over_examples.interval.high
    assert float(found[1]["seconds"]) == 60.0
    assert (found[0]["difference"], found[2]["deviation"]) == ("", "")


def test_the_page_is_made_once_for_all_that_show_it(cells, capsys, here, monkeypatch):
    made, sent = iter(["once"]), []
    monkeypatch.setattr("lmexp.compare.command.as_html", lambda *_: next(made))
    monkeypatch.setattr("lmexp.compare.command.send", lambda _, page, *more: sent.append(page))

    run(capsys, "cells", "--html", "page.html", "--wandb", "team/cells")

    assert [(here / "page.html").read_text(), *sent] == ["once", "once"]


def test_latex_is_a_booktabs_table_with_special_characters_escaped(cells, here):
    own = recipe(data__max_length=99)
    make_run(here / "odd_%", {"test/loss": 2.0}, own_recipe=own)

    text = as_latex(compared(find_runs(["cells", "odd_%"])))

    rows = [line for line in text.splitlines() if line.endswith(r" \\")]
    assert [line for line in text.splitlines() if "rule" in line] == [
        *("\\toprule", "\\midrule"),
        "\\bottomrule",
    ]
    assert len(rows) == 1 + 4
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {10}
    assert any(r"data.max\_length=99" in row for row in rows)
    assert escaped("50% of a_b & c$ #1 {x} ~^ \\ ± †") == (
        r"50\% of a\_b \& c\$ \#1 \{x\} \textasciitilde{}\textasciicircum{} \textbackslash{} "
        r"$\pm$ $^\dagger$"
    )


def test_curves_are_drawn_where_there_are_some(cells, here, capsys):
    make_run(here / "bare", {"test/loss": 1.0})

    assert run(capsys, "cells", "--png", "c.png")[0] == 0
    _, _, said = run(capsys, "bare", "--png", "none.png")

    assert (here / "c.png").read_bytes().startswith(b"\x89PNG")
    assert not (here / "none.png").exists()
    assert "no run has recorded val/loss, so nothing was drawn" in said


def test_a_refused_pair_is_marked_in_the_table_and_has_no_test(here, capsys):
    for name, context in (("a", 256), ("b", 512)):
        own = recipe(optimizer__lr=context / 1e5)
        signature = SIGNATURE | {"eval.context": context}
        make_run(here / name, {"test/loss": 2.0}, own_recipe=own, signature=signature)

    _, out, _ = run(capsys, "a", "b", "--csv", "t.csv")

    marked = next(
        line for line in out.splitlines() if line.strip().startswith("optimizer.lr=0.00512")
    )
    assert "2.0000†" in marked
    assert "not compared" in marked
    assert "must not be compared with optimizer.lr=0.00256: its eval.context is 512, and" in out
    assert (here / "t.csv").read_text().splitlines()[2].count("eval.context") == 1


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("cells", "--metric", "test/los"), "no run has a figure test/los; did you mean test/loss"),
        (("cells", "--baseline", "model=lstn"), "--baseline 'model=lstn' is no group: there are"),
        (("nowhere",), "there is no folder nowhere"),
        (("cells", "cells"), "is given twice"),
        (("cells", "--csv", "t.txt"), "--csv t.txt: CSV is written: name it"),
        (("nowhere", "--png", "no/c.png"), "--png no/c.png: there is no folder no"),  # before
        (("cells", "--json", "cells/00/summary.json"), "belongs to a run"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(cells, capsys, typed, said):
    status, out, error = run(capsys, *typed)

    assert (status, out) == (2, "")
    assert error.startswith("lmexp: ")
    assert error.count("\n") == 1
    assert said in error


def test_it_imports_no_torch(cells):
    program = (
        "import sys; from lmexp.__main__ import main\n"
        "assert main(['compare', 'cells', '--png', 'c.png', '--json', 't.json']) == 0\n"
        "assert not {'torch', 'lightning', 'transformers'} & set(sys.modules)"
    )

    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def test_50_runs_are_compared_in_5_seconds(here):
    rng = np.random.default_rng(0)
    curve = [(step, 5.0 - step / 4000) for step in range(0, 4000, 4)]
    for place in range(50):
        nats = rng.normal(3 + place // 5 / 50, 1, 3000)
        own = recipe(place % 5, optimizer__lr=(place // 5 + 1) / 1000)
        figures = {"test/loss": float(nats.mean())}
        folder = make_run(here / f"runs/{place:02}", figures, own_recipe=own, curve=curve)
        write_text_scores(folder, nats)
    began = time.process_time()  # of this process: others may use the same cores

    found = compared(find_runs(["runs"]))

    assert time.process_time() - began < 5
    assert len(found.groups) == 10
    assert all(group.over_examples for group in found.groups[1:])
