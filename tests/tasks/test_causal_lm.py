"""What a language model's task does beside the step that all tasks share."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from bigram import Successor

from lmexp.batch import EvalBatch, TokenBatch
from lmexp.networks.interface import Vocab
from lmexp.networks.recurrent import Recurrent
from lmexp.schedules import Constant
from lmexp.tasks.causal_lm import CausalLM

VOCAB = Vocab(size=11, pad_id=0, bos_id=2, eos_id=3, mask_id=4)
LSTM = Recurrent(
    cell="lstm",
    d_model=8,
    num_layers=2,
    dropout=0.0,
    variational=False,
    tied=True,
    attention="dot",
    shares_embeddings=True,
)


def task(architecture=LSTM, vocab=VOCAB, sample_tokens=0, **changes) -> CausalLM:
    torch.manual_seed(0)
    return CausalLM(
        architecture,
        vocab,
        partial(torch.optim.SGD, lr=1.0),
        Constant(0),
        label_smoothing=0.0,
        clip_norm=None,
        ema_decay=None,
        sample_prompt="",
        sample_tokens=sample_tokens,
        **changes,
    )


def window(first_id: int) -> TokenBatch:
    ids = torch.tensor([[first_id, 5, 6, 7]])
    return TokenBatch(ids, torch.ones(1, 4, dtype=torch.bool), torch.tensor([[5, 6, 7, 8]]))


@pytest.mark.parametrize(
    ("first_id", "document_mask", "is_carried"),
    [(9, True, True), (VOCAB.bos_id, True, False), (VOCAB.bos_id, False, True)],
)
def test_carried_state_ends_where_a_document_begins_unless_documents_run_together(
    first_id, document_mask, is_carried
):
    model = task(carries_state=True, document_mask=document_mask)
    _, state = model.sums(window(9), None)

    carried, _ = model.sums(window(first_id), state)
    fresh, _ = model.sums(window(first_id), None)

    assert (carried.nll.item() != fresh.nll.item()) == is_carried


def test_an_evaluation_adds_up_what_its_batches_are_worth_alone():
    model = task().eval()
    batches = [EvalBatch(window(first), carries=False) for first in (5, 6, 7)]

    total = model.evaluate(batches)

    each = [model.evaluate([batch]) for batch in batches]
    assert total.nll == pytest.approx(sum(one.nll for one in each), abs=1e-9)
    assert (total.tokens, total.correct) == (12, sum(one.correct for one in each))


class Numbers:
    """A tokenizer of numbers: every prompt is 6."""

    def encode(self, text: str) -> list[int]:
        return [6]

    def decode(self, ids: list[int]) -> str:
        return " ".join(map(str, ids))


def test_a_sample_begins_again_where_a_text_ends_until_it_is_long_enough():
    vocab = VOCAB._replace(eos_id=10)
    model = task(Successor(gap=50.0), vocab, sample_tokens=7).eval()

    text = model.sample(SimpleNamespace(tokenizer=Numbers())).text

    # 7 8 9 and the end, token 10, are four of the seven tokens
    assert text == "2 6 7 8 9\n\n2 6 7 8 9"


def test_a_network_that_ends_at_once_fills_no_page():
    model = task(Successor(gap=50.0), VOCAB._replace(eos_id=7), sample_tokens=100).eval()

    text = model.sample(SimpleNamespace(tokenizer=Numbers())).text

    assert text == "2 6\n\n2 6\n\n2 6"
