"""A comparison that is written to W&B, read back from the disk."""

import json
import re

import pytest
import wandb
from made_runs import CELLS, make_run, make_sweep, recipe
from wandb_answers import KEY, offline_runs

from lmexp.__main__ import main
from lmexp.compare.comparing import compared
from lmexp.compare.runs import Remote, Run, find_runs
from lmexp.compare.wandb_report import Target, asked_target, send, target_of

LOSSES = {"model=lstm": [4.1, 4.12, 4.08], "model=gru": [4.6, 4.62, 4.61], "model=rnn": [4.1]}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "wandb-data"))
    wandb.teardown()  # what other tests of this process have set up
    return tmp_path


def mirrored_to(project, entity=None):
    logger = {"_target_": "lmexp.mirrors.WandB", "project": project, "entity": entity}
    return recipe(logger=logger)


def of_server(entity, project):
    remote = Remote(entity, project, {}, {}, lambda _: iter(()))
    return Run("wandb:x", {}, None, "finished", None, None, {}, remote)


def test_tables_remarks_and_page_are_one_run_offline_without_an_account(here, capsys):
    make_sweep(here / "cells", LOSSES)

    assert main(["compare", "cells", "--html", "page.html", "--wandb", "team/cells"]) == 0

    said = capsys.readouterr().err
    [folder] = here.glob("logs/comparisons/*")
    place = folder.relative_to(here)
    assert "no account found" in said
    assert f"written offline, for team/cells; to upload: wandb sync {place}/wandb/off" in said
    assert said.splitlines()[0] == "lmexp: written to page.html"
    assert said.count("\n") == 3
    [run] = offline_runs(folder)
    assert (run["entity"], run["project"], run["job_type"]) == ("team", "cells", "compare")
    assert (run["state"], run["config"]["figure"]) == ("finished", "test/loss")
    assert "environment" not in run  # host, paths, command line
    assert run["config"]["command"] == (
        "python -m lmexp compare cells --html page.html --wandb team/cells"
    )
    assert run["config"]["runs"] == [f"cells/0{job}" for job in range(7)]
    [row] = run["history"]
    kinds = {key.partition(".")[0] for key in row if not key.startswith("_")}
    assert kinds == {"groups", "costs", "runs", "remarks", "report"}
    [files] = folder.glob("wandb/offline-run-*/files")
    table = json.loads((files / row["groups.path"]).read_text())
    groups = [dict(zip(table["columns"], cells, strict=True)) for cells in table["data"]]
    assert [group["group"] for group in groups] == list(CELLS)
    assert [group["mean"] for group in groups] == pytest.approx([4.1, 4.61, 4.1])
    assert [group["verdict"] for group in groups] == ["baseline", "worse", "too few seeds"]
    assert re.fullmatch(r"4\.\d+ to 4\.\d+", groups[0]["95% interval"])
    remarks = json.loads((files / row["remarks.path"]).read_text())["data"]
    assert any("model=rnn: one seed" in remark for [remark] in remarks)
    assert (files / row["report.path"]).read_text() == (here / "page.html").read_text()


def test_a_server_that_is_not_there_does_not_lose_the_comparison(here, monkeypatch, capsys):
    make_run(here / "a", {"test/loss": 2.0}, own_recipe=mirrored_to("cells"))
    monkeypatch.setattr("lmexp.compare.wandb_report.CONNECT_SECONDS", 2.0)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")

    assert main(["compare", "a", "--wandb"]) == 0

    said = capsys.readouterr().err
    assert "W&B: cannot go online" in said
    assert "written offline, for cells; to upload: wandb sync logs/comparisons/" in said
    assert KEY not in said
    assert len(list(here.glob("logs/comparisons/*/wandb/offline-run-*"))) == 1


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("", "cannot go online (UsageError)"),
        ("no answer of\nhttp://me:hidden@host/x", "online (no answer of http://***@host/x)"),
    ],
)
def test_what_wandb_says_is_one_line_without_secrets(here, monkeypatch, capsys, message, said):
    make_run(here / "a", {"test/loss": 2.0}, own_recipe=mirrored_to("cells"))
    errors = iter([wandb.errors.UsageError(message), ValueError("the end")])

    def begin(*_):
        raise next(errors)

    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setattr("lmexp.compare.wandb_report._begin", begin)

    with pytest.raises(ValueError, match="the end"):
        send(compared(find_runs(["a"])), "", "", Target(None, "cells"))

    assert said in capsys.readouterr().err


def test_disabled_writes_nothing(here, monkeypatch, capsys):
    make_run(here / "a", {"test/loss": 2.0}, own_recipe=mirrored_to("cells"))
    monkeypatch.setenv("WANDB_MODE", "disabled")

    assert main(["compare", "a", "--wandb"]) == 0

    assert "disabled by WANDB_MODE" in capsys.readouterr().err
    assert not (here / "logs").exists()


def test_the_project_is_that_of_the_runs_on_a_server_and_of_the_recipes_of_folders(here):
    make_run(here / "a", {}, own_recipe=mirrored_to("cells"))
    make_run(here / "b", {})
    folders = find_runs(["a", "b"])

    assert target_of(folders) == Target(None, "cells")
    assert target_of([*folders, of_server("team", "cells")]) == Target("team", "cells")
    assert asked_target("") is None
    assert asked_target("team/other") == Target("team", "other")


@pytest.mark.parametrize(
    "asked",
    ["cells", "team/", "/cells", "logs/sweeps/cells", "team/a#b", "team/a:b", f"team/{'a' * 129}"],
)
def test_the_option_takes_a_project_alone(asked):
    with pytest.raises(ValueError, match=f"^--wandb {asked} names no project of W&B: write --wan"):
        asked_target(asked)


def test_runs_of_no_project_or_of_several_are_refused_before_anything_is_compared(here, capsys):
    make_run(here / "a", {})

    assert main(["compare", "a", "--wandb"]) == 2

    assert capsys.readouterr().err == (
        "lmexp: --wandb: none of these runs was mirrored to W&B: write --wandb <entity>/<project>\n"
    )
    with pytest.raises(ValueError, match="of several projects, team/a and team/b: write --wandb"):
        target_of([of_server("team", "a"), of_server("team", "b")])
    with pytest.raises(ValueError, match="of several projects, one/a and other/a"):
        target_of([of_server("one", "a"), of_server("other", "a")])
