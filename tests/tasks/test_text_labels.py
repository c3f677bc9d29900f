"""A classifier's task: its loss, what it makes of labels it does not know, and its figures."""

import math
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import sklearn.metrics
import torch

from lmexp.collate_labels import LabelRow, collate_labels
from lmexp.networks.interface import Vocab
from lmexp.networks.recurrent import Recurrent
from lmexp.tasks.label_network import pooled
from lmexp.tasks.text_labels import TextLabels

TEXT = Vocab(size=23, pad_id=0, bos_id=2, eos_id=3, mask_id=4)
LABELS = ("bad", "fair", "good")
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


def task(**changes) -> TextLabels:
    torch.manual_seed(0)
    options = {"pooling": "mean", "dropout": 0.0, "class_weights": None, "label_smoothing": 0.0}
    options |= {"focal_gamma": 0.0, "clip_norm": None, "ema_decay": None}
    model = TextLabels(GRU, LabelVocab(TEXT, LABELS), **(options | changes)).eval()
    torch.nn.init.normal_(model.network.head.weight)
    return model


def batch(*labels, count=None):
    """Texts of one to nine tokens with the given labels, one each or lists of them."""
    rng = np.random.default_rng(0)
    rows = [
        LabelRow(
            [rng.integers(7, TEXT.size, 1 + n % 9)],
            np.array(own if isinstance(own, list) else [own], dtype=np.int64),
        )
        for n, own in enumerate(labels)
    ]
    return collate_labels(rows, count)


def store(*more):
    return SimpleNamespace(counts={"labels": [*LABELS, *more]})


def test_the_loss_is_that_of_the_right_labels():
    model, own = task(), batch(0, 2, 1, 1)
    logs = model.network(own).log_softmax(-1)

    sums, _ = model.sums(own, None)

    torch.testing.assert_close(sums.nll, -logs[range(4), [0, 2, 1, 1]].sum())
    assert sums.tokens == 4


def test_a_label_that_no_training_text_has_is_an_error_and_no_part_of_the_loss():
    model, own = task(), batch(0, 3, 1)
    known = model.sums(own, None)[0]

    report = model.evaluate([own], store("new"))

    assert known.tokens == 2
    assert report.loss == pytest.approx((known.nll / 2).item())
    assert report.texts == 3
    assert report.classes.report.rows["new"][2:] == (0.0, 1)
    assert report.classes.confusion.shape == (4, 4)
    assert report.accuracy <= 2 / 3


def test_one_label_each_is_scored_as_scikit_learn_scores_it():
    model = task()
    gold = [n % 3 for n in range(20)]
    given = model.network(batch(*gold)).argmax(-1).tolist()

    figures = model.evaluate([batch(*gold)], store()).figures()

    assert len(set(given)) > 1
    assert figures["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(gold, given))
    macro = sklearn.metrics.f1_score(gold, given, average="macro")
    assert figures["macro_f1"] == pytest.approx(macro)
    assert figures["mcc"] == pytest.approx(sklearn.metrics.matthews_corrcoef(gold, given))


def test_several_labels_are_scored_as_scikit_learn_scores_them():
    model = task(multiple=True)
    gold = [[0], [1, 2], [], [0, 1, 2], [2], [1], [0, 2]]
    own = batch(*gold, count=3)
    given = (model.network(own) > 0).numpy()
    right = own.labels.numpy() == 1

    figures = model.evaluate([own], store()).figures()

    assert given.any()
    assert figures["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(right, given))
    for average in ("micro", "macro"):
        expected = sklearn.metrics.f1_score(right, given, average=average)
        assert figures[f"{average}_f1"] == pytest.approx(expected)


def test_a_label_that_occurs_nowhere_counts_in_no_average():
    model = task(multiple=True)
    own = batch([0], [1], [0, 1], count=3)
    with torch.no_grad():
        model.network.head.weight.zero_()
        model.network.head.bias.copy_(torch.tensor([1.0, 1.0, -1.0]))  # the third never

    figures = model.evaluate([own], store()).figures()

    assert figures["macro_f1"] == pytest.approx(0.8)  # of two, each right in two of three


def test_of_several_labels_one_that_no_training_text_has_is_missed():
    model = task(multiple=True)
    own, without = batch([0, 3], [1], count=4), batch([0], [1], count=3)

    report = model.evaluate([own], store("new"))

    assert report.counts.hits["new"] == (0, 0, 1)
    assert report.loss == pytest.approx(model.evaluate([without], store()).loss)


@pytest.mark.parametrize("multiple", [False, True])
def test_batches_change_no_figure(multiple):
    model, count = task(multiple=multiple), 3 if multiple else None
    labels = [0, 2, 1, 1, 0]
    whole = batch(*labels, count=count)
    parts = [type(whole)(*(part[rows] for part in whole)) for rows in (slice(0, 2), slice(2, 5))]

    one, several = (model.evaluate(own, store()).figures() for own in ([whole], parts))

    assert one == pytest.approx(several)


def test_weights_count_in_the_objective_alone():
    model, own = task(class_weights={"good": 3.0}), batch(0, 2)
    logs = model.network(own).log_softmax(-1)

    sums, _ = model.sums(own, None)

    torch.testing.assert_close(sums.objective, -(logs[0, 0] + 3 * logs[1, 2]))
    torch.testing.assert_close(sums.nll, -(logs[0, 0] + logs[1, 2]))


@pytest.mark.parametrize("changes", [{"label_smoothing": 0.1}, {"focal_gamma": 2.0}])
def test_what_is_minimised_may_differ_from_what_is_reported(changes):
    own = batch(0, 2, 1)
    plain, _ = task().sums(own, None)

    sums, _ = task(**changes).sums(own, None)

    assert sums.nll == plain.nll
    assert sums.objective != plain.objective


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_weights": {"god": 2.0}}, r"task\.class_weights names god: .*bad, fair, good"),
        ({"class_weights": {"good": -1.0}}, r"task\.class_weights.*good=-1"),
        ({"class_weights": {"good": math.nan}}, r"task\.class_weights.*good=nan"),
        ({"multiple": True, "label_smoothing": 0.1}, r"data\.multiple=true with .*write 0"),
        ({"multiple": True, "class_weights": {"good": 2.0}}, r"data\.multiple=true with"),
    ],
)
def test_what_does_not_go_together_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        task(**changes)


def test_probabilities_are_those_of_one_class_or_of_each():
    scores = torch.tensor([[0.0, math.log(2), 0.0]])

    assert task().probabilities(scores)[0].tolist() == pytest.approx([0.25, 0.5, 0.25])
    several = task(multiple=True).probabilities(scores)[0].tolist()
    assert several == pytest.approx([0.5, 2 / 3, 0.5])


def test_pooling_by_hand():
    hidden = torch.tensor([[[1.0, -4.0], [3.0, -2.0], [9.0, 9.0]], [[5.0, 5.0]] * 3])
    mask = torch.tensor([[True, True, False], [False, False, False]])

    assert pooled(hidden, mask, "mean").tolist() == [[2.0, -3.0], [0.0, 0.0]]
    assert pooled(hidden, mask, "max").tolist() == [[3.0, -2.0], [0.0, 0.0]]
    assert pooled(hidden, mask, "first").tolist() == [[1.0, -4.0], [0.0, 0.0]]
