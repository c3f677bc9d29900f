import pytest
import torch
from architectures import VOCAB, recurrent

from lmexp.networks.interface import CarryingDecoder
from lmexp.networks.layers import Dropout, LockedDropout
from lmexp.networks.recurrent import Recurrent
from lmexp.networks.segments import Segments

CLOSE = {"rtol": 1e-5, "atol": 1e-6}


@pytest.fixture(params=["rnn", "lstm", "gru"])
def network(request):
    torch.manual_seed(0)
    return recurrent(request.param).decoder(VOCAB).eval()


def test_recurrent_architectures_carry_state(network):
    assert Recurrent.carries_state
    assert isinstance(network, CarryingDecoder)


def test_two_windows_with_carried_state_are_one(network):
    ids = torch.randint(VOCAB.size, (3, 20))

    first, state = network.hidden_carried(ids[:, :12], None)
    second, after = network.hidden_carried(ids[:, 12:], state)
    whole, expected = network.hidden_carried(ids, None)

    torch.testing.assert_close(torch.cat([first, second], dim=1), whole, **CLOSE)
    torch.testing.assert_close(after, expected, **CLOSE)
    assert [part.shape for part in after] == [(2, 3, 32)] * network.num_states


def test_carried_state_starts_again_at_a_document(network):
    ids = torch.randint(VOCAB.size, (4, 12))
    documents = torch.tensor(
        [[0] * 5 + [1] * 7, [0] * 12, [0] * 11 + [1], [0] * 2 + [1] * 3 + [2] * 7]
    )
    before = tuple(torch.randn(2, 4, 32) for _ in range(network.num_states))

    hidden, after = network.hidden_carried(ids, before, documents)

    for row in range(4):
        state = tuple(part[:, row : row + 1] for part in before)
        for document in documents[row].unique():
            inside = documents[row] == document
            expected, state = network.hidden_carried(ids[row : row + 1, inside], state)
            torch.testing.assert_close(hidden[row, inside], expected[0], **CLOSE)
            last, state = state, None
        torch.testing.assert_close(tuple(part[:, row : row + 1] for part in after), last, **CLOSE)


def test_a_gradient_does_not_cross_a_document(network):
    ids = torch.randint(VOCAB.size, (1, 8))
    before = tuple(torch.randn(2, 1, 32, requires_grad=True) for _ in range(network.num_states))

    hidden, _ = network.hidden_carried(ids, before, torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1]]))
    hidden[:, 3:].sum().backward()

    assert all((part.grad == 0).all() for part in before)


def test_rows_of_one_document_take_the_short_way():
    assert Segments.of_documents(torch.tensor([[0, 0, 0], [7, 7, 7]])) is None


def test_segments_are_dealt_longest_first():
    segments = Segments.of_documents(torch.tensor([[0, 0, 1, 1, 1], [2, 3, 3, 3, 3]]))
    assert segments.lengths == [4, 3, 2, 1]
    assert segments.rows.tolist() == [1, 0, 0, 1]
    assert segments.columns.tolist() == [1, 2, 0, 0]
    assert segments.last.tolist() == [1, 0]


def test_a_row_without_new_tokens_keeps_its_state(network):
    _, state = network.step(torch.randint(VOCAB.size, (2, 4)), network.start())
    mask = torch.tensor([[True, True], [False, False]])

    _, after = network.step(torch.randint(VOCAB.size, (2, 2)), state, mask)

    for old, new in zip(state, after, strict=True):
        torch.testing.assert_close(new[:, 1], old[:, 1], rtol=0, atol=0)
        assert not torch.equal(new[:, 0], old[:, 0])


def test_forget_gates_start_at_one_and_other_biases_at_zero():
    network = recurrent("lstm").decoder(VOCAB)
    for layer in network.layers:
        bias = (layer.bias_ih_l0 + layer.bias_hh_l0).view(4, 32)
        assert (bias[1] == 1).all()
        assert (bias[[0, 2, 3]] == 0).all()


def test_the_carried_state_is_in_the_dtype_of_the_weights_under_autocast(network):
    with torch.autocast("cpu", torch.bfloat16):
        _, state = network.hidden_carried(torch.randint(VOCAB.size, (2, 4)), None)
    assert {part.dtype for part in state} == {torch.float32}


def test_locked_dropout_keeps_one_mask_over_time():
    torch.manual_seed(0)
    dropped = LockedDropout(0.25)(torch.ones(500, 7, 8))

    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))
    assert dropped.unique().tolist() == pytest.approx([0, 4 / 3])
    assert (dropped == 0).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert torch.equal(LockedDropout(0.25).eval()(dropped), dropped)


def test_variational_dropout_is_chosen_by_name():
    assert isinstance(recurrent("gru", variational=True).decoder(VOCAB).dropout, LockedDropout)
    assert isinstance(recurrent("gru").decoder(VOCAB).dropout, Dropout)
