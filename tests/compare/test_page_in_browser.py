"""The page as a real browser shows it; skipped where there is none."""

import json
import math
from dataclasses import replace
from itertools import pairwise

import pytest
from browser import Browser, found
from made_runs import SIGNATURE, make_run, recipe
from test_page import HOSTILE
from test_several_data import sweep as data_sweep

from lmexp.compare.comparing import compared
from lmexp.compare.curves import Curve
from lmexp.compare.page import as_html
from lmexp.compare.runs import find_runs

pytestmark = pytest.mark.skipif(found() is None, reason="no chromium or chrome is installed")
STEPS = list(range(0, 100, 10))
GROUPS = {  # by rate and width: figures by seed, seconds
    (0.01, 64): ([3.0, 3.1, 3.2], 10.0),
    (0.01, 512): ([2.0, 2.1, 2.2], 40.0),
    (0.1, 64): ([10.5, 10.6, 10.4], 20.0),  # as a word it would stand before 2
    (0.1, 512): ([1.5, 1.4, 1.6], 50.0),  # refused, else it were on the front
}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    one = Browser(tmp_path_factory.mktemp("browser"))
    yield one
    one.close()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A page of four groups, one of which is refused, with a run that failed."""
    folder = tmp_path_factory.mktemp("page")
    for (rate, width), (figures, seconds) in GROUPS.items():
        for seed, figure in enumerate(figures):
            made = recipe(seed, optimizer__lr=rate, model__d_model=width)
            curve = [(step, figure + math.exp(-step / 20)) for step in STEPS]
            signature = SIGNATURE | ({"eval.context": 9} if (rate, width) == (0.1, 512) else {})
            make_run(
                folder / f"runs/{rate}-{width}-{seed}",
                {"test/loss": figure},
                own_recipe=made,
                curve=curve,
                summary=dict.fromkeys(("seconds", "training_seconds"), seconds)
                | {"parameters": width**2, "budget/minutes": 0.5},
                signature=signature,
            )
    make_run(folder / "runs" / HOSTILE.replace("/", ""), {}, summary={"status": "failed"})
    result = compared(find_runs([str(folder / "runs")]))
    page = folder / "page.html"
    page.write_text(as_html(result, ["compare", "runs", HOSTILE]), encoding="utf-8")
    return page, result


@pytest.fixture
def page(browser, written):
    browser.open(written[0].as_uri())
    yield browser
    assert browser.complaints() == []
    assert browser.requests() == [written[0].as_uri()]


def column(page, table, place):
    script = f"[...document.querySelectorAll('#{table} tbody tr')]"
    script += f".filter((row) => !row.hidden).map((row) => row.cells[{place}].textContent)"
    return page.ask(script)


def click(page, selector):
    return page.ask(f"document.querySelector({json.dumps(selector)}).click()")


def sort_button(table, place):
    return f"#{table} thead th:nth-child({place + 1}) button"


def test_a_request_and_a_complaint_would_be_seen(browser, tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text("<img src='http://127.0.0.1:9/x.png'><script>undefined_name()</script>")

    browser.open(bad.as_uri())

    assert browser.requests() == [bad.as_uri(), "http://127.0.0.1:9/x.png"]
    assert any(own["method"] == "Runtime.exceptionThrown" for own in browser.complaints())


def test_a_page_that_is_left_alone_asks_for_nothing_and_complains_of_nothing(page, written):
    assert page.ask("document.querySelector('h1').textContent") == (
        f"test/loss: 4 groups against {written[1].baseline}"
    )
    assert page.ask("document.scripts.length") == 2


def test_the_policy_stops_what_a_script_would_ask_for(browser, written):
    browser.open(written[0].as_uri())

    browser.ask("{ const own = new Image(); own.src = 'http://127.0.0.1:9/x.png'; }")
    browser.ask(
        "{ const own = document.createElement('script'); own.text = 'window.ran = 1';"
        "document.body.append(own); }"
    )

    failed = [own["params"] for own in browser.events if own["method"] == "Network.loadingFailed"]
    assert [own["blockedReason"] for own in failed] == ["csp"]
    assert browser.ask("typeof window.ran") == "undefined"


def test_tables_sort_by_value_up_and_down(page):
    means = {"1.5000†", "2.1000", "3.1000", "10.50"}
    rising = ["1.5000†", "2.1000", "3.1000", "10.50"]
    assert set(column(page, "groups", 3)) == means

    click(page, sort_button("groups", 3))
    up = column(page, "groups", 3)
    marks = page.ask("[...document.querySelectorAll('#groups th[aria-sort]')].map(h => h.ariaSort)")
    click(page, sort_button("groups", 3))

    assert up == rising
    assert [mark for mark in marks if mark != "none"] == ["ascending"]
    assert column(page, "groups", 3) == rising[::-1]


def test_what_is_missing_stands_last_in_both_directions(page):
    click(page, sort_button("runs", 3))
    up = column(page, "runs", 3)
    click(page, sort_button("runs", 3))
    down = column(page, "runs", 3)

    assert up[-1] == down[-1] == "–"
    assert up[:-1] == down[:-1][::-1]


def test_the_filter_keeps_runs_with_all_words(page):
    page.ask("document.getElementById('filter').value = '0.01 finished d_model=64'")
    page.ask("document.getElementById('filter').dispatchEvent(new Event('input'))")

    assert column(page, "runs", 1) == ["model.d_model=64 optimizer.lr=0.01"] * 3
    assert page.ask("document.getElementById('filtered').textContent") == "3 of 13"


def test_curves_are_drawn_through_every_point(page):
    paths = page.ask(
        "[...document.querySelectorAll('#curves .line')].map(p => p.getAttribute('d'))"
    )

    assert len(paths) == 4
    for path in paths:
        points = [tuple(map(float, part.split())) for part in path[1:].split("L")]
        assert len(points) == len(STEPS)
        gaps = [after[0] - before[0] for before, after in pairwise(points)]
        assert gaps == pytest.approx([gaps[0]] * 9, abs=0.2)  # steps are evenly apart
        fall = [after[1] - before[1] for before, after in pairwise(points)]
        assert all(part >= 0 for part in fall)  # a loss that falls goes down the page
        assert fall[0] / fall[2] == pytest.approx(math.e, rel=0.1)  # by e in two steps of 10
    assert page.ask("document.querySelectorAll('#curves .band').length") == 4
    assert page.ask("document.querySelector('#curves .line').getTotalLength()") > 100


def test_a_legend_takes_a_group_away_and_brings_it_back(page):
    click(page, "#curves-legend button")
    without = page.ask("document.querySelectorAll('#curves .line').length")
    pressed = page.ask("document.querySelector('#curves-legend button').ariaPressed")
    click(page, "#curves-legend button")

    assert (without, pressed) == (3, "false")
    assert page.ask("document.querySelectorAll('#curves .line').length") == 4


def test_a_pointer_over_the_curves_shows_all_values_of_its_step(page):
    page.ask("document.getElementById('curves').scrollIntoView()")
    box = page.ask(
        "(({x, y, width}) => [x, y, width])(document.querySelector('#curves svg')"
        ".getBoundingClientRect())"
    )
    end = {"x": box[0] + box[2] - 25, "y": box[1] + 100}
    page.call("Input.dispatchMouseEvent", type="mouseMoved", **end)

    shown = page.ask("[...document.querySelectorAll('#tip p')].map(p => p.textContent)")
    assert shown[0] == "step 90"
    last = math.exp(-90 / 20)
    assert [line.split(": ")[1].split(" ")[0] for line in shown[1:]] == [
        f"{mean + last:.5g}" for mean in (1.5, 2.1, 3.1, 10.5)
    ]


def test_the_front_leaves_out_what_another_beats_and_what_is_refused(page):
    said = page.ask("document.getElementById('pareto-front').textContent")
    rings = page.ask("document.querySelectorAll('#pareto .ring').length")
    hollow = page.ask("document.querySelectorAll('#pareto .hollow').length")

    names = said.split(": ", 1)[1].rstrip(".").split("; ")
    assert len(names) == rings == 2  # 3.1 at 10 s and 2.1 at 40 s
    assert all("0.01" in name for name in names)
    assert hollow == 1


def test_another_cost_draws_another_plot(page):
    page.ask("document.getElementById('cost').value = 'parameters'")
    page.ask("document.getElementById('cost').dispatchEvent(new Event('change'))")

    label = page.ask("document.querySelector('#pareto svg').getAttribute('aria-label')")
    assert label == "test/loss against parameters"


def test_keys_have_coordinates_and_importance(page):
    assert page.ask("document.querySelectorAll('#coordinates .thread').length") == 12
    assert page.ask("document.querySelectorAll('#importance .bar').length") == 2


def test_hostile_names_run_nothing(page):
    assert page.ask("typeof window.taken") == "undefined"
    assert page.ask("document.querySelectorAll('img').length") == 0
    assert HOSTILE.replace("/", "") in "".join(column(page, "runs", 0))
    assert "window.taken" in page.ask("document.getElementById('command').textContent")


def test_logarithmic_scales_draw_all_that_has_a_logarithm(page):
    for place in (1, 2):
        click(page, f"#curves-controls label:nth-child({place}) input")

    paths = page.ask("[...document.querySelectorAll('#curves .line')].map(p => p.outerHTML)")
    points = [path.split('d="M')[1].split('"')[0].split("L") for path in paths]
    assert {len(own) for own in points} == {len(STEPS) - 1}  # step 0 has none
    across = [float(part.split()[0]) for part in points[0]]
    ratio = (across[3] - across[0]) / (across[1] - across[0])
    assert ratio == pytest.approx(math.log(4) / math.log(2), rel=0.01)  # steps 10, 20 and 40


def test_arrow_keys_move_along_the_curves(page):
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft"):
        event = f"new KeyboardEvent('keydown', {{key: '{key}'}})"
        page.ask(f"document.querySelector('#curves svg').dispatchEvent({event})")

    assert page.ask("document.querySelector('#tip p').textContent") == "step 0"


def test_curves_of_hundreds_of_groups_draw(browser, written, tmp_path):
    result = written[1]
    curve = Curve(list(range(1000)), *[[1.0 + place for place in range(1000)]] * 3)
    many = [replace(result.groups[0], name=f"g{place}", curve=curve) for place in range(150)]
    runs = [replace(result.runs[0], group=group.name) for group in many]
    file = tmp_path / "many.html"
    text = as_html(replace(result, groups=many, runs=runs), ["compare"])
    file.write_text(text, encoding="utf-8")

    browser.open(file.as_uri())

    assert browser.ask("document.querySelectorAll('#curves .line').length") == 150
    assert browser.complaints() == []


def test_each_data_set_has_a_front_of_its_own(browser, tmp_path):
    losses = {("lstm", "ptb"): (1.0,), ("gru", "ptb"): (1.1,), ("lstm", "wikitext2"): (2.0,)}
    found = compared(find_runs([str(data_sweep(tmp_path / "cells", losses))]))
    file = tmp_path / "page.html"
    file.write_text(as_html(found, ["compare"]), encoding="utf-8")

    browser.open(file.as_uri())

    title = browser.ask("document.querySelector('h1').textContent")
    assert title == "test/loss: 3 groups against 2 baselines, one of each data set"
    assert browser.ask("document.querySelectorAll('#pareto .front').length") == 2
    on_it = browser.ask("document.getElementById('pareto-front').textContent")
    assert "ring: model=lstm data=ptb; model=lstm data=wikitext2." in on_it
    against = [*["model=lstm data=ptb"] * 2, "model=lstm data=wikitext2"]
    assert column(browser, "groups", 2) == against
    assert browser.complaints() == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 700])
def test_words_can_be_read_and_nothing_overflows(browser, written, width, scheme):
    browser.open(written[0].as_uri(), width=width, scheme=scheme)

    lightness = """((selector) => {
        const parts = (text) => text.match(/[\\d.]+/g).slice(0, 3).map((part) => {
            const own = part / 255;
            return own <= 0.04045 ? own / 12.92 : ((own + 0.055) / 1.055) ** 2.4;
        });
        const light = ([r, g, b]) => 0.2126 * r + 0.7152 * g + 0.0722 * b;
        const back = light(parts(getComputedStyle(document.body).backgroundColor));
        const own = light(parts(getComputedStyle(document.querySelector(selector)).color));
        return (Math.max(back, own) + 0.05) / (Math.min(back, own) + 0.05);
    })"""
    words = ("body", ".note", "footer", "#groups .worse, #groups .verdict", "th button")
    ratios = {own: browser.ask(f"{lightness}({json.dumps(own)})") for own in words}
    curves = [browser.ask(f"{lightness}('#curves .c{place}')") for place in range(4)]
    assert all(ratio >= 4.5 for ratio in ratios.values()), ratios  # WCAG 2.2, 1.4.3
    assert all(ratio >= 3 for ratio in curves), curves  # WCAG 2.2, 1.4.11
    assert browser.ask("document.documentElement.scrollWidth <= window.innerWidth")
    assert browser.complaints() == []
