"""Greedy and beam search put out what Marian's `generate` of the Transformers library does.

Both run in float64 and search in float32, so that rounding decides no tie.
"""

import functools
import math

import pytest
import torch
from architectures import VOCAB
from marian import twins
from torch import nn

from lmexp.decoding.beam import Beam
from lmexp.decoding.translate import NEVER_TEXT, translate

NUMBER = 200
LONGEST = 15  # tokens of an output, without its end
SIZES = {"d_model": 32, "num_layers": 2, "num_heads": 4, "d_ff": 48, "activation": "relu"}


class LikeMarian(Beam):
    """Ranks by log probability over length ** alpha, as theirs."""

    def penalty(self, length):
        return float(length**self.length_penalty)


@pytest.fixture(scope="module")
def pair():
    """Twins whose outputs depend on the source and are of many lengths."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ours, theirs = twins(SIZES)
        output = torch.randn(VOCAB.size, SIZES["d_model"]).double()  # tied: the same token for ever
        ids = torch.randint(7, VOCAB.size, (2, NUMBER, LONGEST))
    output[VOCAB.eos_id] *= 1.5  # likelier than others where it is likely at all
    for network in (ours, theirs):
        network.double().requires_grad_(False)
        for name, parameter in network.named_parameters():
            if name.endswith(("cross_attention.out.weight", "encoder_attn.out_proj.weight")):
                parameter.mul_(4)
    mean = ours.hidden(ids[0], torch.ones(NUMBER, LONGEST).bool(), ids[1]).mean((0, 1))
    output -= torch.outer(output @ mean, mean) / mean.dot(mean)  # no token is likely everywhere
    for head in (ours.output, theirs.lm_head):
        head.weight = nn.Parameter(output, requires_grad=False)
    return ours, theirs


@pytest.fixture(scope="module")
def sources():
    """Ids of 200 sentences of 1 to 17 tokens, their end last."""
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(1, 18, (NUMBER,), generator=generator).tolist()
    drawn = (torch.randint(7, VOCAB.size, (n,), generator=generator) for n in lengths)
    return [[*ids.tolist(), VOCAB.eos_id] for ids in drawn]


def end_at_the_longest(ids, scores):
    """Theirs gives a forced end a probability of 1; with us it keeps its own."""
    if ids.shape[1] <= LONGEST:  # bos and fewer tokens than there may be
        return scores
    ended = torch.full_like(scores, -math.inf)
    ended[:, VOCAB.eos_id] = scores[:, VOCAB.eos_id]
    return ended


@pytest.fixture(scope="module")
def generated(pair, sources):
    """Their outputs, best first, without bos and end; and their scores, if it is a beam."""
    ids = nn.utils.rnn.pad_sequence([torch.tensor(s) for s in sources], batch_first=True)
    mask = torch.arange(ids.shape[1]) < torch.tensor([len(s) for s in sources])[:, None]

    @functools.cache
    def generate(size, alpha):
        found = pair[1].generate(
            ids,
            attention_mask=mask,
            num_beams=size,
            num_return_sequences=size,
            length_penalty=alpha,
            do_sample=False,
            max_new_tokens=LONGEST + 1,
            suppress_tokens=list(NEVER_TEXT),
            logits_processor=[end_at_the_longest],
            early_stopping=False,  # as long as a running text may still get among the K best
            return_dict_in_generate=True,
            output_scores=True,
        )
        texts = [row[1 : row.index(VOCAB.eos_id)] for row in found.sequences.tolist()]
        return texts, getattr(found, "sequences_scores", None)

    return generate


def beam(size, alpha, n_best):
    """No source allows a longer output than another, as theirs."""
    lengths = {"max_ratio": 1e-9, "max_extra": LONGEST, "min_ratio": 0.0}
    return LikeMarian(size, alpha, no_repeat_ngram=0, n_best=n_best, **lengths)


def assert_varied(texts):
    """A search that cannot go wrong would prove nothing."""
    assert len({len(text) for text in texts}) > LONGEST // 2
    assert max(len(text) for text in texts) == LONGEST
    assert len(set(map(tuple, texts))) > NUMBER // 2


def test_greedy_outputs_equal_those_of_marian(pair, sources, generated):
    found = translate(pair[0], sources, beam(1, 0.0, 1), batch_tokens=500)

    texts, _ = generated(1, 0.0)
    assert_varied(texts)
    assert [text.ids for (text,) in found] == texts


@pytest.mark.parametrize(("size", "alpha"), [(4, 0.0), (5, 0.6)])
def test_all_texts_of_a_beam_and_their_scores_equal_those_of_marian(
    size, alpha, pair, sources, generated
):
    found = translate(pair[0], sources, beam(size, alpha, size), batch_tokens=500 * size)

    texts, scores = generated(size, alpha)
    assert_varied(texts[::size])
    assert [text.ids for best in found for text in best] == texts
    torch.testing.assert_close(
        torch.tensor([text.score for best in found for text in best]), scores
    )


def test_the_most_probable_text_is_theirs_though_our_search_ends_earlier(pair, sources, generated):
    found = translate(pair[0], sources, beam(4, 0.0, 1), batch_tokens=2000)

    texts, _ = generated(4, 0.0)
    assert [text.ids for (text,) in found] == texts[::4]


def test_a_beam_puts_out_other_texts_than_greedy_search(generated):
    (greedy, _), (wide, _) = generated(1, 0.0), generated(4, 0.0)

    assert sum(g != w for g, w in zip(greedy, wide[::4], strict=True)) > NUMBER // 4
