"""Wrapped models give the library's own numbers, under the permutation of the vocabulary."""

import json
from typing import Any

import pytest
import torch
from tiny_models import HEADS, begun, save_tiny, tokenizer_of
from torch import Tensor, nn

from lmexp.build import vocab_of
from lmexp.networks.interface import Decoder, Encoder, EncoderDecoder, StepDecoder, Vocab
from lmexp.networks.layers import Dropout
from lmexp.networks.pretrained import Pretrained
from lmexp.networks.pretrained_config import DECODERS, ENCODER_DECODERS, ENCODERS
from lmexp.starting import put_in, start_of
from lmexp.tasks.causal_lm import CausalLM
from lmexp.tasks.masked_lm import MaskedLM

LENGTHS = (7, 12, 3)


def ragged(tokenizer: Any, lengths: tuple[int, ...] = LENGTHS) -> tuple[Tensor, Tensor, Tensor]:
    """Our ids, the same of the library's, and the mask: padding of two kinds."""
    generator = torch.Generator().manual_seed(0)
    width = max(lengths)
    ids = torch.randint(7, tokenizer.vocab_size, (len(lengths), width), generator=generator)
    mask = torch.arange(width) < torch.tensor(lengths)[:, None]
    rows = torch.tensor([0 if row is None else row for row in tokenizer.rows])
    theirs = torch.where(mask, rows[ids], rows[0])
    return torch.where(mask, ids, 0), theirs, mask


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_gives_the_same_hidden_states(name, tmp_path):
    model = save_tiny(tmp_path, name)
    network, tokenizer = begun(tmp_path, "encoder")
    ours, theirs, mask = ragged(tokenizer)

    with torch.no_grad():
        found = network(ours, mask)
        expected = model.base_model(input_ids=theirs, attention_mask=mask).last_hidden_state

    assert isinstance(network, Encoder)
    assert network.d_model == found.shape[-1]
    torch.testing.assert_close(found[mask], expected[mask], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", DECODERS)
def test_a_decoder_gives_the_same_logits(name, tmp_path):
    model = save_tiny(tmp_path, name)
    network, tokenizer = begun(tmp_path, "decoder")
    ours, theirs, mask = ragged(tokenizer)
    rows = torch.tensor([0 if row is None else row for row in tokenizer.rows])

    with torch.no_grad():
        found = network(ours, mask)[..., 7:]
        expected = model(input_ids=theirs, attention_mask=mask.long()).logits[..., rows[7:]]

    assert isinstance(network, Decoder)
    torch.testing.assert_close(found[mask], expected[mask], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", DECODERS)
def test_step_by_step_a_decoder_gives_the_same_logits_whatever_the_lengths(name, tmp_path):
    save_tiny(tmp_path, name)
    network, tokenizer = begun(tmp_path, "decoder")
    ours, _, mask = ragged(tokenizer)
    more, _, _ = ragged(tokenizer, (3, 3, 3))

    with torch.no_grad():
        first, state = network.step(ours, network.start(), mask)
        state = network.reorder(state, torch.tensor([2, 0, 0, 1]))
        again = more[[2, 0, 0, 1]]
        steps = [first[[2, 0, 0, 1]]]
        for column in range(3):
            logits, state = network.step(again[:, column : column + 1], state)
            steps.append(logits)

    assert isinstance(network, StepDecoder)
    for row, length in zip((2, 0, 0, 1), (3, 7, 7, 12), strict=True):
        whole = torch.cat([ours[row, :length], more[row]])[None]
        with torch.no_grad():
            expected = network(whole)[0, length - 1 :]
        place = [2, 0, 0, 1].index(row)
        found = torch.stack([own[place] for own in steps])
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ENCODER_DECODERS)
def test_an_encoder_decoder_gives_the_same_logits_at_once_and_step_by_step(name, tmp_path):
    model = save_tiny(tmp_path, name)
    network, tokenizer = begun(tmp_path, "encoder_decoder")
    source, their_source, mask = ragged(tokenizer)
    target, their_target, _ = ragged(tokenizer, (5, 5, 5))
    rows = torch.tensor([0 if row is None else row for row in tokenizer.rows])

    with torch.no_grad():
        found = network(source, mask, target)
        expected = model(
            input_ids=their_source, attention_mask=mask.long(), decoder_input_ids=their_target
        ).logits[..., rows[7:]]
        state = network.start(network.encode(source, mask))
        steps = []
        for column in range(5):
            logits, state = network.step(target[:, column : column + 1], state)
            steps.append(logits)

    assert isinstance(network, EncoderDecoder)
    torch.testing.assert_close(found[..., 7:], expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(torch.stack(steps, dim=1), found, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ENCODER_DECODERS)
def test_targets_of_several_lengths_and_rows_that_are_reordered_change_nothing(name, tmp_path):
    save_tiny(tmp_path, name)
    network, tokenizer = begun(tmp_path, "encoder_decoder")
    source, _, mask = ragged(tokenizer)
    target, _, target_mask = ragged(tokenizer, (4, 2, 3))
    order = torch.tensor([1, 1, 2, 0])

    with torch.no_grad():
        memory = network.encode(source, mask)
        found, state = network.step(target, network.start(memory), target_mask)
        more, _ = network.step(target[order, :1], network.reorder(state, order))
        _, state = network.step(target[:, :2], network.start(memory))
        cached, _ = network.step(target[order, :1], network.reorder(state, order))

        for row, length in enumerate((4, 2, 3)):
            own = source[row : row + 1], mask[row : row + 1]
            begun_with = target[row : row + 1, :length]
            expected = network(*own, begun_with)[0, -1]
            torch.testing.assert_close(found[row], expected, rtol=1e-5, atol=1e-5)
            place = order.tolist().index(row)
            longer = torch.cat([begun_with, target[row : row + 1, :1]], dim=1)
            torch.testing.assert_close(more[place], network(*own, longer)[0, -1])
            short = torch.cat([target[row : row + 1, :2], target[row : row + 1, :1]], dim=1)
            torch.testing.assert_close(cached[place], network(*own, short)[0, -1])


@pytest.mark.parametrize("name", HEADS)
def test_the_head_of_masked_tokens_is_loaded_too(name, tmp_path):
    model = save_tiny(tmp_path, name)
    section = {"_target_": "lmexp.networks.pretrained.Pretrained", "path": str(tmp_path)}
    start = start_of({"init_from": None, "model": section | {"config": None}})
    task = MaskedLM(
        Pretrained(str(tmp_path), None),
        vocab_of(start.tokenizer),
        has_pairs=name == "bert",
        pair_weight=1.0,
        clip_norm=None,
        ema_decay=None,
    ).eval()
    report = put_in(task, start)
    ours, theirs, mask = ragged(start.tokenizer)
    segments = (torch.arange(12) >= 4).long().expand_as(ours)
    rows = torch.tensor([0 if row is None else row for row in start.tokenizer.rows])

    with torch.no_grad():
        found, judged = task.network(ours, mask, segments)
        more = {"token_type_ids": segments} if name == "bert" else {}
        expected = model(input_ids=theirs, attention_mask=mask.long(), **more)

    logits = expected.prediction_logits if name == "bert" else expected.logits
    wanted = logits[..., rows[7:]]
    torch.testing.assert_close(found[mask][:, 7:], wanted[mask], rtol=1e-5, atol=1e-5)
    assert report[1] == "new: nothing; left: nothing"
    if judged is not None:
        flipped = expected.seq_relationship_logits.flip(1)
        torch.testing.assert_close(judged, flipped, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ENCODERS)
def test_wrapped_models_drop_as_our_own_networks_do_and_at_their_own_rates(name, tmp_path):
    theirs = save_tiny(tmp_path, name)

    network, _ = begun(tmp_path, "encoder")

    rates = {
        path: module.p
        for path, module in theirs.base_model.named_modules()
        if type(module) is nn.Dropout
    }
    modules = dict(network.model.named_modules())
    assert rates
    assert {path: modules[path].p for path in rates} == rates
    assert all(type(modules[path]) is Dropout for path in rates)


def test_features_are_added_to_the_embeddings_of_tokens(tmp_path):
    save_tiny(tmp_path, "bert")
    network, tokenizer = begun(tmp_path, "encoder")
    ours, _, mask = ragged(tokenizer)
    other = ours.flip(0).clamp(min=7)

    with torch.no_grad():
        features = network.embed(other) - network.embed(ours)
        found = network(ours, mask, features=features)
        expected = network(other, mask)

    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ENCODERS)
def test_padding_and_batch_mates_change_nothing_and_a_row_of_padding_is_finite(name, tmp_path):
    save_tiny(tmp_path, name)
    network, tokenizer = begun(tmp_path, "encoder")
    ours, _, mask = ragged(tokenizer, (7, 12, 0))

    with torch.no_grad():
        found = network(ours, mask)
        alone = network(ours[:1, :7])

    torch.testing.assert_close(found[0, :7], alone[0], rtol=1e-5, atol=1e-5)
    assert found.isfinite().all()
    network.train()(ours, mask).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("name", DECODERS)
def test_packed_documents_do_not_see_each_other(name, tmp_path):
    save_tiny(tmp_path, name)
    network, tokenizer = begun(tmp_path, "decoder")
    ours, _, _ = ragged(tokenizer, (12,))
    documents = (torch.arange(12) >= 5).long()[None]

    with torch.no_grad():
        packed = network(ours, None, documents)
        apart = torch.cat([network(ours[:, :5]), network(ours[:, 5:])], dim=1)

    torch.testing.assert_close(packed, apart, rtol=1e-5, atol=1e-5)


def test_positions_reach_as_far_as_is_said(tmp_path):
    for name, reach in (("bert", 40), ("roberta", 38), ("gpt2", 40), ("t5", None)):
        save_tiny(tmp_path / name, name)
        kind = {"gpt2": "decoder", "t5": "encoder_decoder"}.get(name, "encoder")
        network, tokenizer = begun(tmp_path / name, kind)

        assert network.max_length == reach
        if kind == "encoder":
            network(ragged(tokenizer, (reach,))[0])
            with pytest.raises((IndexError, RuntimeError)):
                network(ragged(tokenizer, (reach + 1,))[0])


def test_an_id_without_a_row_gets_the_mean_of_the_others(tmp_path):
    save_tiny(tmp_path, "gpt2")

    network, tokenizer = begun(tmp_path, "decoder")

    assert tokenizer.missing == ["<pad>", "<mask>"]
    mean = network.embed.weight[[1, 2, 3, *range(5, tokenizer.vocab_size)]].mean(dim=0)
    torch.testing.assert_close(network.embed.weight[4], mean)
    assert network.output.weight is network.embed.weight


def test_a_kind_that_it_does_not_build_is_refused_with_the_reason(tmp_path):
    save_tiny(tmp_path, "bert")
    architecture = Pretrained(str(tmp_path), None)

    with pytest.raises(
        ValueError, match=r"is an encoder \(BertForPreTraining\), and the task need"
    ):
        architecture.decoder(Vocab(50, 0, 2, 3, 4))


def test_causal_lm_takes_it_as_any_decoder(tmp_path):
    save_tiny(tmp_path, "gpt2")
    architecture = Pretrained(str(tmp_path), None)
    told = {"label_smoothing": 0.0, "clip_norm": None, "ema_decay": None, "sample_prompt": ""}

    task = CausalLM(architecture, Vocab(50, 0, 2, 3, 4), sample_tokens=0, **told)

    assert task.network.output.weight.shape == (50, 16)


def test_the_tokenizer_in_use_has_as_many_ids_as_rows_that_text_can_reach(tmp_path):
    model = save_tiny(tmp_path, "bert")

    network, tokenizer = begun(tmp_path, "encoder")

    theirs = tokenizer_of("bert")
    assert model.config.vocab_size == len(theirs) + 3
    assert tokenizer.vocab_size == len(theirs) + 2 == network.embed.num_embeddings  # two ids twice
    assert json.loads((tmp_path / "config.json").read_text())["vocab_size"] == len(theirs) + 3
