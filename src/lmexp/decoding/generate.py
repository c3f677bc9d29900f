"""Continues prompts with any decoder, a step at a time or by whole forward passes.

Shapes: B rows, T tokens of the longest prompt, V vocabulary.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lmexp.decoding.sampling import Sampler, Sampling
from lmexp.decoding.text_stream import TextStream
from lmexp.networks.interface import Decoder, StepDecoder
from lmexp.tokenizers import BOS_ID, CLS_ID, MASK_ID, PAD_ID, SEP_ID

NEVER_TEXT = (PAD_ID, BOS_ID, MASK_ID, CLS_ID, SEP_ID)  # reserved ids that continue no text


def generate(
    network: Decoder | StepDecoder,
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
) -> list[list[int]]:
    """New ids for each prompt, until end of sequence, a stop string or max_new_tokens.

    The network is put into evaluation mode and left as it was. Rows do not influence each other:
    a row comes out the same alone or in any batch.

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

    Returns:
        The new ids of each row. A row ended by a stop string holds the token that completed it.

    Raises:
        ValueError: an empty prompt, a row longer than the network can read, stop strings without
            decode, or a network whose logits are not finite.
    """
    _check(network, prompts, sampling, decode)
    device = network.output.weight.device
    reader: _StepReader | _WholeReader = _WholeReader(network, pad_id)
    if cached and isinstance(network, StepDecoder):
        reader = _StepReader(network, pad_id)
    rows = _Rows(prompts, sampling, eos_id, decode, on_token, first_row)
    with torch.no_grad(), _evaluating(network):
        logits = reader.read_prompts(prompts, sampling.max_new_tokens, device)
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
            device=device,
        )
        for n in range(sampling.max_new_tokens):
            ids = sampler.choose(logits, n)
            rows.append(ids.tolist())
            if not rows.alive or n + 1 == sampling.max_new_tokens:
                break
            logits = reader.read(ids[:, None])
    return rows.new_ids


def room(network: Decoder, prompt_tokens: int) -> int | None:
    """New tokens that fit after a prompt; None: any number.

    A network of learned positions (attribute `max_length`) reads no further than it has learned.
    The last new token is not read.
    """
    max_length: int | None = getattr(network, "max_length", None)
    return None if max_length is None else max_length + 1 - prompt_tokens


def _check(
    network: Decoder,
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
    longest = max(len(prompt) for prompt in prompts)
    fits = room(network, longest)
    if fits is not None and sampling.max_new_tokens > fits:
        remedy = f"ask for max_new_tokens={fits}" if fits > 0 else "shorten the prompt"
        raise ValueError(
            f"a prompt of {longest} tokens and {sampling.max_new_tokens} new ones need "
            f"{longest + sampling.max_new_tokens - 1} positions; the network has learned "
            f"{longest + fits - 1}: {remedy}, or train with a longer max_length or with "
            "positions=rotary"
        )


@contextmanager
def _evaluating(network: Decoder) -> Iterator[None]:
    """Dropout off inside, training mode as before afterwards."""
    if not isinstance(network, nn.Module) or not network.training:
        yield
        return
    network.eval()
    try:
        yield
    finally:
        network.train()


def _padded(prompts: Sequence[Sequence[int]], width: int, pad_id: int) -> Tensor:
    """(B, width) int64 on the CPU, padded on the right."""
    ids = torch.full((len(prompts), width), pad_id)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt)] = torch.tensor(prompt)
    return ids


class _StepReader:
    """Logits after each token by the network's own state: a cache, or what a cell carries."""

    def __init__(self, network: StepDecoder, pad_id: int) -> None:
        self.network, self.pad_id = network, pad_id

    def read_prompts(
        self, prompts: Sequence[Sequence[int]], max_new_tokens: int, device: torch.device
    ) -> Tensor:
        lengths = torch.tensor([len(prompt) for prompt in prompts])
        longest = int(lengths.max())
        mask = None  # the fast path of the networks
        if lengths.min() < longest:
            mask = (torch.arange(longest) < lengths[:, None]).to(device)
        ids = _padded(prompts, longest, self.pad_id).to(device)
        logits, self.state = self.network.step(ids, self.network.start(), mask)
        return logits

    def read(self, ids: Tensor) -> Tensor:
        logits, self.state = self.network.step(ids, self.state)
        return logits


class _WholeReader:
    """Logits after each token by a forward pass over the whole row."""

    def __init__(self, network: Decoder, pad_id: int) -> None:
        self.network, self.pad_id = network, pad_id

    def read_prompts(
        self, prompts: Sequence[Sequence[int]], max_new_tokens: int, device: torch.device
    ) -> Tensor:
        self.longest = max(len(prompt) for prompt in prompts)
        self.lengths = torch.tensor([[len(prompt)] for prompt in prompts], device=device)
        self.ids = _padded(prompts, self.longest + max_new_tokens, self.pad_id).to(device)
        return self._logits()

    def read(self, ids: Tensor) -> Tensor:
        self.ids.scatter_(1, self.lengths, ids)
        self.lengths = self.lengths + 1
        self.longest += 1
        return self._logits()

    def _logits(self) -> Tensor:
        mask = torch.arange(self.longest, device=self.ids.device) < self.lengths
        hidden = self.network.hidden(self.ids[:, : self.longest], mask)  # (B, T, D)
        rows = torch.arange(len(hidden), device=hidden.device)
        logits: Tensor = self.network.output(hidden[rows, self.lengths[:, 0] - 1])
        return logits


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
