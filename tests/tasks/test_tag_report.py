"""Figures of some types of entity beside those of all."""

import pytest

from lmexp.ranks import Ranks
from lmexp.tasks.tag_report import Tagged, tag_report

NAMES = ["O", "B-pledge-trigger", "B-sale-trigger", "B-sub", "B-obj"]
GROUPS = {"trigger": "*-trigger", "argument": "*"}


def report(groups):
    gold = [[1, 0, 3, 4], [2, 0, 3, 0]]
    given = [[1, 3, 3, 0], [1, 0, 3, 0]]
    return tag_report(Tagged(0.0, 8, gold, given, list(range(len(gold)))), NAMES, groups, Ranks())


def test_a_type_is_of_the_first_group_whose_pattern_fits():
    figures = report(GROUPS).figures()

    # triggers: two, one of them found, another wrongly; arguments: three, two of three given right
    assert figures["trigger_f1"] == figures["trigger_precision"] == 0.5
    assert figures["argument_precision"] == pytest.approx(2 / 3)
    assert figures["argument_recall"] == pytest.approx(2 / 3)
    assert figures["entity_f1"] == pytest.approx(2 * 3 / (5 + 5))


def test_groups_are_rows_of_the_report_below_the_averages():
    averages = report(GROUPS).entity_report().averages

    assert list(averages)[-2:] == ["trigger", "argument"]
    assert averages["trigger"].support == 2
    assert averages["argument"].support == 3


def test_a_group_of_no_type_that_is_there_has_figures_of_zero():
    assert report({"time": "date*"}).figures()["time_f1"] == 0.0
