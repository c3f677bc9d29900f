"""Equality with the networks of the Transformers library and of torch.nn, weights copied."""

import pytest
import torch
import torch.nn.functional as F
from architectures import VOCAB, recurrent, transformer
from torch import nn

from lmexp.batch import IGNORE
from lmexp.losses import projected_nll

TIGHT = {"rtol": 1e-5, "atol": 1e-5}


def gpt2_pair(d_model, num_layers, num_heads):
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=VOCAB.size,
        n_positions=64,
        n_embd=d_model,
        n_layer=num_layers,
        n_head=num_heads,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        initializer_range=0.1,  # larger than usual, so that attention is not uniform
        bos_token_id=VOCAB.bos_id,
        eos_token_id=VOCAB.eos_id,
    )
    theirs = GPT2LMHeadModel(config)
    for parameter in theirs.parameters():
        if parameter.dim() == 1:  # biases of 0 and gains of 1 would hide a mistake
            parameter.data.add_(0.1 * torch.randn_like(parameter))
    ours = transformer(
        d_model=d_model,
        num_layers=num_layers,
        num_heads=num_heads,
        num_kv_heads=num_heads,
        d_ff=4 * d_model,
        activation="gelu_tanh",
        norm="layer",
        positions="learned",
        bias=True,
    ).decoder(VOCAB)
    return ours, theirs, from_gpt2


def from_gpt2(named, num_layers):
    """Their tensors under our names; GPT-2 stores matrices the other way round."""
    tensors = {
        "embed.weight": named["transformer.wte.weight"],
        "positions.weight": named["transformer.wpe.weight"],
        "norm.weight": named["transformer.ln_f.weight"],
        "norm.bias": named["transformer.ln_f.bias"],
    }
    parts = {
        "attention_norm": "ln_1",
        "attention.qkv": "attn.c_attn",
        "attention.out": "attn.c_proj",
        "feed_forward_norm": "ln_2",
        "feed_forward.up": "mlp.c_fc",
        "feed_forward.down": "mlp.c_proj",
    }
    for layer in range(num_layers):
        for our, their in parts.items():
            weight = named[f"transformer.h.{layer}.{their}.weight"]
            tensors[f"layers.{layer}.{our}.weight"] = weight.t() if weight.dim() == 2 else weight
            tensors[f"layers.{layer}.{our}.bias"] = named[f"transformer.h.{layer}.{their}.bias"]
    return tensors


def llama_pair(d_model, num_layers, num_heads, num_kv_heads, tied):
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCAB.size,
        hidden_size=d_model,
        num_hidden_layers=num_layers,
        num_attention_heads=num_heads,
        num_key_value_heads=num_kv_heads,
        intermediate_size=3 * d_model,
        rms_norm_eps=1e-5,
        initializer_range=0.1,
        tie_word_embeddings=tied,
        pad_token_id=VOCAB.pad_id,
        bos_token_id=VOCAB.bos_id,
        eos_token_id=VOCAB.eos_id,
    )
    theirs = LlamaForCausalLM(config)
    ours = transformer(
        d_model=d_model,
        num_layers=num_layers,
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        d_ff=3 * d_model,
        tied=tied,
    ).decoder(VOCAB)
    return ours, theirs, from_llama


def from_llama(named, num_layers):
    """Their tensors under our names: query, key, value and gate, up are one matrix each with us."""
    tensors = {
        "embed.weight": named["model.embed_tokens.weight"],
        "norm.weight": named["model.norm.weight"],
    }
    if "lm_head.weight" in named:
        tensors["output.weight"] = named["lm_head.weight"]
    parts = {
        "attention_norm": ["input_layernorm"],
        "attention.qkv": ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
        "attention.out": ["self_attn.o_proj"],
        "feed_forward_norm": ["post_attention_layernorm"],
        "feed_forward.up": ["mlp.gate_proj", "mlp.up_proj"],
        "feed_forward.down": ["mlp.down_proj"],
    }
    for layer in range(num_layers):
        for our, their in parts.items():
            tensors[f"layers.{layer}.{our}.weight"] = torch.cat(
                [named[f"model.layers.{layer}.{part}.weight"] for part in their]
            )
    return tensors


PAIRS = {
    "gpt2_small": lambda: gpt2_pair(d_model=32, num_layers=2, num_heads=4),
    "gpt2_wider": lambda: gpt2_pair(d_model=96, num_layers=3, num_heads=6),
    "llama": lambda: llama_pair(48, num_layers=2, num_heads=4, num_kv_heads=4, tied=True),
    "llama_grouped": lambda: llama_pair(64, num_layers=3, num_heads=8, num_kv_heads=2, tied=False),
}


@pytest.fixture(params=PAIRS)
def pair(request):
    torch.manual_seed(0)
    ours, theirs, rename = PAIRS[request.param]()
    num_layers = len(ours.layers)
    weights = rename(dict(theirs.named_parameters()), num_layers)
    weights.setdefault("output.weight", weights["embed.weight"])
    ours.load_state_dict(weights)
    return ours, theirs, lambda named: rename(named, num_layers)


@pytest.fixture
def batch():
    """Ragged rows, padded on the right, with labels aligned."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(7, VOCAB.size, (4, 21), generator=generator)
    mask = torch.arange(21) < torch.tensor([21, 13, 2, 17])[:, None]
    labels = ids.roll(-1, dims=1).masked_fill(~mask.roll(-1, dims=1), IGNORE)
    labels[:, -1] = IGNORE
    return ids.masked_fill(~mask, VOCAB.pad_id), mask, labels


def test_logits_equal_those_of_the_transformers_library(pair, batch):
    ours, theirs, _ = pair
    ids, mask, _ = batch

    logits = ours(ids, mask)

    torch.testing.assert_close(logits[mask], theirs(ids, attention_mask=mask).logits[mask], **TIGHT)


def test_loss_and_every_gradient_equal_those_of_the_transformers_library(pair, batch):
    ours, theirs, rename = pair
    ids, mask, labels = batch
    logits = theirs(ids, attention_mask=mask).logits
    expected = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORE)
    expected.backward()

    sums = projected_nll(ours.hidden(ids, mask), ours.output.weight, labels)
    loss = sums.nll / sums.count
    loss.backward()

    torch.testing.assert_close(loss, expected, **TIGHT)
    gradients = rename({name: weight.grad for name, weight in theirs.named_parameters()})
    ours_by_name = {name: weight.grad for name, weight in ours.named_parameters()}
    assert ours_by_name.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(ours_by_name[name], gradient, **TIGHT, msg=name)


@pytest.mark.parametrize(("cell", "kind"), [("rnn", nn.RNN), ("lstm", nn.LSTM), ("gru", nn.GRU)])
def test_recurrent_layers_equal_those_of_torch(cell, kind):
    torch.manual_seed(0)
    ours = recurrent(cell, num_layers=3).decoder(VOCAB)
    theirs = kind(32, 32, num_layers=3, batch_first=True)
    for index, layer in enumerate(ours.layers):
        layer.load_state_dict(
            {f"{name}_l0": getattr(theirs, f"{name}_l{index}") for name in parameter_names()}
        )
    ids = torch.randint(VOCAB.size, (4, 11))
    before = tuple(torch.randn(3, 4, 32) for _ in range(ours.num_states))

    hidden, after = ours.hidden_carried(ids, before)
    hidden.square().sum().backward()
    embedded = ours.embed(ids).detach()
    expected, last = theirs(embedded, before if cell == "lstm" else before[0])
    expected.square().sum().backward()

    torch.testing.assert_close(hidden, expected, **TIGHT)
    torch.testing.assert_close(after, last if cell == "lstm" else (last,), **TIGHT)
    for index, layer in enumerate(ours.layers):
        for name in parameter_names():
            gradient = getattr(theirs, f"{name}_l{index}").grad
            torch.testing.assert_close(getattr(layer, f"{name}_l0").grad, gradient, **TIGHT)


def parameter_names():
    return [f"{kind}_{side}" for kind in ("weight", "bias") for side in ("ih", "hh")]
