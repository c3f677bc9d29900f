"""What overrides of a sweep mean, and texts as overrides."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from lmexp.grid import grid
from lmexp.values import quoted

# What Hydra's grammar has a use for, and what it has none for.
TEXTS = [
    "/tmp/é/ü (x)",
    "a'b",
    "a\\b",
    "a\\'b",
    "x\\",
    "a,b=c",
    "[a]{b}",
    "a  b",
    "数据",
    "~!&;#",
    "",
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_quoted_text_is_read_as_it_is(text):
    override = OverridesParser.create().parse_override(f"resume={quoted(text)}")

    assert override.value() == text


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["seed=1,2", "seed=3,4"], r"seed=1,2 and seed=3,4: seed is given 2 times"),
        (["tokenizer=byte", "tokenizer=byte,char"], r"tokenizer is given 2 times"),
        (["model.d_model=range(64,8)"], r"range\(64,8\) holds no value: write range\(start,stop\)"),
        (["model.d_model=range(8,64,0)"], r"range\(8,64,0\) holds no value"),
        (["seed=1,"], r"seed=1,: nothing follows the last comma: leave it out"),
        (["optimizer.lr=interval(1e-2,1e-4)"], r"is no interval: write interval\(low,high\)"),
        (["optimizer.lr=interval(1e-2,1e-2)"], r"is no interval"),
        (["optimizer.lr=interval(0,inf)"], r"two finite numbers"),
        (["optimizer.lr=tag(log,interval(0,1))"], r"only what is above 0 has a logarithm"),
        (["optimizer.lr=tag(log,range(0,4))"], r"only what is above 0 has a logarithm"),
    ],
)
def test_lists_and_ranges_that_mean_nothing_are_refused(typed, message):
    with pytest.raises(ValueError, match=message):
        grid(typed, searches=True)


def test_a_key_may_be_given_twice_where_nothing_is_swept():
    assert grid(["seed=1", "seed=2", "model=gru,lstm"]).combinations[0][:2] == ["seed=1", "seed=2"]
