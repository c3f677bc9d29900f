"""Continues prompts with any decoder, a step at a time or by whole forward passes.

The decoder of an encoder-decoder too, a step at a time, once its encoder has read the sources.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lmexp.decoding.reading import Reader, StepReader, WholeReader, Windows
from lmexp.decoding.sampling import Sampler, Sampling
from lmexp.decoding.text_stream import TextStream
from lmexp.networks.interface import Autoencoder, Decoder, EncoderDecoder, Memory, StepDecoder
from lmexp.tokenizers import BOS_ID, CLS_ID, MASK_ID, PAD_ID, SEP_ID

NEVER_TEXT = (PAD_ID, BOS_ID, MASK_ID, CLS_ID, SEP_ID)  # reserved ids that continue no text


def generate(
    network: Decoder | StepDecoder | EncoderDecoder | Autoencoder,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    *,
    eos_id: int,
    pad_id: int,
    decode: Callable[[Iterable[int]], str] | None = None,
    on_token: Callable[[int, int], None] | None = None,
    cached: bool = True,
    first_row: int = 0,
    forbidden_ids: Sequence[int] = NEVER_TEXT,
    memory: Memory | Tensor | None = None,
) -> list[list[int]]:
    """New ids for each prompt, until end of sequence, a stop string or max_new_tokens.

    The network is put into evaluation mode and left as it was. Rows do not influence each other:
    a row comes out the same alone or in any batch. A row that outgrows the network's learned
    positions goes on with its newest half (reading.Windows); of a longer prompt the newest tokens
    are read.

    Args:
        network: a StepDecoder reads each token once; any other Decoder, or cached=False, reads
            the whole row again for every token.
        prompts: framed ids (a beginning of sequence first); of any, unequal, lengths from 1 up.
        sampling: how tokens are chosen and when to stop.
        eos_id: ends a row; not part of what is returned.
        pad_id: fills rows that are shorter or have ended.
        decode: ids -> text, of the tokenizer; needed for stop strings alone.
        on_token: called with (row, id) for every new token as soon as it is chosen.
        cached: False: whole forward passes, the reference for the cached way.
        first_row: number of prompts[0] among all rows that are generated: its draws are those of
            that row.
        forbidden_ids: never chosen.
        memory: what an encoder-decoder left of the source of each prompt, or (B, Z) the points of
            an autoencoder's latent space that they are generated from; None: a language model.

    Returns:
        The new ids of each row. A row ended by a stop string holds the token that completed it.

    Raises:
        ValueError: an empty prompt, stop strings without decode, memory with cached=False, or a
            network whose logits are not finite.
    """
    _check(prompts, sampling, decode)
    reader = _reader(network, prompts, pad_id, cached, memory)
    rows = _Rows(prompts, sampling, eos_id, decode, on_token, first_row)
    with torch.no_grad(), _evaluating(network):
        logits = reader.read()
        if not torch.isfinite(logits).all():
            raise ValueError(
                "the network's logits are not finite after the prompt: its weights are damaged or "
                "its training diverged; take an earlier checkpoint"
            )
        sampler = Sampler(
            sampling,
            prompts,
            logits.shape[-1],
            forbidden_ids=forbidden_ids,
            first_row=first_row,
            device=logits.device,
        )
        for n in range(sampling.max_new_tokens):
            ids = sampler.choose(logits, n)
            rows.append(ids.tolist())
            if not rows.alive or n + 1 == sampling.max_new_tokens:
                break
            logits = reader.read_next(ids)
    return rows.new_ids


def _reader(
    network: Decoder | StepDecoder | EncoderDecoder | Autoencoder,
    prompts: Sequence[Sequence[int]],
    pad_id: int,
    cached: bool,
    memory: Memory | Tensor | None,
) -> Reader:
    windows = Windows(prompts, getattr(network, "max_length", None))
    if cached and isinstance(network, StepDecoder):
        return StepReader(network, windows, pad_id, memory)
    if memory is not None:
        raise ValueError("what has a memory is read a step at a time: leave cached=False out")
    assert isinstance(network, Decoder)
    return WholeReader(network, windows, pad_id)


def _check(
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    decode: Callable[[Iterable[int]], str] | None,
) -> None:
    if not prompts:
        raise ValueError("no prompt: give at least one row; an empty text is [bos_id]")
    for row, prompt in enumerate(prompts):
        if not prompt:
            raise ValueError(f"prompt {row} has no token: an empty text is [bos_id]")
    if sampling.stop and decode is None:
        raise ValueError(f"stop={sampling.stop} is found in decoded text: pass decode as well")


@contextmanager
def _evaluating(network: object) -> Iterator[None]:
    """Dropout off inside, training mode as before afterwards."""
    if not isinstance(network, nn.Module) or not network.training:
        yield
        return
    network.eval()
    try:
        yield
    finally:
        network.train()


class _Rows:
    """What has come of each row, and which rows go on."""

    def __init__(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        eos_id: int,
        decode: Callable[[Iterable[int]], str] | None,
        on_token: Callable[[int, int], None] | None,
        first_row: int,
    ) -> None:
        self.new_ids: list[list[int]] = [[] for _ in prompts]
        self.alive = list(range(len(prompts)))
        self.eos_id, self.on_token, self.first_row = eos_id, on_token, first_row
        self.streams: list[TextStream] = []
        if sampling.stop and decode is not None:
            self.streams = [TextStream(decode, prompt, sampling.stop) for prompt in prompts]

    def append(self, ids: list[int]) -> None:
        """One more token for every row; those that have ended ignore theirs."""
        self.alive = [row for row in self.alive if self._goes_on(row, ids[row])]

    def _goes_on(self, row: int, token_id: int) -> bool:
        if token_id == self.eos_id:
            return False
        self.new_ids[row].append(token_id)
        if self.on_token is not None:
            self.on_token(self.first_row + row, token_id)
        if not self.streams:
            return True
        self.streams[row].push(token_id)
        return not self.streams[row].is_stopped
