"""What every encoder has to satisfy under a tagger and under a classifier."""

import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from architectures import ENCODERS, FIRST_ID, VOCAB

from lmexp.batch import IGNORE, LabelBatch, TagBatch
from lmexp.collate_labels import LabelRow, TagRow, collate_labels, collate_tags
from lmexp.tasks.text_labels import TextLabels
from lmexp.tasks.token_labels import TokenLabels

EXACT = {"rtol": 0, "atol": 0}
CLOSE = {"rtol": 1e-5, "atol": 1e-5}  # float32 sums in another order
STEPS = 60
SPELLING = 4


class LabelVocab(NamedTuple):
    text: object
    labels: tuple[str, ...]


TAGS = LabelVocab(VOCAB, ("O", "B-A", "I-A"))
CLASSES = LabelVocab(VOCAB, ("bad", "fair", "good", "new"))
PLAIN = {"dropout": 0.0, "label_smoothing": 0.0, "focal_gamma": 0.0, "clip_norm": None}


def tagger(name: str, *, crf: bool) -> TokenLabels:
    torch.manual_seed(0)
    options = PLAIN | {"ema_decay": None, "spelling_size": 6, "entity_groups": None}
    return TokenLabels(ENCODERS[name], TAGS, crf=crf, spelled=True, **options)


def classifier(name: str, *, multiple: bool = False, pooling: str = "mean") -> TextLabels:
    torch.manual_seed(0)
    options = PLAIN | {"ema_decay": None, "class_weights": None, "pooling": pooling}
    return TextLabels(ENCODERS[name], CLASSES, multiple=multiple, **options)


def tag_rows() -> list[TagRow]:
    """Four windows of one to six words, the last one a middle of a sentence."""
    rng = np.random.default_rng(0)
    rows = []
    for number, tags in enumerate([[0, 1, 2, 2, 0, 1], [1], [0, 0, 1], [2, 2, 0, 0]]):
        lengths = rng.integers(1, 3, len(tags))
        sizes = rng.integers(1, SPELLING + 1, len(tags))
        rows.append(
            TagRow(
                sentence=number,
                begins=number < 3,
                ids=rng.integers(FIRST_ID, VOCAB.size, lengths.sum()),
                word_lengths=lengths,
                tags=np.array(tags),
                tagged=slice(1, 4) if number == 3 else slice(0, len(tags)),
                bytes=rng.integers(256, size=sizes.sum()).astype(np.uint8),
                sizes=sizes,
            )
        )
    return rows


def label_rows() -> list[LabelRow]:
    """Four texts, one of them a pair."""
    rng = np.random.default_rng(0)
    lengths = [(3,), (7,), (2, 5), (1,)]
    return [
        LabelRow(
            [rng.integers(FIRST_ID, VOCAB.size, n) for n in own], np.array([label], dtype=np.int64)
        )
        for label, own in enumerate(lengths)
    ]


KINDS = ("tags", "tags with a crf", "labels", "several labels")


def task_of(kind: str, name: str):
    if kind.startswith("tags"):
        return tagger(name, crf="crf" in kind)
    return classifier(name, multiple=kind.startswith("several"))


def batch_of(kind: str, rows=slice(None)):
    if kind.startswith("tags"):
        return collate_tags(tag_rows()[rows], SPELLING)
    return collate_labels(label_rows()[rows], len(CLASSES.labels) if "several" in kind else None)


@pytest.fixture(params=ENCODERS)
def name(request):
    return request.param


@pytest.mark.parametrize("kind", KINDS)
def test_four_examples_can_be_memorised(name, kind):
    task, batch = task_of(kind, name).train(), batch_of(kind)
    optimizer = torch.optim.Adam(task.parameters(), lr=0.01)

    for _ in range(STEPS):
        optimizer.zero_grad()
        sums, _ = task.sums(batch, None)
        (sums.objective / sums.tokens).backward()
        optimizer.step()
        if sums.objective / sums.tokens < 0.05:
            break

    scores = task.eval().network(batch)
    if kind.startswith("tags"):
        right = [own[own != IGNORE].tolist() for own in batch.labels]
        assert task.given(scores, batch) == right
    elif task.multiple:
        assert (scores > 0).long().equal(batch.labels)
    else:
        assert scores.argmax(dim=1).equal(batch.labels)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("tags", math.log(3)), ("labels", math.log(4)), ("several labels", 4 * math.log(2))],
)
def test_an_untrained_network_guesses(name, kind, expected):
    task, batch = task_of(kind, name).eval(), batch_of(kind)

    sums, _ = task.sums(batch, None)

    assert (sums.nll / sums.tokens).item() == pytest.approx(expected, rel=0.35)


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_restores_it_bit_for_bit(name, kind):
    task, batch = task_of(kind, name).eval(), batch_of(kind)
    for parameter in task.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    before = task.network(batch)
    state = {key: value.clone() for key, value in task.state_dict().items()}
    for parameter in task.parameters():
        parameter.data.zero_()

    task.load_state_dict(state)

    torch.testing.assert_close(task.network(batch), before, **EXACT)


def padded(batch, columns: int = 5):
    """Tokens and words of padding on the right, with whatever stands there."""
    width = {"value": 0}
    tokens = {
        key: torch.nn.functional.pad(getattr(batch, key), (0, columns), **width)
        for key in ("input_ids", "attention_mask", "segment_ids")
        if hasattr(batch, key)
    }
    tokens["input_ids"][:, -columns:] = FIRST_ID
    if isinstance(batch, TagBatch):
        pad = (0, columns)
        tokens |= {
            "firsts": torch.nn.functional.pad(batch.firsts, pad),
            "labels": torch.nn.functional.pad(batch.labels, pad, value=IGNORE),
            "spelling": torch.nn.functional.pad(batch.spelling, (0, 3, 0, columns)),
            "spelling_sizes": torch.nn.functional.pad(batch.spelling_sizes, pad),
        }
    return batch._replace(**tokens)


def strengthened(task):
    """Initial weights are too small to show a leak, and spelling begins as zeros."""
    for parameter in task.parameters():
        if parameter.dim() == 2:
            parameter.data.normal_(std=0.1)
    return task.eval()


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_nothing_whatever_stands_there(name, kind):
    task, batch = strengthened(task_of(kind, name)), batch_of(kind)

    scores, with_padding = task.network(batch), task.network(padded(batch))

    if kind.startswith("tags"):
        is_word = batch.firsts > 0
        with_padding = with_padding[:, : scores.shape[1]]
        torch.testing.assert_close(with_padding[is_word], scores[is_word], **CLOSE)
        assert task.given(task.network(padded(batch)), padded(batch)) == task.given(scores, batch)
    else:
        torch.testing.assert_close(with_padding, scores, **CLOSE)
    losses = [task.sums(own, None)[0].nll for own in (batch, padded(batch))]
    torch.testing.assert_close(losses[0], losses[1], **CLOSE)


@pytest.mark.parametrize("kind", KINDS)
def test_examples_of_a_batch_do_not_mix(name, kind):
    task = strengthened(task_of(kind, name))

    together, _ = task.sums(batch_of(kind), None)

    alone = [task.sums(batch_of(kind, slice(n, n + 1)), None)[0] for n in range(4)]
    torch.testing.assert_close(sum(own.nll for own in alone), together.nll, **CLOSE)
    assert sum(own.tokens for own in alone) == together.tokens


@pytest.mark.parametrize("is_training", [False, True])
@pytest.mark.parametrize("is_bf16", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_row_of_padding_alone_gives_no_nan(name, kind, is_bf16, is_training):
    task, batch = task_of(kind, name).train(is_training), batch_of(kind)
    batch.attention_mask[1] = False
    batch.labels[1] = IGNORE
    if isinstance(batch, TagBatch):
        batch.firsts[1] = 0
        batch.spelling_sizes[1] = 0

    with torch.autocast("cpu", torch.bfloat16, enabled=is_bf16):
        sums, _ = task.sums(batch, None)
        sums.objective.backward()

    assert sums.objective.isfinite()
    assert sums.objective.dtype == torch.float32
    assert all(p.grad.isfinite().all() for p in task.parameters() if p.grad is not None)


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_of_nothing_adds_nothing_and_has_gradients_of_zero(name, kind):
    task, nothing = task_of(kind, name), batch_of(kind, slice(0, 0))

    sums, _ = task.sums(nothing, None)
    sums.objective.backward()

    assert (sums.objective, sums.tokens) == (0, 0)
    assert all((p.grad == 0).all() for p in task.parameters() if p.grad is not None)


@pytest.mark.parametrize("pooling", ["mean", "max", "first"])
def test_pooling_reads_real_tokens_alone(name, pooling):
    task, batch = strengthened(classifier(name, pooling=pooling)), batch_of("labels")

    torch.testing.assert_close(task.network(padded(batch)), task.network(batch), **CLOSE)
    assert isinstance(batch, LabelBatch)
