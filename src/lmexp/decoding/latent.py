"""Sentences from points of a latent space, and the points that are drawn there.

Shapes: B sentences, K draws, Z latent dimensions.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from lmexp.decoding.generate import generate
from lmexp.decoding.sampling import Sampling
from lmexp.networks.interface import Autoencoder, Vocab


def normals(seed: int, numbers: Iterable[int], draws: int, size: int) -> Tensor:
    """Standard normal numbers, (K, B, Z) float32; [k, b] depends on (seed, numbers[b], k) alone.

    Counter-based (Philox, Salmon et al. 2011), one stream a sentence: which sentences are drawn for
    together, and in which order, changes nothing.

    Args:
        seed: of all draws.
        numbers: of the sentences.
        draws: K.
        size: Z.
    """
    streams = [
        np.random.Generator(np.random.Philox(key=np.array([seed, number], dtype=np.uint64)))
        for number in numbers
    ]
    tables = [stream.standard_normal((draws, size), dtype=np.float32) for stream in streams]
    return torch.from_numpy(np.stack(tables, axis=1))


def sentences(
    network: Autoencoder,
    latent: Tensor,
    sampling: Sampling,
    *,
    vocab: Vocab,
    decode: Callable[[Sequence[int]], str],
    first_row: int = 0,
) -> list[str]:
    """A sentence from each of (B, Z) points, on one line.

    Args:
        network: left as it was.
        latent: on the network's device.
        sampling: how words are chosen, and how many at most.
        vocab: of the tokenizer.
        decode: ids -> text, of the tokenizer.
        first_row: see generate.
    """
    rows = generate(
        network,
        [[vocab.bos_id]] * len(latent),
        sampling,
        eos_id=vocab.eos_id,
        pad_id=vocab.pad_id,
        first_row=first_row,
        memory=latent,
    )
    return [" ".join(decode(ids).split("\n")).strip() for ids in rows]


def between(first: Tensor, second: Tensor, steps: int) -> Tensor:
    """Points on the line from (Z,) to (Z,), both ends included, evenly: (steps, Z).

    Bowman et al. 2016, section 4.3.
    """
    share = torch.linspace(0, 1, steps, device=first.device)[:, None]
    return (1 - share) * first + share * second
