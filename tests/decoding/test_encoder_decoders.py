"""Searching and drawing with the real encoder-decoders."""

import dataclasses

import pytest
import torch

from lmexp.decoding.beam import Beam
from lmexp.decoding.coverage import coverage
from lmexp.decoding.generate import generate
from lmexp.decoding.sampling import Sampling
from lmexp.decoding.translate import sampled, translate
from lmexp.networks.interface import Vocab
from lmexp.networks.recurrent import Recurrent
from lmexp.networks.transformer import Transformer
from lmexp.tokenizers import BOS_ID, EOS_ID, PAD_ID

VOCAB = Vocab(size=29, pad_id=PAD_ID, bos_id=BOS_ID, eos_id=EOS_ID, mask_id=4)
SOURCES = [[7, 8, 9, 10, EOS_ID], [11, EOS_ID], [20, 7, 20, EOS_ID]]
LONGEST = 12
BEAM = Beam(1, 0.0, max_ratio=1.0, max_extra=0, min_ratio=0.0, no_repeat_ngram=0, n_best=1)

TRANSFORMER = {"d_model": 32, "num_layers": 2, "num_heads": 4, "num_kv_heads": 2, "d_ff": 64}
TRANSFORMER |= {"activation": "swiglu", "norm": "rms", "norm_first": True, "positions": "rotary"}
TRANSFORMER |= {"max_length": None, "bias": False}
RECURRENT = {"cell": "gru", "attention": "dot", "d_model": 32, "num_layers": 1, "variational": True}
COMMON = {"dropout": 0.5, "tied": True, "shares_embeddings": True}


@pytest.fixture(
    params=[Transformer(**TRANSFORMER, **COMMON), Recurrent(**RECURRENT, **COMMON)],
    ids=["transformer", "gru"],
)
def network(request):
    torch.manual_seed(0)
    network = request.param.encoder_decoder(VOCAB, VOCAB).eval()
    for parameter in network.parameters():
        if parameter.dim() == 2:
            parameter.data.mul_(0.3 / parameter.data.std())  # texts that differ
    return network


def draw(network, sources, **options):
    knobs = {"temperature": 1.0, "top_p": 0.9, "seed": 5} | options.pop("knobs", {})
    return sampled(network, sources, Sampling(max_new_tokens=LONGEST, **knobs), **options)


def test_drawing_at_temperature_zero_is_greedy_search(network):
    beam = dataclasses.replace(BEAM, max_ratio=1e-9, max_extra=LONGEST)
    greedy = [texts[0].ids for texts in translate(network, SOURCES, beam, batch_tokens=100)]

    assert draw(network, SOURCES, knobs={"temperature": 0.0, "top_p": 1.0}) == greedy


def test_a_text_is_drawn_the_same_alone_and_in_any_batch(network):
    together = draw(network, SOURCES)

    alone = [draw(network, [own], first_row=row)[0] for row, own in enumerate(SOURCES)]

    assert together == alone
    assert together != draw(network, SOURCES, knobs={"seed": 6})


def test_an_encoder_decoder_is_not_drawn_from_by_whole_passes(network):
    memory = network.encode(torch.tensor([[7, EOS_ID]]), torch.ones(1, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match="leave cached=False out"):
        generate(
            network,
            [[BOS_ID]],
            Sampling(max_new_tokens=2),
            eos_id=EOS_ID,
            pad_id=PAD_ID,
            cached=False,
            memory=memory,
        )


@pytest.mark.parametrize("alpha", [0.0, 0.6])
def test_coverage_ranks_the_texts_of_the_same_search(network, alpha):
    plain = dataclasses.replace(BEAM, size=4, n_best=4, length_penalty=alpha, max_extra=3)
    penalised = dataclasses.replace(plain, coverage_penalty=0.5)

    before = translate(network, SOURCES, plain, batch_tokens=100)
    after = translate(network, SOURCES, penalised, batch_tokens=100)

    for source, texts, ranked in zip(SOURCES, before, after, strict=True):
        scores = [text.score for text in ranked]
        assert scores == sorted(scores, reverse=True)
        assert sorted(text.ids for text in ranked) == sorted(text.ids for text in texts)
        for text in texts:
            ids = torch.tensor([source])
            read = torch.tensor([[BOS_ID, *text.ids]])
            weights = network.cross_attention(ids, torch.ones_like(ids, dtype=torch.bool), read)
            expected = text.score + 0.5 * coverage(weights[-1, 0].mean(dim=0).detach())
            (own,) = [new for new in ranked if new.ids == text.ids]
            assert own.score == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_texts_end_where_learned_positions_end(alpha):
    sizes = TRANSFORMER | COMMON | {"positions": "learned", "max_length": 6}
    network = Transformer(**sizes).encoder_decoder(VOCAB, VOCAB).eval()
    sources = [[9, 8, EOS_ID], [7, 11, 12, 13, EOS_ID]]
    long = dataclasses.replace(BEAM, size=3, length_penalty=alpha, max_ratio=10.0, min_ratio=10.0)

    found = translate(network, sources, long, batch_tokens=100)
    drawn = sampled(network, sources, Sampling(max_new_tokens=50))

    # bos and five tokens are six positions
    assert [len(texts[0].ids) for texts in found] == [5, 5]
    assert all(len(ids) <= 5 for ids in drawn)
