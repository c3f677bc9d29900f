"""Matching texts: the loss among the targets of a micro-batch, and the ranks of right ones."""

import math

import pytest
import torch

from lmexp.batch import IGNORE, MatchBatch
from lmexp.networks.interface import PairVocab, Vocab
from lmexp.tasks.match_ranks import ranked, ranks_of
from lmexp.tasks.text_pairs import TextPairs
from tests.networks.architectures import ENCODERS

TEXT = Vocab(size=61, pad_id=0, bos_id=2, eos_id=3, mask_id=4)


def task(architecture=None, **changes) -> TextPairs:
    torch.manual_seed(0)
    options = {"temperature": 0.05, "sampling_correction": False, "pooling": "mean", "dropout": 0.0}
    options |= {"clip_norm": None, "ema_decay": None}
    own = architecture or ENCODERS["gru"]
    return TextPairs(own, PairVocab(TEXT, TEXT), **(options | changes)).eval()


def batch(*pairs: tuple[list[int], list[int]]) -> MatchBatch:
    """Ids of sources and targets, each with its end, padded."""

    def padded(rows: list[list[int]], fill: int) -> torch.Tensor:
        own = [torch.tensor([*row, TEXT.eos_id]) for row in rows]
        return torch.nn.utils.rnn.pad_sequence(own, batch_first=True, padding_value=fill)

    sources, labels = padded([p[0] for p in pairs], 0), padded([p[1] for p in pairs], IGNORE)
    mask = torch.arange(sources.shape[1]) < torch.tensor([[len(p[0]) + 1] for p in pairs])
    return MatchBatch(sources, mask, labels, torch.zeros(len(pairs)))


PAIRS = [([10, 11], [20]), ([12], [21, 22, 23]), ([13, 14, 15], [24])]


def test_the_loss_is_that_of_each_target_among_those_of_its_micro_batch():
    model, own = task(temperature=0.5), batch(*PAIRS)
    sources, targets = model._vectors(own)
    logs = (sources @ targets.T / 0.5).log_softmax(-1)

    sums, _ = model.sums(own, None)

    torch.testing.assert_close(sums.nll, -logs.diagonal().sum())
    assert sums.tokens == 3


def test_corrected_scores_lose_what_their_targets_are_common_by():
    model = task(temperature=0.5, sampling_correction=True)
    own = batch(*PAIRS)._replace(log_shares=torch.tensor([0.5, 0.3, 0.2]).log())
    sources, targets = model._vectors(own)
    scores = sources @ targets.T / 0.5
    weights = scores.exp() / torch.tensor([0.5, 0.3, 0.2])

    sums, _ = model.sums(own, None)

    expected = -(weights.diagonal() / weights.sum(-1)).log().sum()
    torch.testing.assert_close(sums.objective, expected)
    torch.testing.assert_close(sums.nll, -scores.log_softmax(-1).diagonal().sum())


def test_equal_targets_are_no_negatives_of_each_other():
    model = task()
    twins = batch(([10], [20]), ([11], [20]))

    assert model.sums(twins, None)[0].nll == 0  # each has one candidate, the right one


def test_a_row_of_nothing_is_no_candidate():
    model, own = task(), batch(*PAIRS)
    nothing = torch.full_like(own.labels[:1], IGNORE)
    padded = MatchBatch(
        torch.cat([own.source_ids, torch.zeros_like(own.source_ids[:1])]),
        torch.cat([own.source_mask, torch.zeros_like(own.source_mask[:1])]),
        torch.cat([own.labels, nothing]),
        torch.zeros(len(PAIRS) + 1),
    )

    before, after = model.sums(own, None)[0], model.sums(padded, None)[0]

    torch.testing.assert_close(after.nll, before.nll)
    assert after.tokens == before.tokens


def test_alone_nothing_can_be_wrong_and_nothing_is_nan():
    nothing = torch.full((1, 1), IGNORE)
    empty = MatchBatch(torch.zeros_like(nothing), nothing == 0, nothing, torch.zeros(1))

    sums, _ = task().sums(empty, None)

    assert (sums.nll.item(), sums.tokens.item()) == (0.0, 0)


@pytest.mark.parametrize("name", ENCODERS)
def test_padding_and_batch_mates_change_no_vector(name):
    model, own = task(ENCODERS[name]), batch(*PAIRS)

    with torch.no_grad():
        together, _ = model._vectors(own)
        alone = torch.cat([model._vectors(batch(pair))[0] for pair in PAIRS])

    torch.testing.assert_close(together, alone, rtol=0, atol=2e-6)
    torch.testing.assert_close(together.norm(dim=-1), torch.ones(3))


@pytest.mark.parametrize("name", ["bert", "llama", "lstm"])
def test_four_pairs_can_be_learnt(name):
    model = task(ENCODERS[name]).train()
    own = batch(*PAIRS, ([16, 17], [25, 26]))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

    for _ in range(60):
        optimizer.zero_grad()
        model.sums(own, None)[0].objective.backward()
        optimizer.step()

    report = model.eval().evaluate([own], None)
    assert report["recall_at_1"] == report["mrr"] == 1.0


def test_ranks_by_hand():
    axes = torch.eye(3)
    candidates = {(1,): axes[0], (2,): axes[1], (3,): axes[2]}
    query = torch.tensor([3.0, 2.0, 1.0])

    found = ranks_of([query, query, query], [(1,), (2,), (3,)], candidates)
    figures = ranked(found, len(candidates))

    assert figures["recall_at_1"] == pytest.approx(1 / 3)
    assert figures["recall_at_10"] == 1.0
    assert figures["mrr"] == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)
    assert (figures["pairs"], figures["candidates"]) == (3, 3)


def test_of_equal_scores_the_right_one_counts_as_the_last():
    same = torch.tensor([1.0, 0.0])
    candidates = {(n,): same for n in range(4)}

    assert ranks_of([same], [(0,)], candidates) == [4]


def test_an_untrained_loss_is_near_the_log_of_the_candidates():
    rows = [([7 + n], [30 + n]) for n in range(20)]
    model = task(temperature=10.0)  # cosines between -0.1 and 0.1

    sums, _ = model.sums(batch(*rows), None)

    assert sums.nll.item() / 20 == pytest.approx(math.log(20), abs=0.2)
