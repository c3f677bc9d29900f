"""From sources to texts with an encoder-decoder, by beam search in batches of similar length."""

from collections.abc import Iterator, Sequence

import torch

from lmexp.decoding.beam import Beam, Hypothesis, beam_search
from lmexp.networks.interface import EncoderDecoder
from lmexp.tokenizers import BOS_ID, CLS_ID, EOS_ID, MASK_ID, PAD_ID, SEP_ID, UNK_ID

NEVER_TEXT = (PAD_ID, UNK_ID, BOS_ID, MASK_ID, CLS_ID, SEP_ID)  # ids that continue no text


def translate(
    network: EncoderDecoder,
    sources: Sequence[Sequence[int]],
    beam: Beam,
    *,
    batch_tokens: int,
    forbidden_ids: Sequence[int] = NEVER_TEXT,
) -> list[list[Hypothesis]]:
    """The best texts of each source, in the order of the sources.

    Args:
        network: in evaluation mode.
        sources: ids of each, its end of sequence last.
        beam: settings.
        batch_tokens: of the sources of a batch, padding included, times the beam's size. Changes
            no text but by rounding.
        forbidden_ids: never chosen.
    """
    found: list[list[Hypothesis]] = [[] for _ in sources]
    for rows in _batches([len(source) for source in sources], batch_tokens // beam.size):
        texts = _translated(network, [sources[row] for row in rows], beam, forbidden_ids)
        for row, text in zip(rows, texts, strict=True):
            found[row] = text
    return found


def _batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Rows of each batch, the longest sources first: memory fails early."""
    order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    while order:
        count = max(1, budget // lengths[order[0]])
        yield order[:count]
        order = order[count:]


def _translated(
    network: EncoderDecoder, sources: Sequence[Sequence[int]], beam: Beam, forbidden: Sequence[int]
) -> list[list[Hypothesis]]:
    lengths = torch.tensor([len(source) for source in sources])
    mask = torch.arange(int(lengths.max())) < lengths[:, None]
    ids = torch.full(mask.shape, PAD_ID)
    ids[mask] = torch.tensor([token for source in sources for token in source])
    device = network.output.weight.device
    with torch.no_grad():
        state = network.start(network.encode(ids.to(device), mask.to(device)))
    return beam_search(
        network,
        state,
        [len(source) - 1 for source in sources],  # without their end
        beam,
        bos_id=BOS_ID,
        eos_id=EOS_ID,
        forbidden_ids=forbidden,
    )
