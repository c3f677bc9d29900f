"""Equality with the Transformers library's BERT, weights copied, padding ragged."""

import pytest
import torch
import torch.nn.functional as F
from architectures import VOCAB

from lmexp.batch import IGNORE, SegmentBatch
from lmexp.networks.bert import Bert
from lmexp.tasks.masked_lm import MaskedLM

TIGHT = {"rtol": 1e-5, "atol": 1e-5}
D_MODEL, LAYERS, HEADS, D_FF = 32, 2, 4, 64


def theirs():
    from transformers import BertConfig, BertForPreTraining

    config = BertConfig(
        vocab_size=VOCAB.size,
        hidden_size=D_MODEL,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=D_FF,
        max_position_embeddings=64,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        layer_norm_eps=1e-5,  # the paper's code has 1e-12
        initializer_range=0.1,  # larger than usual, so that attention is not uniform
        pad_token_id=VOCAB.pad_id,
    )
    network = BertForPreTraining(config)
    for parameter in network.parameters():
        if parameter.dim() == 1:  # biases of 0 and gains of 1 would hide a mistake
            parameter.data.add_(0.1 * torch.randn_like(parameter))
    return network


def ours(pair_weight=1.0) -> MaskedLM:
    sizes = {"d_model": D_MODEL, "num_layers": LAYERS, "num_heads": HEADS, "d_ff": D_FF}
    kinds = {"activation": "gelu", "norm": "layer", "norm_first": False, "positions": "learned"}
    architecture = Bert(**sizes, **kinds, max_length=64, dropout=0.0, bias=True)
    return MaskedLM(architecture, VOCAB, pair_weight=pair_weight, clip_norm=None, ema_decay=None)


def from_bert(named):
    """Their tensors under our names. Their class 0 is ours 1: the segments belong together."""
    heads = {"transform": "transform.dense", "transform_norm": "transform.LayerNorm"}
    tensors = {
        "encoder.embed.weight": named["bert.embeddings.word_embeddings.weight"],
        "encoder.positions.weight": named["bert.embeddings.position_embeddings.weight"],
        "encoder.segments.weight": named["bert.embeddings.token_type_embeddings.weight"],
        "output.weight": named["bert.embeddings.word_embeddings.weight"],
        "output.bias": named["cls.predictions.bias"],
    }
    for end in ("weight", "bias"):
        tensors[f"encoder.embed_norm.{end}"] = named[f"bert.embeddings.LayerNorm.{end}"]
        tensors[f"pooler.{end}"] = named[f"bert.pooler.dense.{end}"]
        tensors[f"pair.{end}"] = named[f"cls.seq_relationship.{end}"].flip(0)
        for our, their in heads.items():
            tensors[f"{our}.{end}"] = named[f"cls.predictions.{their}.{end}"]
        for layer in range(LAYERS):
            base, mine = f"bert.encoder.layer.{layer}", f"encoder.layers.{layer}"
            attention = [
                f"{base}.attention.self.{part}.{end}" for part in ("query", "key", "value")
            ]
            tensors[f"{mine}.attention.qkv.{end}"] = torch.cat([named[name] for name in attention])
            for our, their in (
                ("attention.out", "attention.output.dense"),
                ("attention_norm", "attention.output.LayerNorm"),
                ("feed_forward.up", "intermediate.dense"),
                ("feed_forward.down", "output.dense"),
                ("feed_forward_norm", "output.LayerNorm"),
            ):
                tensors[f"{mine}.{our}.{end}"] = named[f"{base}.{their}.{end}"]
    return tensors


@pytest.fixture
def batch():
    """Five ragged sequences, three hidden tokens in each."""
    torch.manual_seed(1)
    lengths = torch.tensor([20, 9, 14, 20, 7])
    mask = torch.arange(20) < lengths[:, None]
    ids = torch.randint(7, VOCAB.size, (5, 20)).masked_fill(~mask, VOCAB.pad_id)
    labels = torch.full_like(ids, IGNORE)
    labels[:, [1, 3, 5]] = torch.randint(7, VOCAB.size, (5, 3))
    segments = (torch.arange(20) >= lengths[:, None] // 2).long() * mask
    return SegmentBatch(ids, mask, segments, labels, torch.tensor([0, 1, 1, 0, 1]))


@pytest.fixture
def pair():
    torch.manual_seed(0)
    network, task = theirs().eval(), ours().eval()
    task.network.load_state_dict(from_bert(dict(network.state_dict())))
    return network, task


def outputs(network, batch):
    return network(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask.long(),
        token_type_ids=batch.segment_ids,
        labels=batch.labels,
        next_sentence_label=1 - batch.belongs,
    )


def test_logits_are_berts(pair, batch):
    network, task = pair
    expected = outputs(network, batch)

    tokens, judged = task.network(batch.input_ids, batch.attention_mask, batch.segment_ids)

    real = batch.attention_mask
    torch.testing.assert_close(tokens[real], expected.prediction_logits[real], **TIGHT)
    torch.testing.assert_close(judged.flip(1), expected.seq_relationship_logits, **TIGHT)


def test_both_losses_and_all_gradients_are_berts(pair, batch):
    network, task = pair
    expected = outputs(network, batch)
    expected.loss.backward()

    sums, _ = task.sums(batch, None)
    (sums.objective / sums.tokens).backward()  # all sequences hide three: pairs count alike

    logits = expected.prediction_logits.flatten(0, 1)
    of_tokens = F.cross_entropy(logits, batch.labels.flatten(), ignore_index=IGNORE)
    torch.testing.assert_close(sums.nll / sums.tokens, of_tokens, **TIGHT)
    torch.testing.assert_close(sums.objective / sums.tokens, expected.loss, **TIGHT)
    gradients = from_bert({name: p.grad for name, p in network.named_parameters()})
    for name, parameter in task.network.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], **TIGHT, msg=name)


def test_figures_are_of_tokens_and_of_pairs_apart(pair, batch):
    network, task = pair
    expected = outputs(network, batch)
    of_pairs = F.cross_entropy(expected.seq_relationship_logits, 1 - batch.belongs).item()
    hits = (expected.seq_relationship_logits.argmax(1) == 1 - batch.belongs).float().mean().item()

    figures = task.evaluate([batch, batch]).figures()

    assert figures["tokens"] == 30
    assert figures["loss"] == pytest.approx(expected.loss.item() - of_pairs, rel=1e-5)
    assert figures["pair_loss"] == pytest.approx(of_pairs, rel=1e-5)
    assert figures["pair_accuracy"] == pytest.approx(hits)
