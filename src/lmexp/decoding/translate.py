"""From sources to texts with an encoder-decoder, by beam search in batches of similar length.

Shapes: B sources, S tokens of the longest.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lmexp.decoding.beam import Beam, Hypothesis, beam_search
from lmexp.decoding.coverage import ranked_by_coverage
from lmexp.decoding.generate import generate
from lmexp.decoding.sampling import Sampling
from lmexp.networks.interface import EncoderDecoder
from lmexp.tokenizers import BOS_ID, CLS_ID, EOS_ID, MASK_ID, PAD_ID, SEP_ID, UNK_ID

SHORT = 16  # tokens
NEVER_TEXT = (PAD_ID, UNK_ID, BOS_ID, MASK_ID, CLS_ID, SEP_ID)  # ids that continue no text


def translate(
    network: EncoderDecoder,
    sources: Sequence[Sequence[int]],
    beam: Beam,
    *,
    batch_tokens: int,
    forbidden_ids: Sequence[int] = NEVER_TEXT,
    share: tuple[int, int] = (0, 1),
) -> list[list[Hypothesis]]:
    """The best texts of each source, in the order of the sources.

    Args:
        network: in evaluation mode.
        sources: ids of each, its end of sequence last.
        beam: settings.
        batch_tokens: of the sources of a batch, padding included, times the beam's size. Changes
            no text but by rounding.
        forbidden_ids: never chosen.
        share: number, and of how many, of the batches that are translated here: the sources of the
            others get no text.
    """
    found: list[list[Hypothesis]] = [[] for _ in sources]
    batches = _batches([len(source) for source in sources], batch_tokens // beam.size)
    first, step = share
    for rows in itertools.islice(batches, first, None, step):
        texts = _translated(network, [sources[row] for row in rows], beam, forbidden_ids)
        for row, text in zip(rows, texts, strict=True):
            found[row] = text
    return found


def sampled(
    network: EncoderDecoder,
    sources: Sequence[Sequence[int]],
    sampling: Sampling,
    *,
    first_row: int = 0,
    forbidden_ids: Sequence[int] = NEVER_TEXT,
) -> list[list[int]]:
    """A text of each source, drawn token by token: ids without their end.

    It ends where the positions that the network has learned end, its `max_length`.

    Args:
        network: in evaluation mode.
        sources: ids of each, its end of sequence last; one batch.
        sampling: how tokens are chosen and when to stop.
        first_row: number of the first source among all that are drawn for: its draws are those of
            that row.
        forbidden_ids: never chosen.
    """
    if (reach := getattr(network, "max_length", None)) is not None:  # bos is read too
        most = min(sampling.max_new_tokens, reach - 1)
        sampling = dataclasses.replace(sampling, max_new_tokens=most)
    with torch.no_grad():
        memory = network.encode(*_padded(sources, network.output.weight.device))
    return generate(
        network,
        [[BOS_ID]] * len(sources),
        sampling,
        eos_id=EOS_ID,
        pad_id=PAD_ID,
        first_row=first_row,
        forbidden_ids=forbidden_ids,
        memory=memory,
    )


def _batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Rows of each batch, the longest sources first: memory fails early.

    A short source counts SHORT tokens: of a thousand of them the logits would be what fills memory.
    """
    order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    while order:
        count = max(1, budget // max(SHORT, lengths[order[0]]))
        yield order[:count]
        order = order[count:]


def _translated(
    network: EncoderDecoder, sources: Sequence[Sequence[int]], beam: Beam, forbidden: Sequence[int]
) -> list[list[Hypothesis]]:
    ids, mask = _padded(sources, network.output.weight.device)
    with torch.no_grad():
        state = network.start(network.encode(ids, mask))
    found = beam_search(
        network,
        state,
        [len(source) - 1 for source in sources],  # without their end
        beam,
        bos_id=BOS_ID,
        eos_id=EOS_ID,
        forbidden_ids=forbidden,
    )
    if not beam.coverage_penalty:
        return found
    return [
        ranked_by_coverage(network, source, texts, beam)
        for source, texts in zip(sources, found, strict=True)
    ]


def _padded(sources: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """(B, S) ids, padded on the right, and (B, S) bool, True on real tokens."""
    lengths = torch.tensor([len(source) for source in sources])
    mask = torch.arange(int(lengths.max())) < lengths[:, None]
    ids = torch.full(mask.shape, PAD_ID)
    ids[mask] = torch.tensor([token for source in sources for token in source])
    return ids.to(device), mask.to(device)
