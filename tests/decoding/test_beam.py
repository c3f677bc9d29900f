import itertools
import math
from types import SimpleNamespace

import pytest
import torch

from lmexp.decoding.beam import Beam, _largest, beam_search

BOS, EOS = 0, 1
VOCAB = 5  # the last two are ordinary
TABLE = torch.randn(10_007, VOCAB, generator=torch.Generator().manual_seed(0)) * 2


class Oracle:
    """Logits are a function of the whole prefix and of what `start` was given."""

    output = SimpleNamespace(weight=torch.zeros(VOCAB, 1))

    def start(self, memory=None):
        return (torch.tensor(memory),)

    def step(self, ids, state, attention_mask=None):
        (keys,) = state
        for column in ids.T:
            keys = (keys * 31 + column + 7) % len(TABLE)
        return TABLE[keys], (keys,)

    def reorder(self, state, rows):
        return tuple(part[rows] for part in state)


def beam(**changes):
    options = {"size": 3, "length_penalty": 0.0, "max_ratio": 1.0, "max_extra": 0}
    options |= {"min_ratio": 0.0, "no_repeat_ngram": 0, "n_best": 1}
    return Beam(**(options | changes))


def search(settings, keys=(1,), lengths=None, **options):
    lengths = lengths or [4] * len(keys)
    knobs = {"bos_id": BOS, "eos_id": EOS, "forbidden_ids": [BOS]} | options
    oracle = Oracle()
    return beam_search(oracle, oracle.start(list(keys)), lengths, settings, **knobs)


def log_probability(key, ids, forbidden=(BOS,)):
    """Of ids and the end, one token after the other; forbidden tokens keep their share."""
    oracle, total = Oracle(), 0.0
    logits, state = oracle.step(torch.tensor([[BOS]]), oracle.start([key]))
    for token in ids:
        total += logits.log_softmax(-1)[0, token].item()
        logits, state = oracle.step(torch.tensor([[token]]), state)
    return total + logits.log_softmax(-1)[0, EOS].item()


def every_text(longest):
    """All texts of at most `longest` tokens over the three that are no bos and no eos."""
    return itertools.chain.from_iterable(
        itertools.product((2, 3, 4), repeat=length) for length in range(longest + 1)
    )


@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
@pytest.mark.parametrize("key", [1, 2, 3])
def test_a_full_beam_finds_what_brute_force_finds(alpha, key):
    settings = beam(size=200, length_penalty=alpha, n_best=5)
    ranked = sorted(
        every_text(4),
        key=lambda ids: log_probability(key, ids) / settings.penalty(len(ids) + 1),
        reverse=True,
    )

    (found,) = search(settings, [key])

    assert [tuple(text.ids) for text in found] == ranked[:5]


def test_scores_are_those_of_forced_decoding():
    for text in search(beam(size=4, length_penalty=0.7, n_best=4))[0]:
        assert text.log_probability == pytest.approx(log_probability(1, text.ids), abs=1e-5)
        length = len(text.ids) + 1
        assert text.score == pytest.approx(text.log_probability / ((5 + length) / 6) ** 0.7)


@pytest.mark.parametrize("key", range(1, 9))
def test_a_beam_of_one_is_greedy(key):
    oracle, greedy, token = Oracle(), [], BOS
    state = oracle.start([key])
    while len(greedy) < 6:
        logits, state = oracle.step(torch.tensor([[token]]), state)
        logits = logits.index_fill(1, torch.tensor([BOS]), -math.inf)
        token = int(logits.argmax())
        if token == EOS:
            break
        greedy.append(token)

    ((text,),) = search(beam(size=1), [key], [6])

    assert text.ids == greedy


def test_batch_mates_and_their_order_change_nothing():
    keys, lengths = [5, 1, 9, 3], [3, 7, 1, 12]
    alone = [search(beam(), [key], [length])[0] for key, length in zip(keys, lengths, strict=True)]

    assert search(beam(), keys, lengths) == alone
    assert search(beam(), keys[::-1], lengths[::-1]) == alone[::-1]


def test_lengths_keep_within_their_bounds():
    settings = beam(min_ratio=0.5, max_ratio=0.75, max_extra=1, n_best=3)

    for length in (4, 8):
        ((*texts,),) = search(settings, [1], [length])
        assert texts
        assert all(length / 2 <= len(text.ids) <= length * 3 / 4 + 1 for text in texts)


def test_no_ngram_stands_twice():
    (free,) = search(beam(size=2, min_ratio=1.0), [4], [12])
    (held,) = search(beam(size=2, min_ratio=1.0, no_repeat_ngram=2), [4], [8])

    def bigrams(ids):
        return list(itertools.pairwise(ids))

    assert len(set(bigrams(free[0].ids))) < len(bigrams(free[0].ids))
    assert len(set(bigrams(held[0].ids))) == len(bigrams(held[0].ids)) == 7


def test_a_text_begins_with_its_prefix_and_the_bounds_are_of_what_follows():
    prefixes = [[3, 4, 3], []]

    with_prefix, without = search(beam(min_ratio=1.0), [1, 1], [2, 2], prefixes=prefixes)

    assert with_prefix[0].ids[:3] == [3, 4, 3]
    assert len(with_prefix[0].ids) == 5
    assert without == search(beam(min_ratio=1.0), [1], [2])[0]
    assert with_prefix[0].log_probability == pytest.approx(
        log_probability(1, with_prefix[0].ids), abs=1e-5
    )


def test_forbidden_ids_are_never_chosen():
    for (text,) in search(beam(), range(20), forbidden_ids=[BOS, 3]):
        assert 3 not in text.ids


class Sure(Oracle):
    """Writes 3 4 3 4 3 4 and ends, and thinks nothing of the other tokens, of the end most."""

    def step(self, ids, state, attention_mask=None):
        lengths = state[0] + ids.shape[1]
        logits = torch.full((len(ids), VOCAB), -20.0)
        logits[:, EOS] = -10
        sure = torch.where(lengths > 6, EOS, torch.where(lengths % 2 == 1, 3, 4))
        logits[torch.arange(len(ids)), sure] = 0
        return logits, (lengths,)


@pytest.mark.parametrize("alpha", [0.0, 0.6])
def test_ends_that_are_junk_do_not_crowd_out_the_text_that_the_network_is_sure_of(alpha):
    network = Sure()
    settings = beam(size=4, length_penalty=alpha, max_extra=20)

    ((text,),) = beam_search(
        network, network.start([0]), [6], settings, bos_id=BOS, eos_id=EOS, forbidden_ids=[BOS]
    )

    assert text.ids == [3, 4, 3, 4, 3, 4]
    assert text.log_probability > -0.01


def test_a_wider_beam_is_no_less_probable_here():
    narrow = search(beam(size=1), range(50), [6] * 50)
    wide = search(beam(size=50), range(50), [6] * 50)

    better = [w[0].score >= n[0].score - 1e-6 for w, n in zip(wide, narrow, strict=True)]
    assert all(better)


def test_more_texts_than_beams_are_refused():
    with pytest.raises(ValueError, match=r"n_best=4 texts of a beam of size=3: write size=4"):
        beam(n_best=4)


def test_an_empty_source_of_length_zero_gives_an_empty_text():
    ((text,),) = search(beam(), [1], [0])
    assert text.ids == []
    assert math.isfinite(text.score)


class Damaged(Oracle):
    """Good for two tokens; then one of its logits is not a number."""

    def step(self, ids, state, attention_mask=None):
        logits, state = super().step(ids, state)
        self.steps = getattr(self, "steps", 0) + 1
        if self.steps == 3:
            logits[0, 3] = math.nan
        return logits, state


def test_logits_that_are_not_finite_are_refused():
    oracle = Damaged()
    with pytest.raises(ValueError, match="logits are not finite"):
        beam_search(
            oracle,
            oracle.start([1]),
            [4],
            beam(min_ratio=1.0),
            bos_id=BOS,
            eos_id=EOS,
            forbidden_ids=[BOS],
        )


def test_settings_that_no_text_keeps_to_are_refused():
    longest = beam(no_repeat_ngram=1, min_ratio=VOCAB / 4)  # more tokens than there are different
    with pytest.raises(
        ValueError, match=r"min_ratio=.* and eval\.no_repeat_ngram=1: there are too"
    ):
        search(longest)


@pytest.mark.parametrize("numbers", [3, 10, 64 * 10, 64 * 11, 64 * 40 + 17])
def test_the_largest_are_those_of_topk(numbers):
    x = torch.randn(5, numbers).masked_fill(torch.rand(5, numbers) < 0.3, -math.inf)
    x[0] = -math.inf
    values, places = _largest(x, 10)
    assert torch.equal(values, x.topk(min(10, numbers), dim=1).values)
    assert torch.equal(values, x.gather(1, places))
    assert all(len(set(row)) == len(row) for row in places.tolist())


def test_the_largest_begin_with_what_is_not_a_number():
    x = torch.randn(1, 64 * 40)
    x[0, 1234] = math.nan
    values, places = _largest(x, 10)
    assert values[0, 0].isnan()
    assert places[0, 0] == 1234
