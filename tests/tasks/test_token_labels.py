"""A tagger's task: its loss, what it makes of tags it does not know, and its figures."""

import math
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import torch

from lmexp.batch import IGNORE
from lmexp.collate_labels import TagRow, collate_tags
from lmexp.label_scores import entity_counts, token_counts
from lmexp.networks.interface import Vocab
from lmexp.networks.recurrent import Recurrent
from lmexp.tasks.tag_report import Tagged
from lmexp.tasks.token_labels import TokenLabels

TEXT = Vocab(size=13, pad_id=0, bos_id=2, eos_id=3, mask_id=4)
LABELS = ("O", "B-A", "I-A")
GRU = Recurrent(
    cell="gru",
    d_model=8,
    num_layers=1,
    dropout=0.0,
    variational=False,
    tied=True,
    attention="dot",
    shares_embeddings=True,
)


class LabelVocab(NamedTuple):
    text: Vocab
    labels: tuple[str, ...]


def task(**changes) -> TokenLabels:
    torch.manual_seed(0)
    options = {"spelling_size": 0, "crf": False, "dropout": 0.0, "label_smoothing": 0.0}
    options |= {"focal_gamma": 0.0, "entity_groups": None, "clip_norm": None, "ema_decay": None}
    return TokenLabels(GRU, LabelVocab(TEXT, LABELS), **(options | changes)).eval()


def batch(*tags, sentences=None, begins=None, tagged=None):
    """Rows of the given tags, of one token a word."""
    rows = [
        TagRow(
            sentence=sentences[n] if sentences else n,
            begins=begins[n] if begins else True,
            ids=np.arange(7, 7 + len(own)),
            word_lengths=np.ones(len(own), dtype=np.int64),
            tags=np.array(own),
            tagged=slice(*tagged[n]) if tagged else slice(0, len(own)),
            bytes=np.zeros(0, dtype=np.uint8),
            sizes=np.zeros(len(own), dtype=np.int64),
        )
        for n, own in enumerate(tags)
    ]
    return collate_tags(rows, 0)


def store(*more):
    return SimpleNamespace(counts={"labels": [*LABELS, *more]})


def test_the_loss_is_the_mean_over_words_that_are_tagged_here():
    model, own = task(), batch([0, 1, 2, 0], [1], tagged=[(1, 3), (0, 1)])
    logs = model.network(own).log_softmax(-1)
    expected = -(logs[0, 1, 1] + logs[0, 2, 2] + logs[1, 0, 1])

    sums, carried = model.sums(own, None)

    torch.testing.assert_close(sums.nll, expected)
    assert (sums.tokens, carried) == (3, None)


@pytest.mark.parametrize("crf", [False, True])
def test_a_tag_that_no_training_text_has_is_no_part_of_the_loss(crf):
    model = task(crf=crf)
    unknown, without = batch([0, 3, 1]), batch([0, IGNORE, 1])

    sums = [model.sums(own, None)[0] for own in (unknown, without)]

    torch.testing.assert_close(sums[0].nll, sums[1].nll)
    assert [own.tokens for own in sums] == [2, 2]


@pytest.mark.parametrize("crf", [False, True])
def test_a_tag_that_no_training_text_has_counts_as_an_error(crf):
    model, own = task(crf=crf), batch([0, 3, 1])

    report = model.evaluate([own], store("B-NEW"))

    assert report.entities.hits["NEW"] == (0, 0, 1)
    assert report.tokens.hits["B-NEW"] == (0, 0, 1)
    assert report.figures()["tokens"] == 3


def test_figures_are_those_of_whole_sentences_whatever_batches_they_come_in():
    model = task(crf=True)
    model.tagger.head.weight.data.normal_()
    gold = [[0, 1, 2, 0], [1, 2], [0, 0, 0], [2, 0, 1]]
    own = batch(*gold)
    given = model.given(model.network(own), own)
    names = [[[LABELS[tag] for tag in tags] for tags in part] for part in (gold, given)]

    one = model.evaluate([own], store())
    several = model.evaluate([batch(*gold[:1]), batch(*gold[1:])], store())

    assert one.figures() == pytest.approx(several.figures())
    assert one.entities.report() == entity_counts(*names).report()
    assert one.tokens.report() == token_counts(*names).report()


def test_windows_of_a_sentence_are_scored_together():
    """An entity whose words stand in two windows is one."""
    model = task()
    model.tagger.head.weight.data.zero_()
    model.tagger.head.bias.data[:] = torch.tensor([0.0, -9.0, 9.0])  # always I-A
    own = batch(
        [1, 2, 2], [2, 2, 2], sentences=[5, 5], begins=[True, False], tagged=[(0, 2), (1, 3)]
    )

    report = model.evaluate([own], store())

    assert report.entities.hits["A"] == (1, 0, 0)
    assert report.figures()["tokens"] == 4


def test_a_window_that_begins_inside_an_entity_costs_a_crf_no_more_than_others():
    model = task(crf=True)
    inside = batch([2, 2, 0], begins=[False], tagged=[(0, 3)])

    sums, _ = model.sums(inside, None)

    assert sums.nll < 3 * math.log(3) + 1


@pytest.mark.parametrize("crf", [False, True])
def test_confidences_are_probabilities_of_the_tags_given(crf):
    model = task(crf=crf)
    model.tagger.head.weight.data.normal_()
    own = batch([0, 1, 2, 0], [1], tagged=[(1, 3), (0, 1)])
    scores = model.network(own)
    given = model.given(scores, own)
    if crf:
        shares = model.tagger.crf.marginals(scores, own.firsts > 0, own.begins)
    else:
        shares = scores.softmax(-1)

    found = model.confidences(scores, own, given)

    assert [len(row) for row in found] == [2, 1]
    expected = [[shares[0, 1 + n, tag].item() for n, tag in enumerate(given[0])]]
    expected.append([shares[1, 0, given[1][0]].item()])
    assert found == [pytest.approx(row) for row in expected]


@pytest.mark.parametrize("changes", [{"label_smoothing": 0.1}, {"focal_gamma": 2.0}])
def test_what_is_minimised_may_differ_from_what_is_reported(changes):
    own = batch([0, 1, 2, 0])
    plain, _ = task().sums(own, None)

    sums, _ = task(**changes).sums(own, None)

    assert sums.nll == plain.nll
    assert sums.objective != plain.objective
    with pytest.raises(ValueError, match=r"task\.crf=true.*write task\.crf=false, or 0 for both"):
        task(crf=True, **changes)


def test_without_spelling_in_the_batches_there_is_no_layer_of_it():
    assert task(spelling_size=6).tagger.spelling is None
    assert task(spelling_size=6, spelled=True).tagger.spelling is not None
    assert task(spelling_size=0, spelled=True).tagger.spelling is None


def test_better_is_more_entities():
    assert (TokenLabels.monitor, TokenLabels.greater_is_better) == ("val/entity_f1", True)


@pytest.mark.parametrize("is_joined", [False, True])
def test_a_sample_shows_what_was_found_and_what_was_missed_of_it(is_joined):
    """Of two equal names one of which is found the other is missed."""
    model = task()
    own = batch([1, 0, 1])
    model._tagged = lambda _: Tagged(0.0, 3, [[1, 0, 1]], [[0, 0, 1]], [0])
    data = SimpleNamespace(
        evaluation=SimpleNamespace(sample_sentences=1),
        corpus=SimpleNamespace(joins_words=is_joined),
        first=lambda split, count: ([["Ann", "saw", "Ann"]], own),
        store=lambda split: store(),
    )

    text = model.sample(data).text

    words = "AnnsawAnn" if is_joined else "Ann saw Ann"
    assert text == f"{words}\n  found: Ann [A]; missed: Ann [A]"


@pytest.mark.parametrize("name", ["entity", "a b", "*"])
def test_a_group_has_to_be_a_name_of_figures(name):
    with pytest.raises(ValueError, match=r"trigger: '\*-trigger'"):
        task(entity_groups={name: "*"})
