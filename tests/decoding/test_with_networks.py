"""Generation with the real networks: cached, uncached, alone, in a batch, prepacked: one text."""

import copy

import pytest
import torch

from lmexp.decoding.generate import generate
from lmexp.decoding.prepacked import prepack
from lmexp.decoding.sampling import Sampling
from lmexp.networks.interface import StepDecoder, Vocab
from lmexp.networks.recurrent import Recurrent
from lmexp.networks.transformer import Transformer

VOCAB = Vocab(size=61, pad_id=0, bos_id=2, eos_id=3, mask_id=4)
PROMPTS = [[2, 10, 11, 12, 13], [2], [2, 20, 21]]
NEW = 20


def transformer(**options):
    sizes = {"d_model": 32, "num_layers": 2, "num_heads": 4, "num_kv_heads": 2, "d_ff": 64}
    kinds = {"activation": "swiglu", "norm": "rms", "norm_first": True, "positions": "rotary"}
    rest = {"max_length": 30, "dropout": 0.5, "bias": False, "tied": True}
    return Transformer(**(sizes | kinds | rest | options), shares_embeddings=True)


def recurrent(cell):
    sizes = {"d_model": 32, "num_layers": 2, "dropout": 0.5, "variational": True, "tied": False}
    return Recurrent(cell=cell, **sizes, attention="dot", shares_embeddings=True)


@pytest.fixture(
    params=[
        transformer(),
        transformer(positions="learned", norm="layer", activation="gelu", bias=True),
        transformer(positions="sinusoidal", norm_first=False),
        recurrent("rnn"),
        recurrent("lstm"),
        recurrent("gru"),
    ],
    ids=["rotary", "learned", "sinusoidal", "rnn", "lstm", "gru"],
)
def network(request):
    torch.manual_seed(0)
    network = request.param.decoder(VOCAB)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)  # spread the logits: no ties, texts that differ
    return network


def text(network, prompts, **options):
    sampling = Sampling(max_new_tokens=NEW, seed=1, **options.pop("knobs", {"top_p": 0.9}))
    return generate(network, prompts, sampling, eos_id=VOCAB.eos_id, pad_id=VOCAB.pad_id, **options)


@pytest.mark.parametrize("knobs", [{"temperature": 0.0}, {"top_p": 0.9, "repetition_penalty": 1.2}])
def test_cached_and_uncached_generation_give_the_same_ids(network, knobs):
    assert isinstance(network, StepDecoder)

    cached = text(network, PROMPTS, knobs=knobs)

    assert cached == text(network, PROMPTS, knobs=knobs, cached=False)


def test_a_row_comes_out_the_same_alone_and_in_any_batch(network):
    together = text(network, PROMPTS)

    alone = [text(network, [prompt], first_row=row)[0] for row, prompt in enumerate(PROMPTS)]

    assert together == alone
    assert len({tuple(row) for row in together}) == len(PROMPTS)


def test_a_prepacked_network_generates_the_same_ids(network):
    packed = copy.deepcopy(network)
    prepack(packed)

    assert text(packed, PROMPTS) == text(network, PROMPTS)
    assert text(packed, PROMPTS, cached=False) == text(network, PROMPTS)


@pytest.mark.parametrize("knobs", [{"temperature": 0.0}, {"top_p": 0.9}])
def test_past_the_learned_positions_cache_batch_and_whole_passes_agree(knobs):
    torch.manual_seed(0)
    network = transformer(positions="learned", max_length=7).decoder(VOCAB)
    with torch.no_grad():
        network.positions.weight.mul_(30)  # where a token stands changes what comes
    options = {"knobs": knobs, "forbidden_ids": (VOCAB.eos_id,)}

    together = text(network, PROMPTS, **options)

    assert [len(row) for row in together] == [NEW] * 3
    assert together == text(network, PROMPTS, cached=False, **options)
    for row, prompt in enumerate(PROMPTS):
        assert text(network, [prompt], first_row=row, **options) == [together[row]]


def test_a_row_past_the_learned_positions_goes_on_as_from_its_newest_half():
    network = transformer(positions="learned", max_length=8).decoder(VOCAB)
    options = {"knobs": {"temperature": 0.0}, "forbidden_ids": (VOCAB.eos_id,)}

    (row,) = text(network, [[2]], **options)  # 9 tokens after 8 new ones: the newest 4 are read
    (rest,) = text(network, [row[4:8]], **options)

    assert rest[: NEW - 8] == row[8:]


@pytest.mark.parametrize("mixed", [False, True])
def test_cached_logits_in_bfloat16_are_those_of_a_whole_pass(mixed):
    torch.manual_seed(0)
    network = transformer(dropout=0.0).decoder(VOCAB).to(None if mixed else torch.bfloat16)
    ids = torch.randint(7, VOCAB.size, (3, 12))

    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        whole = network(ids)
        logits, state = network.step(ids[:, :4], network.start())
        steps = [logits]
        for piece in (ids[:, 4:7], ids[:, 7:8], ids[:, 8:12]):  # several columns at once, and one
            logits, state = network.step(piece, state)
            steps.append(logits)

    torch.testing.assert_close(torch.stack(steps, 1), whole[:, [3, 6, 7, 11]], rtol=0.05, atol=0.02)
