import math
from types import SimpleNamespace

import pytest
import torch

from lmexp.decoding.beam import Beam, Hypothesis
from lmexp.decoding.coverage import coverage, ranked_by_coverage

# of one source of two tokens and its end, where each token of the text and its end look:
SHORT = [[1.0, 0.0, 0.0], [0.25, 0.25, 0.5]]  # one token: the source is seen 1.25, 0.25, 0.5 times
LONG = [[0.5, 0.5, 0.0], [0.25, 0.5, 0.25], [0.25, 0.25, 0.5]]  # two tokens: 1, 1.25, 0.75 times


class Scripted:
    """Looks where it is told to."""

    output = SimpleNamespace(weight=torch.zeros(1))

    def __init__(self, *looks):
        self.looks = looks

    def hidden(self, source_ids, source_mask, target_ids):
        raise AssertionError

    encode = start = step = reorder = __call__ = hidden

    def cross_attention(self, source_ids, source_mask, target_ids):
        self.target_ids = target_ids
        heads = torch.full((2, len(self.looks), 2, target_ids.shape[1], source_ids.shape[1]), 9.0)
        for row, look in enumerate(self.looks):
            exact = torch.tensor(look)
            heads[1, row, 0, : len(look)] = 1.5 * exact  # in the last layer; their mean is `look`
            heads[1, row, 1, : len(look)] = 0.5 * exact
        return heads


def beam(**changes):
    options = {"size": 2, "length_penalty": 0.0, "max_ratio": 1.0, "max_extra": 0}
    options |= {"min_ratio": 0.0, "no_repeat_ngram": 0, "n_best": 2, "coverage_penalty": 2.0}
    return Beam(**(options | changes))


def test_coverage_of_an_example_by_hand():
    # log min(1.25, 1) + log min(0.25, 1) + log min(0.5, 1)
    assert coverage(torch.tensor(SHORT)) == pytest.approx(math.log(0.25) + math.log(0.5))
    assert coverage(torch.tensor(LONG)) == pytest.approx(math.log(0.75))


def test_a_source_that_was_all_looked_at_costs_nothing():
    assert coverage(torch.full((3, 3), 1 / 3)) == pytest.approx(0, abs=1e-6)


def test_a_source_token_that_was_never_looked_at_is_no_infinity():
    assert math.isfinite(coverage(torch.tensor([[1.0, 0.0]])))


def test_the_text_that_covers_its_source_wins():
    short, long = Hypothesis([7], -1.0, -1.0), Hypothesis([7, 8], -2.0, -2.0)
    network = Scripted(SHORT, LONG)

    first, second = ranked_by_coverage(network, [5, 6, 3], [short, long], beam())

    assert (first.ids, second.ids) == ([7, 8], [7])
    assert first.score == pytest.approx(-2 + 2 * math.log(0.75))
    assert second.score == pytest.approx(-1 + 2 * math.log(0.125))
    assert (first.log_probability, second.log_probability) == (-2.0, -1.0)
    assert network.target_ids.tolist() == [[2, 7, 0], [2, 7, 8]]  # bos first


def test_the_n_best_of_all_finished_texts_are_returned():
    texts = [Hypothesis([7], -1.0, -1.0), Hypothesis([7, 8], -2.0, -2.0)]
    (best,) = ranked_by_coverage(Scripted(SHORT, LONG), [5, 6, 3], texts, beam(n_best=1))
    assert best.ids == [7, 8]
    assert (beam(n_best=1).kept, beam(n_best=1, coverage_penalty=0.0).kept) == (2, 1)


def test_a_network_that_does_not_say_where_it_looks_is_refused():
    with pytest.raises(ValueError, match=r"SimpleNamespace has no cross_attention\(\): write eval"):
        ranked_by_coverage(SimpleNamespace(), [3], [Hypothesis([], 0.0, 0.0)], beam())
