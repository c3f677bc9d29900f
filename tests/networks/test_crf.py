"""A CRF against sums and maxima over all taggings, written out."""

import itertools
import math

import pytest
import torch

from lmexp.networks.crf import FORBIDDEN, LinearChainCRF, iob2_rules

LABELS = ("O", "B-A", "I-A", "B-C", "I-C")
K = len(LABELS)
LENGTHS = (4, 1, 3, 0, 2)
BEGINS = torch.tensor([True, True, False, True, False])
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
EXACT = {"rtol": 0, "atol": 0}


def crf() -> LinearChainCRF:
    torch.manual_seed(0)
    own = LinearChainCRF(*iob2_rules(LABELS))
    torch.nn.init.normal_(own.first)
    torch.nn.init.normal_(own.transitions)
    return own


def scores_and_mask(width: int = max(LENGTHS)):
    torch.manual_seed(1)
    mask = torch.arange(width) < torch.tensor(LENGTHS)[:, None]
    return torch.randn(len(LENGTHS), width, K), mask


def is_allowed(tagging, begins) -> bool:
    """Whether IOB2 knows a tagging; of a window that does not begin a sentence it cannot tell."""
    before = ("O", *tagging) if begins else tagging
    return all(
        not tag.startswith("I-") or other in (f"B{tag[1:]}", f"I{tag[1:]}")
        for other, tag in itertools.pairwise(before)
    )


def taggings(own, scores, length: int, begins: bool):
    """Every tagging with its score, those that IOB2 forbids left out."""
    for tagging in itertools.product(range(K), repeat=length):
        if is_allowed([LABELS[tag] for tag in tagging], begins):
            total = sum(scores[word, tag].item() for word, tag in enumerate(tagging))
            total += own.first[tagging[0]].item() if begins else 0.0
            total += sum(own.transitions[a, b].item() for a, b in itertools.pairwise(tagging))
            yield tagging, total


def log_sum(totals) -> float:
    return math.log(math.fsum(math.exp(total) for total in totals))


@pytest.fixture
def everything():
    """The CRF, scores, mask, and of each row all taggings with their scores."""
    own, (scores, mask) = crf(), scores_and_mask()
    rows = [
        list(taggings(own, scores[row], length, bool(BEGINS[row]))) if length else []
        for row, length in enumerate(LENGTHS)
    ]
    return own, scores, mask, rows


def test_the_partition_is_the_sum_over_all_taggings(everything):
    own, scores, mask, rows = everything

    found = own.log_partition(scores, mask, BEGINS)

    expected = [log_sum(total for _, total in row) if row else 0.0 for row in rows]
    torch.testing.assert_close(found, torch.tensor(expected), **CLOSE)


def test_the_loss_is_that_of_the_taggings_that_the_labels_leave_open(everything):
    own, scores, mask, rows = everything
    labels = torch.tensor([[1, 2, -1, -1], [-1] * 4, [4, 4, 0, 0], [0] * 4, [2, -1, 0, 0]])

    found = own(scores, labels, mask, BEGINS)

    expected = [
        log_sum(total for _, total in row)
        - log_sum(
            total
            for tagging, total in row
            if all(
                label in (-1, tag) for tag, label in zip(tagging, labels[n].tolist(), strict=False)
            )
        )
        if row
        else 0.0
        for n, row in enumerate(rows)
    ]
    torch.testing.assert_close(found, torch.tensor(expected), **CLOSE)
    assert found[1] == 0  # of which nothing is known


def test_the_best_tagging_is_the_best_of_all(everything):
    own, scores, mask, rows = everything

    found = own.decode(scores, mask, BEGINS)

    for n, row in enumerate(rows):
        if row:
            assert tuple(found[n, : LENGTHS[n]].tolist()) == max(row, key=lambda own: own[1])[0]


def test_marginals_are_sums_over_the_taggings_with_a_tag(everything):
    own, scores, mask, rows = everything

    found = own.marginals(scores, mask, BEGINS)

    expected = torch.zeros_like(scores)
    for n, row in enumerate(rows):
        whole = log_sum(total for _, total in row) if row else 0.0
        for tagging, total in row:
            for word, tag in enumerate(tagging):
                expected[n, word, tag] += math.exp(total - whole)
    torch.testing.assert_close(found, expected, **CLOSE)
    assert not found[~mask].any()


def test_what_iob2_does_not_know_is_never_given():
    own = crf()
    scores = torch.zeros(1, 3, K)
    scores[0, :, LABELS.index("I-A")] = 50.0

    given = own.decode(scores, torch.ones(1, 3, dtype=torch.bool), torch.tensor([True]))

    assert [LABELS[tag] for tag in given[0]] == ["B-A", "I-A", "I-A"]


def test_a_window_within_a_sentence_may_begin_inside_an_entity():
    own = crf()
    scores = torch.zeros(1, 2, K)
    scores[0, :, LABELS.index("I-A")] = 50.0
    inside = torch.full((1, 2), LABELS.index("I-A"))
    mask, begins = torch.ones(1, 2, dtype=torch.bool), torch.tensor([False])

    assert own.decode(scores, mask, begins).equal(inside)
    assert own(scores, inside, mask, begins).item() < 1.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_padding_and_other_rows_change_nothing(dtype):
    own, (scores, mask) = crf(), scores_and_mask()
    scores = scores.to(dtype)
    labels = torch.zeros(mask.shape, dtype=torch.int64)
    wide = torch.cat([scores, torch.full_like(scores, 9.0)], dim=1)
    wide_mask = torch.cat([mask, torch.zeros_like(mask)], dim=1)

    loss, given = own(scores, labels, mask, BEGINS), own.decode(scores, mask, BEGINS)
    padded = own(wide, torch.cat([labels, labels + 1], dim=1), wide_mask, BEGINS)

    torch.testing.assert_close(padded, loss, **EXACT)
    assert own.decode(wide, wide_mask, BEGINS)[:, : mask.shape[1]].equal(given)
    for row, length in enumerate(LENGTHS):
        part = slice(row, row + 1)
        alone = own(scores[part], labels[part], mask[part], BEGINS[part])
        torch.testing.assert_close(alone, loss[part], rtol=1e-6, atol=1e-6)
        assert own.decode(scores[part], mask[part], BEGINS[part])[0, :length].equal(
            given[row, :length]
        )


def test_scores_of_16_bits_are_summed_in_32():
    own, (scores, mask) = crf(), scores_and_mask()
    labels = torch.zeros(mask.shape, dtype=torch.int64)
    scores = scores.bfloat16()

    for autocast in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            found = own(scores, labels, mask, BEGINS), own.marginals(scores, mask, BEGINS)

        assert [part.dtype for part in found] == [torch.float32, torch.float32]
        torch.testing.assert_close(found[0], own(scores.float(), labels, mask, BEGINS), **EXACT)


def test_gradients_are_those_of_finite_differences():
    own, (scores, mask) = crf().double(), scores_and_mask()
    labels = torch.tensor([[1, 2, 0, -1], [0] * 4, [4, 4, 0, 0], [0] * 4, [3, 4, 0, 0]])
    own.first.requires_grad_()
    step = 1e-2  # the CRF computes in float32
    weights = [scores.requires_grad_(), own.first, own.transitions]

    own(scores, labels, mask, BEGINS).sum().backward()

    for weight in weights:
        flat, gradient = weight.data.view(-1), weight.grad.view(-1)
        for place in range(0, len(flat), 3):
            before = flat[place].item()
            ends = []
            for change in (step, -step):
                flat[place] = before + change
                ends.append(own(scores, labels, mask, BEGINS).sum().item())
            flat[place] = before
            assert gradient[place].item() == pytest.approx(
                (ends[0] - ends[1]) / (2 * step), abs=2e-3
            )


def test_a_tagging_that_cannot_be_costs_what_is_forbidden_and_no_more():
    own, (scores, mask) = crf(), scores_and_mask()
    labels = torch.full(mask.shape, LABELS.index("I-A"))

    loss = own(scores, labels, mask, torch.ones(len(LENGTHS), dtype=torch.bool))

    assert loss.isfinite().all()
    assert loss[0].item() == pytest.approx(-FORBIDDEN, rel=0.01)


@pytest.mark.parametrize(
    ("tag", "after"),
    [
        ("O", {"O", "B-A", "B-C"}),
        ("B-A", {"O", "B-A", "I-A", "B-C"}),
        ("I-C", {"O", "B-A", "B-C", "I-C"}),
    ],
)
def test_an_inside_follows_its_own_type_alone(tag, after):
    starts, follows = iob2_rules(LABELS)

    row = follows[LABELS.index(tag)].tolist()

    assert {label for label, may in zip(LABELS, row, strict=True) if may} == after
    assert [label for label, may in zip(LABELS, starts, strict=True) if may] == ["O", "B-A", "B-C"]


def test_where_o_alone_is_known_o_alone_is_given():
    own = LinearChainCRF(*iob2_rules(("O",)))
    scores, mask = torch.randn(2, 3, 1), torch.ones(2, 3, dtype=torch.bool)
    begins = torch.ones(2, dtype=torch.bool)

    assert not own.decode(scores, mask, begins).any()
    assert own(scores, torch.zeros(2, 3, dtype=torch.int64), mask, begins).tolist() == [0, 0]
