"""The page of a comparison: one file that asks for nothing, with whatever names runs have."""

import base64
import hashlib
import itertools
import json
import re
import subprocess
import sys
import time
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import optuna
import pytest
from made_runs import make_run, make_sweep, recipe, write_text_scores

from lmexp.__main__ import main
from lmexp.compare.comparing import compared
from lmexp.compare.importance import importance, shares_of_variance
from lmexp.compare.page import as_html, embedded
from lmexp.compare.page_tables import tables
from lmexp.compare.runs import find_runs
from lmexp.sweep.manifest import Manifest, Outline

HOSTILE = "</script><script>window.taken = 1</script><img src=x onerror='window.taken = 1'>"
LOSSES = {"model=lstm": [4.1, 4.12, 4.08], "model=gru": [4.6, 4.62, 4.61], "model=rnn": [4.1]}
VOID = {"meta", "link", "br", "wbr", "img", "input", "hr"}


class Parsed(HTMLParser):
    """Elements with their attributes, and the text of those that hold raw text."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.elements, self.texts = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open:
            self.texts.append((self.open[-1], data))

    def text(self, tag):
        return [text for own, text in self.texts if own == tag]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def hostile(here):
    """A comparison of runs whose folder, group, figure and error are written by an enemy."""
    for place, name in enumerate(("plain", HOSTILE.replace("/", ""), "\u2028 &amp; \"'")):
        figures = {"test/loss": 2.0 + place, "test/<i>&": 1.0}
        made = recipe(optimizer__lr=HOSTILE if place else 0.1, model__d_model=place)
        make_run(here / "runs" / name, figures, own_recipe=made, curve=[(1, 3.0), (2, 2.0)])
    found = compared(find_runs(["runs"]), metric="test/<i>&", better="greater")
    return replace(found, remarks=[*found.remarks, HOSTILE])


def share(groups):
    return {own.key: (own.share, own.by_chance) for own in shares_of_variance(groups)}


def test_the_command_writes_one_page_that_says_how_it_was_made(here, capsys):
    make_sweep(here / "cells", LOSSES)

    assert main(["compare", "cells", "--html", "a b.html", "--baseline", "model=gru"]) == 0

    page = Parsed((here / "a b.html").read_text(encoding="utf-8"))
    content = json.loads(page.text("script")[0])
    typed = "python -m lmexp compare cells --baseline model=gru --html 'a b.html'"
    assert content["command"] == typed
    assert content["result"]["baseline"] == "model=gru"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", content["date"])
    assert page.open == []
    assert page.text("title") == ["test/loss: 3 groups"]


def test_a_page_is_named_html(here, capsys):
    make_sweep(here / "cells", LOSSES)

    assert main(["compare", "cells", "--html", "page.txt"]) == 2

    assert "--html page.txt: HTML is written: name it" in capsys.readouterr().err


def test_a_page_refers_to_nothing_outside(hostile):
    text = as_html(hostile, ["compare"])

    page = Parsed(text)
    style = "".join(page.text("style"))
    script = page.text("script")[-1]
    assert not any({"src", "href", "srcset", "action"} & set(own) for _, own in page.elements)
    assert not re.search(r"@import|url\(|expression\(", style)
    assert not re.search(r"\b(fetch|XMLHttpRequest|WebSocket|import|eval|innerHTML)\b", script)
    assert set(re.findall(r"\bhttps?:[^\s\"']*", text)) == {"http://www.w3.org/2000/svg"}


def test_its_policy_allows_its_own_script_and_style_and_no_request(hostile):
    page = Parsed(as_html(hostile, ["compare"]))

    policy = next(own["content"] for _, own in page.elements if "http-equiv" in own)
    digests = [
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in (page.text("script")[-1], "".join(page.text("style")))
    ]
    assert policy == (
        f"default-src 'none'; script-src 'sha256-{digests[0]}'; style-src 'sha256-{digests[1]}'; "
        "base-uri 'none'; form-action 'none'"
    )


def test_hostile_names_stay_text(hostile):
    page = Parsed(as_html(hostile, ["compare", HOSTILE]))

    tags = [tag for tag, _ in page.elements]
    content = json.loads(page.text("script")[0])
    assert (tags.count("script"), tags.count("img"), page.open) == (2, 0, [])
    assert content["result"] == json.loads(json.dumps(hostile.as_dict()))
    assert HOSTILE in content["result"]["remarks"]
    assert page.text("title") == ["test/<i>&: 3 groups"]


def test_embedded_json_means_nothing_to_html():
    value = {"<!--": ["</script>", "&lt;", "\u2028\u2029", "ü"]}

    text = embedded(value)

    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == value


def test_it_is_written_without_torch(here):
    make_sweep(here / "cells", LOSSES)
    program = (
        "import sys; from lmexp.__main__ import main\n"
        "assert main(['compare', 'cells', '--html', 'c.html']) == 0\n"
        "assert not {'torch', 'lightning', 'optuna'} & set(sys.modules)"
    )

    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def test_50_runs_have_their_page_in_5_seconds(here):
    rng = np.random.default_rng(0)
    curve = [(step, 5.0 - step / 4000) for step in range(0, 4000, 4)]
    for place in range(50):
        nats = rng.normal(3 + place // 5 / 50, 1, 3000)
        made = recipe(place % 5, optimizer__lr=(place // 5 + 1) / 1000)
        folder = make_run(
            here / f"runs/{place:02}",
            {"test/loss": float(nats.mean())},
            own_recipe=made,
            curve=curve,
        )
        write_text_scores(folder, nats)
    began = time.process_time()  # of this process: others may use the same cores

    text = as_html(compared(find_runs(["runs"])), ["compare", "runs"])

    assert time.process_time() - began < 5
    assert len(json.loads(Parsed(text).text("script")[0])["result"]["runs"]) == 50


def test_budgets_stand_beside_what_they_came_to(here, capsys):
    asked = {"budget/minutes": 2.0, "budget/parameters": 2.5e6, "budget/flops": 3e9}
    for seed, seconds in ((1, 114.0), (2, 126.0)):
        summary = {**asked, "training_seconds": seconds, "seconds": seconds + 30}
        make_run(
            here / f"runs/{seed}", {"test/loss": 1.0}, own_recipe=recipe(seed), summary=summary
        )
    expected = [
        ["parameters", "2.5 M", "2.0 M", "80.0%"],
        ["flops", "3.0 G", "3.0 G", "100.0%"],
        ["minutes", "2", "2", "95.0% to 105.0%"],
    ]

    found = next(own.rows for own in tables(compared(find_runs(["runs"]))) if own.name == "budgets")
    assert main(["compare", "runs", "--csv", "t.csv", "--latex", "t.tex"]) == 0

    assert [[cell.text for cell in row[1:]] for row in found] == expected
    out = capsys.readouterr().out
    for row in expected:
        assert " ".join(row) in " ".join(out.split())
    head, values = (here / "t.csv").read_text().splitlines()
    assert head.endswith("budget_parameters,budget_tokens,budget_flops,budget_minutes")
    assert values.endswith(",2500000.0,,3000000000.0,2.0")
    line = "% lstm-text, budget minutes: asked 2, met 2 (95.0% to 105.0%)"
    assert line in (here / "t.tex").read_text().splitlines()


def test_without_a_budget_nothing_is_said_of_any(here, capsys):
    make_sweep(here / "cells", LOSSES)

    main(["compare", "cells"])

    assert "budget" not in capsys.readouterr().out


def test_runs_are_listed_with_status_and_cause(here):
    make_run(here / "runs/a", {"test/loss": 1.0})
    make_run(here / "runs/b", {}, summary={"status": "stopped"})

    found = next(own.rows for own in tables(compared(find_runs(["runs"]))) if own.name == "runs")

    assert [[cell.text for cell in row[3:6]] for row in found] == [
        ["1.0000", "finished", ""],
        ["–", "stopped", "not finished"],
    ]
    assert found[1][3].value is None


def test_shares_of_variance_of_an_additive_design_add_up(here):
    for a, b in itertools.product((0, 1), (0, 1)):
        for seed in (1, 2):
            made = recipe(seed, optimizer__lr=0.1 + a, data__max_length=64 + b)
            make_run(here / f"runs/{a}{b}{seed}", {"test/loss": 3.0 * a + b}, own_recipe=made)

    found = share(compared(find_runs(["runs"])).groups)

    assert found == {  # 3² and 1² of 10; two values each among eight runs
        "optimizer.lr": (pytest.approx(0.9), pytest.approx(1 / 7)),
        "data.max_length": (pytest.approx(0.1), pytest.approx(1 / 7)),
    }


def test_what_it_calls_chance_is_the_mean_over_all_orders(here):
    figures = (1.0, 2.0, 4.0, 9.0, 3.0)
    names = ("x", "x", "y", "y", "z")
    for place, name in enumerate(names):
        made = recipe(place % 2 + 1, optimizer__lr={"x": 1, "y": 2, "z": 3}[name])
        make_run(here / f"runs/{place}", {"test/loss": figures[place]}, own_recipe=made)
    groups = compared(find_runs(["runs"])).groups
    shares = []
    for order in itertools.permutations(figures):
        dealt = [order[:2], order[2:4], order[4:]]
        made = [replace(own, figures=list(part)) for own, part in zip(groups, dealt, strict=True)]
        shares.append(share(made)["optimizer.lr"][0])

    assert np.mean(shares) == pytest.approx(2 / 4)
    assert share(groups)["optimizer.lr"][1] == 2 / 4


def test_a_key_with_as_many_values_as_runs_has_no_share(here):
    for place in range(3):
        made = recipe(optimizer__lr=float(place))
        make_run(here / f"runs/{place}", {"test/loss": float(place)}, own_recipe=made)

    assert importance(compared(find_runs(["runs"]))) == []


def test_importance_of_a_search_is_that_of_its_study(here):
    found = compared(find_runs([str(make_sweep(here / "search", LOSSES))]))
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.RandomSampler(seed=0)
    study = optuna.create_study(study_name="all", sampler=sampler)
    study.optimize(
        lambda trial: trial.suggest_float("lr", 0, 1) + trial.suggest_float("width", 0, 1) / 100,
        n_trials=12,
    )
    storage = f"sqlite:///{here / 'search' / 'studies.db'}"
    optuna.copy_study(from_study_name="all", from_storage=study._storage, to_storage=storage)
    manifest = Manifest.read(here / "search")
    manifest.studies = [Outline("all", [], [], [["test/loss", None, "minimize"]], [])]
    manifest.write()

    [own] = importance(found)

    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    expected = optuna.importance.get_param_importances(study, evaluator=evaluator)
    assert {part.key: part.share for part in own.shares} == pytest.approx(expected)
    assert [(part.key, part.by_chance) for part in own.shares] == [("lr", None), ("width", None)]
    assert "Study 'all' of 12 finished trials" in own.of
    assert "by test/loss (PED-ANOVA" in own.of
