"""One optimizer step, whichever way it is cut into micro-batches."""

from functools import partial

import lightning
import pytest
import torch
from torch import nn

from lmexp.batch import IGNORE, TokenBatch, TrainStep
from lmexp.losses import token_nll
from lmexp.networks.interface import Vocab
from lmexp.schedules import Constant
from lmexp.tasks.causal_lm import CausalLM
from lmexp.tasks.interface import NonFiniteError

VOCAB = Vocab(size=11, pad_id=0, bos_id=2, eos_id=3, mask_id=4)


class Bigram(nn.Module):
    """The smallest decoder: the next token depends on this one alone."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(6, 11, bias=False)

    def hidden(self, input_ids, attention_mask=None, document_ids=None):
        return self.dropout(self.embed(input_ids))

    def forward(self, input_ids, attention_mask=None, document_ids=None):
        return self.output(self.hidden(input_ids))


class Architecture:
    def __init__(self, dropout: float = 0.0) -> None:
        self.dropout = dropout

    def decoder(self, vocab: Vocab) -> nn.Module:
        torch.manual_seed(0)
        return Bigram(self.dropout)


def make_task(**changes) -> CausalLM:
    settings = {
        "label_smoothing": 0.0,
        "clip_norm": None,
        "ema_decay": None,
        "sample_prompt": "",
        "sample_tokens": 0,
    }
    task = CausalLM(
        Architecture(changes.pop("dropout", 0.0)),
        VOCAB,
        partial(torch.optim.SGD, lr=1.0),
        Constant(0),
        **{**settings, **changes},
    )
    task.nominal_tokens = 24
    return task


def rows() -> TokenBatch:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, 11, (4, 7), generator=generator)
    labels = ids[:, 1:].clone()
    labels[0, 2:] = IGNORE  # ragged: one row predicts 2 tokens, the others 6
    return TokenBatch(ids[:, :-1], torch.ones(4, 6, dtype=torch.bool), labels)


def cut(batch: TokenBatch, *sizes: int) -> TrainStep:
    parts = zip(*(tensor.split(sizes) for tensor in batch[:3]), strict=True)
    return TrainStep([TokenBatch(*part) for part in parts], epoch=0, step=0, carries=False)


def train(task: CausalLM, *steps: TrainStep) -> CausalLM:
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=1,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = torch.utils.data.DataLoader(list(steps), batch_size=None)
    trainer.fit(task, loader)
    return task


pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{start}")
    for start in ("The 'train_dataloader' does not", "You defined a `validation_step` but")
]


@pytest.mark.parametrize("sizes", [(4,), (2, 2), (1, 3), (1, 1, 1, 1)])
def test_the_gradient_is_that_of_the_mean_over_all_tokens_however_the_step_is_cut(sizes):
    batch = rows()
    reference = Architecture().decoder(VOCAB)
    token_nll(reference(batch.input_ids), batch.labels).backward()

    trained = train(make_task(), cut(batch, *sizes)).network

    for name, parameter in reference.named_parameters():
        expected = parameter.detach() - parameter.grad  # SGD with learning rate 1
        found = trained.get_parameter(name).detach()
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_the_gradient_is_clipped_to_the_norm_of_the_whole_step():
    before = Architecture().decoder(VOCAB)
    trained = train(make_task(clip_norm=0.01), cut(rows(), 2, 2)).network

    moved = [
        (old - new).flatten()
        for old, new in zip(before.parameters(), trained.parameters(), strict=True)
    ]
    assert torch.cat(moved).norm().item() == pytest.approx(0.01, rel=1e-4)


def test_a_step_without_labels_changes_nothing_and_counts():
    batch = rows()
    empty = batch._replace(labels=torch.full_like(batch.labels, IGNORE))

    task = train(make_task(), cut(empty, 4))

    assert task.steps_done == 1
    assert task.updates_done == 0
    before, after = Architecture().decoder(VOCAB).state_dict(), task.network.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())


def test_dropout_masks_depend_on_seed_step_and_micro_batch_alone():
    first = train(make_task(dropout=0.5, seed=3), cut(rows(), 2, 2)).network.state_dict()
    torch.manual_seed(999)  # whatever else draws numbers
    again = train(make_task(dropout=0.5, seed=3), cut(rows(), 2, 2)).network.state_dict()
    other = train(make_task(dropout=0.5, seed=4), cut(rows(), 2, 2)).network.state_dict()

    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_a_loss_that_is_not_finite_stops_before_the_weights_are_touched():
    task = make_task()
    with torch.no_grad():
        task.network.embed.weight[7] = float("nan")
    before = task.network.output.weight.detach().clone()

    with pytest.raises(NonFiniteError, match="step 0 is not finite"):
        train(task, cut(rows(), 4))

    assert torch.equal(task.network.output.weight, before)


def test_label_smoothing_is_trained_on_and_not_reported():
    batch, reference = rows(), Architecture().decoder(VOCAB)
    logits = reference(batch.input_ids)

    sums = train(make_task(label_smoothing=0.2), cut(batch, 4)).last_sums

    expected = token_nll(logits, batch.labels, smoothing=0.2).item()
    assert sums.objective / sums.tokens == pytest.approx(expected, rel=1e-5)
    assert sums.nll / sums.tokens == pytest.approx(token_nll(logits, batch.labels).item(), rel=1e-5)


def test_an_output_layer_with_a_bias_is_refused():
    class Biased(Architecture):
        def decoder(self, vocab):
            network = Bigram()
            network.output = nn.Linear(6, 11)
            return network

    with pytest.raises(ValueError, match="has a bias"):
        CausalLM(
            Biased(),
            VOCAB,
            label_smoothing=0.0,
            clip_norm=None,
            ema_decay=None,
            sample_prompt="",
            sample_tokens=0,
        )


def test_lanes_with_a_network_that_has_no_state_are_refused():
    with pytest.raises(ValueError, match=r"data\.lanes=null, or use model=rnn, lstm or gru"):
        make_task(carries_state=True)
