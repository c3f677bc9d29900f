"""Parallel coordinates as a real browser draws them; skipped where there is none."""

import pytest
from browser import Browser, found
from made_runs import make_run, recipe

from lmexp.compare.comparing import compared
from lmexp.compare.page import as_html
from lmexp.compare.runs import find_runs

pytestmark = pytest.mark.skipif(found() is None, reason="no chromium or chrome is installed")
WORDS = ("financial_news", "transformer", "lstm")  # 14 letters are shown whole
OUTSIDE = """[...document.querySelectorAll('#coordinates text')].filter((text) => {
    const [own, all] = [text, text.ownerSVGElement].map((part) => part.getBoundingClientRect());
    return own.left < all.left || own.right > all.right;
}).map((text) => text.textContent)"""


@pytest.fixture
def browser(tmp_path_factory):
    one = Browser(tmp_path_factory.mktemp("browser"))
    yield one
    one.close()


def test_words_of_the_axes_lie_within_the_picture(browser, tmp_path):
    for place, word in enumerate(WORDS):
        for rate in (0.01, 0.1):
            made = recipe(data__form=word, optimizer__lr=rate)
            make_run(tmp_path / f"runs/{word}-{rate}", {"test/loss": place}, own_recipe=made)
    page = tmp_path / "page.html"
    result = compared(find_runs([str(tmp_path / "runs")]))
    page.write_text(as_html(result, ["compare"]), encoding="utf-8")

    browser.open(page.as_uri())

    shown = browser.ask("document.getElementById('coordinates').textContent")
    assert all(word in shown for word in WORDS)
    assert browser.ask(OUTSIDE) == []
