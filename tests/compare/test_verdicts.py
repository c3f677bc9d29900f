import subprocess
import sys

import pytest

from lmexp.compare.seeds import aggregate, difference, holm
from lmexp.compare.verdicts import rows

GROUPS = {
    "lstm": [4.10, 4.12, 4.08],
    "gru": [4.11, 4.15, 4.06],
    "rnn": [4.60, 4.64, 4.61],
    "transformer": [3.80, 3.77, 3.81],
    "huge": [1.0, 1.1],
    "once": [3.0],
}


def test_rows_hold_what_seeds_say_of_groups_and_differences():
    table = {row.group: row for row in rows(GROUPS, "lstm", greater_is_better=False)}

    assert list(table) == list(GROUPS)
    assert table["gru"].seeds == aggregate(GROUPS["gru"])
    assert table["gru"].against == difference(GROUPS["lstm"], GROUPS["gru"])
    tested = ["gru", "rnn", "transformer"]
    corrected = holm([difference(GROUPS["lstm"], GROUPS[name]).p for name in tested])
    assert [table[name].p_corrected for name in tested] == corrected
    assert table["lstm"][2:] == (None, None, None)


@pytest.mark.parametrize("greater_is_better", [True, False])
def test_verdicts_go_by_what_is_better(greater_is_better):
    found = rows(GROUPS, "lstm", greater_is_better=greater_is_better)

    higher, lower = ("better", "worse") if greater_is_better else ("worse", "better")
    assert {row.group: row.verdict for row in found} == {
        "lstm": None,
        "gru": "no difference shown",
        "rnn": higher,
        "transformer": lower,
        "huge": "too few seeds",
        "once": "too few seeds",
    }


def test_a_baseline_of_two_seeds_decides_nothing():
    found = rows(GROUPS, "huge", greater_is_better=True)

    assert {row.verdict for row in found} == {None, "too few seeds"}


def test_verdicts_go_by_the_corrected_p_value():
    # p = 0.031 alone, 0.062 of two
    groups = {"a": [1.0, 2.0, 3.0], "b": [3.7, 4.7, 5.7], "c": [3.7, 4.7, 5.7]}
    assert difference(groups["a"], groups["b"]).p == pytest.approx(0.031, abs=0.002)

    alone = rows({"a": groups["a"], "b": groups["b"]}, "a", greater_is_better=True)
    of_two = rows(groups, "a", greater_is_better=True)

    assert [row.verdict for row in alone] == [None, "better"]
    assert [row.verdict for row in of_two] == [None, *["no difference shown"] * 2]


def test_where_no_seed_changes_a_thing_the_verdict_says_so():
    groups = {"a": [0.5] * 3, "b": [0.6] * 3, "c": [0.5] * 3}

    found = rows(groups, "a", greater_is_better=True)

    assert [row.verdict for row in found] == [None, "seeds change nothing", "no difference shown"]


def test_a_baseline_that_is_none_of_the_groups_is_refused():
    with pytest.raises(ValueError, match="'lstn' is none of the groups: lstm, gru, rnn"):
        rows(GROUPS, "lstn", greater_is_better=True)


def test_no_part_of_it_imports_torch():
    program = (
        "import sys, lmexp.compare.paired, lmexp.compare.verdicts\n"
        "groups = {'a': [1, 2, 4], 'b': [2, 3, 4]}\n"
        "lmexp.compare.verdicts.rows(groups, 'a', greater_is_better=True)\n"
        "print({'torch', 'lightning', 'pandas'} & set(sys.modules))"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )

    assert done.stdout == "set()\n"
