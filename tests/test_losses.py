import math

import pytest
import torch
import torch.nn.functional as F

from lmexp import losses
from lmexp.batch import IGNORE
from lmexp.losses import projected_nll, token_nll


def random_case(*, ignored=0.3, rows=5, columns=9, width=16, vocab_size=37):
    torch.manual_seed(0)
    hidden = torch.randn(rows, columns, width, requires_grad=True)
    weight = torch.randn(vocab_size, width, requires_grad=True)
    labels = torch.randint(vocab_size, (rows, columns))
    labels[torch.rand(rows, columns) < ignored] = IGNORE
    return hidden, weight, labels


def test_token_nll_of_a_uniform_guess_is_log_v():
    logits, labels = torch.zeros(2, 3, 7), torch.randint(7, (2, 3))
    assert token_nll(logits, labels).item() == pytest.approx(math.log(7))


def test_token_nll_spreads_the_smoothing_over_all_tokens():
    logits = torch.tensor([[[2.0, 0.0, -1.0]]])
    logs = logits.log_softmax(-1)[0, 0]
    expected = -(0.9 + 0.1 / 3) * logs[1] - 0.1 / 3 * (logs[0] + logs[2])
    assert token_nll(logits, torch.tensor([[1]]), smoothing=0.1).item() == pytest.approx(
        expected.item()
    )


def test_token_nll_rejects_labels_of_another_length():
    with pytest.raises(ValueError, match=r"disagree on \(B, T\)"):
        token_nll(torch.zeros(2, 3, 7), torch.zeros(2, 4, dtype=torch.int64))


def test_projected_nll_rejects_labels_of_another_length():
    with pytest.raises(ValueError, match=r"disagree on \(B, T\)"):
        projected_nll(torch.zeros(2, 3, 7), torch.zeros(5, 7), torch.zeros(2, 4).long())


def test_projected_nll_rejects_a_weight_of_another_width():
    with pytest.raises(ValueError, match=r"disagree on D"):
        projected_nll(torch.zeros(2, 3, 7), torch.zeros(5, 8), torch.zeros(2, 3).long())


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("ignored", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("chunk_logits", [1, 37 * 4, 2**23])
def test_projected_nll_and_its_gradients_are_those_of_the_logits(
    smoothing, ignored, chunk_logits, monkeypatch
):
    monkeypatch.setattr(losses, "CHUNK_LOGITS", chunk_logits)
    hidden, weight, labels = random_case(ignored=ignored)
    expected = F.cross_entropy(
        (hidden @ weight.t()).flatten(0, 1),
        labels.flatten(),
        ignore_index=IGNORE,
        label_smoothing=smoothing,
        reduction="sum",
    )
    expected_gradients = torch.autograd.grad(0.5 * expected, (hidden, weight))

    sums = projected_nll(hidden, weight, labels, smoothing=smoothing)
    gradients = torch.autograd.grad(0.5 * sums.nll, (hidden, weight))

    torch.testing.assert_close(sums.nll, expected, rtol=1e-6, atol=1e-6)
    for ours, theirs in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=3e-6)
    assert sums.count.item() == (labels != IGNORE).sum()


@pytest.mark.parametrize("chunk_logits", [37 * 4, 2**23])
def test_a_bias_of_the_output_layer_is_part_of_the_logits(chunk_logits, monkeypatch):
    monkeypatch.setattr(losses, "CHUNK_LOGITS", chunk_logits)
    hidden, weight, labels = random_case()
    parts = hidden, weight, torch.randn(37, requires_grad=True)
    logits = F.linear(*parts).flatten(0, 1)
    expected = F.cross_entropy(logits, labels.flatten(), label_smoothing=0.1, reduction="sum")

    sums = projected_nll(hidden, weight, labels, bias=parts[2], smoothing=0.1)

    torch.testing.assert_close(sums.nll, expected, rtol=1e-6, atol=1e-6)
    gradients = (torch.autograd.grad(0.5 * total, parts) for total in (sums.nll, expected))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=3e-6)


def test_the_error_of_the_gradient_is_that_of_float32():
    hidden, weight, labels = random_case()
    exact = [x.detach().double().requires_grad_() for x in (hidden, weight)]
    logits = exact[0] @ exact[1].t()
    nll = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")
    expected = torch.autograd.grad(nll, exact)

    gradients = torch.autograd.grad(projected_nll(hidden, weight, labels).nll, (hidden, weight))

    for ours, theirs in zip(gradients, expected, strict=True):
        assert ((ours - theirs).norm() / theirs.norm()).item() < 1e-6


def test_plain_nll_and_hits_are_without_smoothing():
    hidden, weight, labels = random_case()
    logits = hidden @ weight.t()

    sums = projected_nll(hidden, weight, labels, smoothing=0.2, counts_hits=True)

    assert sums.plain.item() == pytest.approx(
        token_nll(logits, labels).item() * sums.count.item(), rel=1e-6
    )
    assert sums.correct.item() == (logits.argmax(-1) == labels).sum().item()
    assert not sums.plain.requires_grad


def test_a_tied_weight_gets_both_gradients():
    weight = torch.randn(11, 4, requires_grad=True)
    ids, labels = torch.randint(11, (2, 3)), torch.randint(11, (2, 3))

    projected_nll(F.embedding(ids, weight), weight, labels).nll.backward()

    (expected,) = torch.autograd.grad(
        6 * token_nll(F.embedding(ids, weight) @ weight.t(), labels), weight
    )
    torch.testing.assert_close(weight.grad, expected)


def test_a_frozen_weight_gets_no_gradient():
    hidden, weight, labels = random_case()
    projected_nll(hidden, weight.detach(), labels).nll.backward()
    assert hidden.grad is not None


def test_nothing_is_kept_without_gradients():
    hidden, weight, labels = random_case()
    with torch.no_grad():
        sums = projected_nll(hidden, weight, labels)
    assert sums.nll.grad_fn is None
    assert sums.nll.item() == pytest.approx(projected_nll(hidden, weight, labels).nll.item())


def test_under_autocast_the_sum_is_float32_and_close():
    hidden, weight, labels = random_case(width=64)
    hidden, weight = hidden / 8, weight / 2
    exact = projected_nll(hidden, weight, labels).nll
    expected = torch.autograd.grad(exact, (hidden, weight), retain_graph=True)

    with torch.autocast("cpu", torch.bfloat16):
        sums = projected_nll(hidden, weight, labels)
    gradients = torch.autograd.grad(sums.nll, (hidden, weight))

    assert sums.nll.dtype == sums.plain.dtype == torch.float32
    assert sums.nll.item() == pytest.approx(exact.item(), rel=1e-2)
    for ours, theirs in zip(gradients, expected, strict=True):
        assert ours.dtype == torch.float32
        assert ((ours - theirs).norm() / theirs.norm()).item() < 0.02


def test_a_likelihood_of_nearly_zero_is_finite():
    hidden = torch.tensor([[[400.0]]])
    sums = projected_nll(hidden, torch.tensor([[1.0], [-1.0]]), torch.tensor([[1]]))
    assert sums.nll.item() == pytest.approx(800)


def test_row_nll_is_projected_nll_row_by_row(monkeypatch):
    monkeypatch.setattr(losses, "CHUNK_LOGITS", 3 * 11)  # three positions at a time
    hidden, weight, labels = torch.randn(4, 5, 7), torch.randn(11, 7), torch.randint(11, (4, 5))
    labels[1, 2:] = labels[3] = IGNORE

    rows = losses.row_nll(hidden, weight, labels)

    expected = [
        projected_nll(hidden[row : row + 1], weight, labels[row : row + 1]).nll for row in range(4)
    ]
    torch.testing.assert_close(rows, torch.stack(expected))
    assert rows[3] == 0


@pytest.mark.parametrize("counts_hits", [False, True])
def test_each_position_is_that_of_the_logits_across_chunks(counts_hits, monkeypatch):
    monkeypatch.setattr("lmexp.losses.CHUNK_LOGITS", 3 * 7)  # three positions at a time
    hidden, weight = torch.randn(2, 5, 4), torch.randn(7, 4)
    labels = torch.randint(7, (2, 5))
    labels[0, 3:] = IGNORE

    found = projected_nll(hidden, weight, labels, counts_hits=counts_hits, keeps_each=True)

    logits, real = hidden @ weight.T, labels != IGNORE
    nll = torch.nn.functional.cross_entropy(logits[real], labels[real], reduction="none")
    columns = [nll, (logits[real].argmax(dim=-1) == labels[real]).float()][: 1 + counts_hits]
    torch.testing.assert_close(found.each, torch.stack(columns, dim=1))
