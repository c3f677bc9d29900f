from collections import Counter

import pytest

from lmexp.corpora.splitting import Fractions


def test_shakespeare_is_cut_where_everybody_cuts_it():
    assert Fractions(0.1, 0.0).bounds(1_115_394) == (1_003_854, 1_115_394)


def test_positions_are_train_then_val_then_test():
    fractions = Fractions(0.2, 0.1)

    splits = [fractions.of_position(position, 10) for position in range(10)]

    assert splits == ["train"] * 7 + ["val"] * 2 + ["test"]


def test_keys_are_spread_by_the_fractions_and_stay():
    fractions = Fractions(0.2, 0.1)

    splits = [fractions.of_key(str(number).encode()) for number in range(10_000)]

    counts = Counter(splits)
    assert counts["val"] == pytest.approx(2000, abs=120)  # three sigmas
    assert counts["test"] == pytest.approx(1000, abs=90)
    assert splits[:5] == [fractions.of_key(str(number).encode()) for number in range(5)]


@pytest.mark.parametrize("fractions", [(-0.1, 0.0), (0.6, 0.4)])
def test_fractions_leave_something_to_train_on(fractions):
    with pytest.raises(ValueError, match="together less than 1"):
        Fractions(*fractions).check()
