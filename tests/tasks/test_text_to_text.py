import math

import pytest
import torch

from lmexp.batch import IGNORE, PairBatch
from lmexp.decoding.beam import Beam
from lmexp.decoding.translate import translate
from lmexp.networks.interface import PairVocab, Vocab
from lmexp.networks.recurrent import Recurrent
from lmexp.networks.transformer import Transformer
from lmexp.tasks.text_to_text import TextToText
from lmexp.tokenizers import BOS_ID, EOS_ID, MASK_ID, PAD_ID

VOCAB = Vocab(17, PAD_ID, BOS_ID, EOS_ID, MASK_ID)
FIRST = 7  # ordinary ids

RECURRENT = {"d_model": 32, "num_layers": 1, "dropout": 0.0, "variational": False, "tied": True}
ARCHITECTURES = {
    "transformer": Transformer(
        d_model=32,
        num_layers=2,
        num_heads=4,
        num_kv_heads=4,
        d_ff=64,
        activation="swiglu",
        norm="rms",
        norm_first=True,
        positions="rotary",
        max_length=None,
        dropout=0.0,
        bias=False,
        tied=True,
        shares_embeddings=True,
    ),
    "gru": Recurrent(cell="gru", attention="dot", shares_embeddings=True, **RECURRENT),
}


@pytest.fixture(params=ARCHITECTURES)
def task(request):
    torch.manual_seed(0)
    return TextToText(
        ARCHITECTURES[request.param],
        PairVocab(VOCAB, VOCAB),
        label_smoothing=0.1,
        clip_norm=1.0,
        ema_decay=None,
    )


def pairs(count, seed=0):
    """Sequences and themselves backwards."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 6, (count,), generator=generator).tolist()
    sources = [torch.randint(FIRST, 17, (n,), generator=generator).tolist() for n in lengths]
    return [(source, source[::-1]) for source in sources]


def batch_of(some):
    def padded(rows, fill):
        longest = max(map(len, rows))
        return torch.tensor([row + [fill] * (longest - len(row)) for row in rows])

    sources = padded([[*source, EOS_ID] for source, _ in some], PAD_ID)
    targets = padded([[BOS_ID, *target] for _, target in some], PAD_ID)
    labels = padded([[*target, EOS_ID] for _, target in some], IGNORE)
    return PairBatch(sources, sources != PAD_ID, targets, labels)


def test_the_loss_is_the_negative_log_likelihood_of_the_targets(task):
    batch = batch_of(pairs(5))
    logits = task.network(batch.source_ids, batch.source_mask, batch.target_ids)
    log_p = logits.log_softmax(-1).gather(2, batch.labels.clamp(min=0)[..., None])[..., 0]
    expected = -log_p[batch.labels != IGNORE].sum()

    sums, carried = task.sums(batch, None)

    assert carried is None
    assert sums.tokens == (batch.labels != IGNORE).sum()
    torch.testing.assert_close(sums.nll, expected, rtol=1e-5, atol=1e-5)
    assert sums.objective > 0.9 * sums.nll  # smoothed


def test_sums_of_micro_batches_are_those_of_the_whole(task):
    some = pairs(9)
    whole, _ = task.sums(batch_of(some), None)
    parts = [task.sums(batch_of(part), None)[0] for part in (some[:4], some[4:])]

    for name in ("objective", "nll", "tokens"):
        summed = sum(getattr(part, name) for part in parts)
        torch.testing.assert_close(summed, getattr(whole, name), rtol=1e-5, atol=1e-5)


def test_validation_adds_up_without_smoothing(task):
    batches = [batch_of(pairs(3, seed)) for seed in (1, 2)]
    task.eval()
    task.on_validation_start()
    for index, batch in enumerate(batches):
        task.validation_step(batch, index)
    sums = [task.sums(batch, None)[0] for batch in batches]

    class Store:
        num_bytes, num_chars, num_unk = 40, 20, 0

    figures = task.validated(Store())

    nll, tokens = sum(s.nll.item() for s in sums), sum(int(s.tokens) for s in sums)
    assert figures["loss"] == pytest.approx(nll / tokens, rel=1e-5)
    assert figures["perplexity"] == pytest.approx(math.exp(nll / tokens), rel=1e-5)
    assert figures["bits_per_byte"] == pytest.approx(nll / math.log(2) / 40, rel=1e-5)


def test_what_was_learnt_by_heart_is_found_by_beam_search_in_any_batch(task):
    some = pairs(12)
    optimizer = torch.optim.AdamW(task.network.parameters(), lr=5e-3, weight_decay=0.0)
    for _ in range(250):
        optimizer.zero_grad()
        sums, _ = task.sums(batch_of(some), None)
        (sums.objective / sums.tokens).backward()
        optimizer.step()
    task.network.eval()
    beam = Beam(4, 0.6, max_ratio=1.0, max_extra=5, min_ratio=0.0, no_repeat_ngram=0, n_best=1)
    sources = [[*source, EOS_ID] for source, _ in some]

    found = translate(task.network, sources, beam, batch_tokens=80)
    alone = [translate(task.network, [source], beam, batch_tokens=1)[0] for source in sources]

    known = {tuple(source): target for source, target in some}
    assert [text[0].ids for text in found] == [known[tuple(source[:-1])] for source in sources]
    assert [text[0].ids for text in alone] == [text[0].ids for text in found]


def test_an_architecture_without_an_encoder_decoder_of_ours_is_refused():
    class Wrong:
        def encoder_decoder(self, source_vocab, target_vocab):
            return torch.nn.Linear(2, 2)

    with pytest.raises(TypeError, match=r"Linear, which Wrong.encoder_decoder\(\) built, is no"):
        TextToText(
            Wrong(), PairVocab(VOCAB, VOCAB), label_smoothing=0.0, clip_norm=None, ema_decay=None
        )
