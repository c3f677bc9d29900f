"""Runs that a W&B server has: the table is that of their folders, or it is said why not."""

import copy
import json
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from made_runs import RECIPE, SIGNATURE, SUMMARY, make_sweep
from wandb_answers import KEY, Server, mirrored

from lmexp.__main__ import main
from lmexp.compare import wandb_runs
from lmexp.compare.comparing import compared
from lmexp.compare.files import as_csv
from lmexp.compare.runs import find_runs
from lmexp.compare.signature import NO_EXAMPLES
from lmexp.nested import flat
from lmexp.record_files import read_summary
from lmexp.run_folder import read_recipe
from lmexp.wandb_sessions import how_to_log_in

LOSSES = {"model=lstm": [4.1, 4.12], "model=gru": [4.6, 4.62]}
CURVE = [(10, 5.0), (20, 4.5), (30, 4.0)]
PROJECT = "wandb:team/cells"


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """A sweep's folder, whose runs were tested."""
    examples = {name: [np.full(40, loss) for loss in own] for name, own in LOSSES.items()}
    folder = tmp_path_factory.mktemp("sweep") / "cells"
    make_sweep(folder, LOSSES, curve=CURVE, examples=examples)
    for file in folder.glob("*/metrics.jsonl"):  # seconds go on after the last line: of the test
        lines = [json.loads(line) | {"seconds": 50.5} for line in file.read_text().splitlines()]
        file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return folder


@pytest.fixture(scope="module")
def sent(sweep):
    """The same runs as they come to a server."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_DATA_DIR", str(sweep / "wandb-data"))
        return mirrored([sweep / f"0{job}" for job in range(4)], group="families")


@pytest.fixture
def account(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setattr(wandb_runs, "TIMEOUT_SECONDS", 10)


@pytest.fixture
def serve(account, monkeypatch):
    """Starts servers, of runs by project."""
    servers = []

    def start(projects, **options):
        server = Server(projects, **options).__enter__()
        servers.append(server)
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        return server

    yield start
    for server in servers:
        server.__exit__()


def made(number=0, *, state="finished", job_type="train", config=None, **summary):
    """A run that no mirror has sent."""
    own = flat({**copy.deepcopy(RECIPE), "seed": number})
    facts = {f"lmexp/{name}": SIGNATURE[name] for name in ("data_hash", "tokenizer_hash")}
    return {
        "id": f"run{number}",
        "state": state,
        "group": "g",
        "job_type": job_type,
        "config": {**own, **facts} if config is None else config,
        "summary": {**SUMMARY, "test/loss": 4.0, "_step": 1, "samples": {"nrows": 1}, **summary},
        "history": [],
    }


def test_the_table_is_that_of_the_folders(sweep, sent, serve):
    serve({"team/cells": sent})

    by_server, by_folder = compared(find_runs([PROJECT])), compared(find_runs([str(sweep)]))

    alike = [
        replace(group, over_examples=None, examples=None, unit=None) for group in by_folder.groups
    ]
    assert by_folder.groups[1].over_examples is not None  # which no server could have
    assert by_server.groups == alike
    assert by_server.groups[0].curve.mean == [5.0, 4.5, 4.0]
    for there, here in zip(by_server.runs, by_folder.runs, strict=True):
        here.signature.pop("checkpoint")  # a path of this machine
        assert there == replace(here, folder=there.folder)
    expected = f"no test over examples of runs from W&B: {NO_EXAMPLES}"
    assert by_server.remarks == [expected, *by_folder.remarks]


def test_what_is_sent_is_recipe_hashes_overrides_and_signature_and_the_summary(sweep, sent):
    run, folder = sent[0], sweep / "00"
    own = {key: value for key, value in run["config"].items() if key != "_wandb"}
    of_test = {key: value for key, value in SIGNATURE.items() if key != "checkpoint"}

    assert own == {
        **flat(read_recipe(folder)),
        **{f"lmexp/{name}": SIGNATURE[name] for name in ("data_hash", "tokenizer_hash")},
        **{f"lmexp/test/{field}": value for field, value in of_test.items()},
        "lmexp/overrides": ["model=lstm", "seed=1"],
    }
    figures = {key: value for key, value in run["summary"].items() if not key.startswith("_")}
    assert figures == read_summary(folder) | {"val/loss": 4.0}


def test_folders_and_servers_go_together(sweep, sent, serve):
    serve({"team/cells": sent[:2]})

    found = compared(find_runs([PROJECT, str(sweep / "02"), str(sweep / "03")]))

    assert [group.name for group in found.groups] == list(LOSSES)
    assert [group.mismatches for group in found.groups] == [[], []]
    both = as_csv(compared(find_runs([str(sweep)]))).splitlines()[1].split(",")
    assert as_csv(found).splitlines()[1].split(",")[:6] == both[:6]


def test_only_the_curve_that_is_wanted_is_asked_for(sent, serve):
    server = serve({"team/cells": sent})

    compared(find_runs([PROJECT]))

    assert server.operations() == ["Viewer", "Runs", *["RunSampledHistory"] * 4]
    specs = {spec for name, own in server.asked if "specs" in own for spec in own["specs"]}
    assert [json.loads(spec)["keys"] for spec in specs] == [["_step", "val/loss"]]


def test_a_group_is_a_part_of_a_project_and_pages_are_turned(serve):
    runs = [made(number) for number in range(7)]
    runs[3]["group"] = "other/one"
    server = serve({"team/cells": runs}, page=2)

    assert len(find_runs([PROJECT])) == 7
    assert server.operations().count("Runs") == 4
    assert [run.seed for run in find_runs([f"{PROJECT}/other/one"])] == [3]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"data_hash": "e" * 64}, "its data_hash is eeeeeeeeeeee…, and that of"),
        ({"data_hash": None, "tokenizer_hash": None}, "its data_hash is not recorded, and that of"),
    ],
)
def test_the_guard_knows_runs_of_a_server(serve, changed, said):
    runs = [made(0), made(0, **{"test/loss": 3.0})]
    runs[1]["id"] = "other"
    runs[1]["config"]["optimizer.lr"] = 0.5
    runs[1]["config"] |= {f"lmexp/{name}": value for name, value in changed.items()}
    serve({"team/cells": runs})

    found = compared(find_runs([PROJECT]))

    assert [bool(group.mismatches) for group in found.groups] == [False, True]
    assert any(said in remark for remark in found.remarks)


@pytest.mark.parametrize(
    ("state", "told", "status"),
    [
        ("finished", "finished", "finished"),
        ("finished", None, "interrupted"),  # its process ended well, but not its run
        ("failed", "stopped", "stopped"),
        ("failed", "finished", "failed"),  # of an earlier end
        ("failed", None, "failed"),
        ("crashed", "finished", "crashed"),
        ("killed", None, "killed"),
        ("running", "finished", "running"),  # resumed
    ],
)
def test_a_run_has_finished_if_the_server_and_its_own_end_say_so(serve, state, told, status):
    run = made(state=state, status=told)
    if told is None:
        del run["summary"]["status"]
    serve({"team/cells": [run]})

    assert [own.status for own in find_runs([PROJECT])] == [status]


def test_what_is_not_of_lmexp_is_left_out_and_comparisons_are_passed_over(serve):
    foreign = made(1, config={"lr": 0.1, "model": "resnet"})
    comparison = made(2, config={"figure": "test/loss"}, job_type="compare")
    serve({"team/cells": [made(0), foreign, comparison]})

    found = compared(find_runs([PROJECT]))

    assert [run.folder for run in found.runs] == [f"{PROJECT}/run0", f"{PROJECT}/run1"]
    assert f"{PROJECT}/run1 is left out: not of lmexp" in found.remarks


def test_figures_that_are_not_finite_are_read_as_such(serve):
    run = made(**{"test/loss": "NaN", "best/loss": "Infinity", "test/x": "-inf"})
    run["history"] = [{"_step": 1, "val/loss": "NaN"}, {"_step": 2, "val/loss": 3}]
    serve({"team/cells": [run]})

    [own] = find_runs([PROJECT])

    assert math.isnan(own.figures["test/loss"])
    assert (own.figures["best/loss"], own.figures["test/x"]) == (math.inf, -math.inf)
    assert [(step, value) for step, value in own.live("val/loss") if value == 3] == [(2, 3.0)]
    assert not {"_step", "samples"} & own.summary.keys()


def test_whole_numbers_are_the_same_recipe_whatever_their_type(serve):
    runs = [made(0), made(1)]
    for run, rate in zip(runs, (1, 1.0), strict=True):
        run["config"]["optimizer.lr"] = rate
    serve({"team/cells": runs})

    assert [group.seeds for group in compared(find_runs([PROJECT])).groups] == [[0, 1]]


def said_of(capsys, *typed):
    status = main(["compare", *typed])
    said = capsys.readouterr()
    assert (status, said.out) == (2, "")
    assert said.err.count("\n") == 1
    assert KEY not in said.err
    return said.err


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("wandb:x", "wandb:x names no project of W&B: write wandb:<entity>/<project> or wandb:"),
        ("wandb:team//g", "names no project of W&B"),
        ("wandb:team/none", "wandb:team/none: Could not find project none, or your account may"),
        ("wandb:team/cells/none", "group 'none' of project team/cells holds no run"),
        ("wandb:team/empty", "wandb:team/empty: project team/empty holds no run"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(serve, capsys, typed, said):
    serve({"team/cells": [made()], "team/empty": []})

    assert said in said_of(capsys, typed)


def test_a_run_is_not_given_twice(serve, capsys):
    serve({"team/cells": [made()]})

    assert "wandb:team/cells/run0 is given twice" in said_of(capsys, PROJECT, f"{PROJECT}/g")


def test_a_key_that_the_server_does_not_take_is_said_and_not_shown(serve, capsys):
    serve({"team/cells": [made()]}).status = 401

    assert "W&B did not answer (Failed to verify credentials" in said_of(capsys, PROJECT)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://me:secret@127.0.0.1:9/", "nowhere"])
def test_no_connection_is_said(account, monkeypatch, capsys, url):
    monkeypatch.setattr(wandb_runs, "TIMEOUT_SECONDS", 1)
    monkeypatch.setenv("WANDB_BASE_URL", url)

    said = said_of(capsys, PROJECT)

    assert "look at the connection, WANDB_BASE_URL and the key" in said
    assert "secret" not in said


def test_no_account_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))

    said = said_of(capsys, PROJECT)
    assert said == f"lmexp: {PROJECT}: no account of Weights & Biases found: {how_to_log_in()}\n"


def test_wandb_is_imported_where_it_is_asked_and_torch_never(sweep, sent, serve, tmp_path):
    serve({"team/cells": sent})
    for path, imported in ((str(sweep), set()), (PROJECT, {"wandb"})):
        program = (
            "import sys; from lmexp.__main__ import main\n"
            f"assert main(['compare', {path!r}]) == 0\n"
            f"assert {{'torch', 'lightning', 'wandb'}} & set(sys.modules) == {imported!r}"
        )
        subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path)
