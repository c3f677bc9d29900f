"""How the next token is chosen: greedy, temperature, top-k, top-p, repetition penalty.

Shapes: B rows, V vocabulary, C candidates left of it, N new tokens.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

NUCLEUS_GUESS = 512  # candidates sorted before all V are: a nucleus is rarely larger


@dataclass(frozen=True)
class Sampling:
    """How to continue a prompt. The defaults draw from the network's own distribution.

    Applied in this order: repetition penalty, temperature, top-k, top-p.

    Args:
        temperature: the logits are divided by it; 0 is greedy.
        top_k: draw among the k most probable tokens only (Fan et al. 2018); None: all.
        top_p: draw from the nucleus only, the smallest set of most probable tokens whose mass
            reaches p (Holtzman et al. 2020); 1: all.
        repetition_penalty: positive logits of the tokens already in the row, prompt included, are
            divided by it, negative ones multiplied (Keskar et al. 2019, section 4.1; there 1.2).
        max_new_tokens: at most so many tokens a row.
        seed: of the draws; the n-th draw of row r is a function of (seed, r, n) alone.
        stop: a row ends where its decoded text contains one of these strings.

    Raises:
        ValueError: a value out of its range.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    max_new_tokens: int = 200
    seed: int = 0
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise ValueError(
                f"temperature={self.temperature} must be a number from 0 (greedy) up: try 0.8"
            )
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k={self.top_k} leaves no token to choose: at least 1 (try 50)")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p={self.top_p} is a probability mass in (0, 1]: try 0.95")
        if not (math.isfinite(self.repetition_penalty) and self.repetition_penalty > 0):
            raise ValueError(
                f"repetition_penalty={self.repetition_penalty} must be positive: "
                "1 changes nothing, try 1.2"
            )
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens={self.max_new_tokens} must be at least 1")
        if not 0 <= self.seed < 2**64:
            raise ValueError(f"seed={self.seed} does not fit into 64 bits: take one from 0 up")
        if "" in self.stop:
            raise ValueError("stop holds an empty string, which would end every text at once")


class Sampler:
    """Chooses one token a row, step after step.

    Args:
        sampling: how.
        prompts: ids of each row so far, for the repetition penalty.
        vocab_size: V.
        forbidden_ids: never chosen.
        first_row: number of the first row among all that are generated, for the draws.
        device: of the logits.
    """

    def __init__(
        self,
        sampling: Sampling,
        prompts: Sequence[Sequence[int]],
        vocab_size: int,
        *,
        forbidden_ids: Sequence[int],
        first_row: int,
        device: torch.device,
    ) -> None:
        self.sampling = sampling
        self.bias = torch.zeros(vocab_size, device=device)
        self.bias[list(forbidden_ids)] = -torch.inf
        if sampling.temperature > 0:
            draws = uniforms(sampling.seed, first_row, len(prompts), sampling.max_new_tokens)
            self.draws = draws.to(device)  # (N, B, 1)
        self.seen: Tensor | None = None  # (B, V) bool
        if sampling.repetition_penalty != 1:
            self.seen = torch.zeros(len(prompts), vocab_size, dtype=torch.bool, device=device)
            for row, prompt in enumerate(prompts):
                self.seen[row, list(prompt)] = True

    def choose(self, logits: Tensor, n: int) -> Tensor:
        """(B, V) logits -> (B,) ids, the n-th new token of each row (counted from 0)."""
        scores = logits + self.bias  # float32, whatever the dtype of the logits
        if self.seen is not None:
            scores = penalised(scores, self.seen, self.sampling.repetition_penalty)
        if self.sampling.temperature == 0:
            ids = scores.argmax(-1)
        else:
            if self.sampling.temperature != 1:
                scores = scores / self.sampling.temperature
            ids = drawn(scores, self.draws[n], self.sampling.top_k, self.sampling.top_p)
        if self.seen is not None:
            self.seen.scatter_(1, ids[:, None], True)
        return ids


def uniforms(seed: int, first_row: int, rows: int, draws: int) -> Tensor:
    """Uniform numbers in [0, 1): (draws, rows, 1) float32; [n, r] depends on (seed, row, n) alone.

    Counter-based (Philox, Salmon et al. 2011), one stream a row: the batch a row is generated in,
    its size and how long its neighbours go on change nothing.
    """
    streams = [
        np.random.Generator(np.random.Philox(key=np.array([seed, row], dtype=np.uint64)))
        for row in range(first_row, first_row + rows)
    ]
    table = np.stack([stream.random(draws, dtype=np.float32) for stream in streams], axis=1)
    table = np.minimum(table, np.float32(1 - 2**-23))  # times a total it stays below that total
    return torch.from_numpy(table[:, :, None])


def penalised(scores: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Scores (B, V) with the repetition penalty on the tokens that are True in `seen` (B, V)."""
    return torch.where(seen, torch.where(scores > 0, scores / penalty, scores * penalty), scores)


def drawn(scores: Tensor, draws: Tensor, top_k: int | None, top_p: float) -> Tensor:
    """One id a row by inversion of the cumulative distribution: (B, V), (B, 1) -> (B,)."""
    if top_k is None and top_p == 1:
        mass = scores.softmax(-1).cumsum(-1)
        return torch.searchsorted(mass, draws * mass[:, -1:], right=True)[:, 0]
    probabilities, ids = _candidates(scores, top_k, top_p)
    mass = probabilities.cumsum(-1)  # (B, C), most probable first
    in_nucleus = mass - probabilities < top_p  # True as long as those before do not reach p
    total = (mass * in_nucleus).amax(-1, keepdim=True)
    chosen = torch.searchsorted(mass, draws * total, right=True)
    return ids.gather(1, chosen)[:, 0]


def _candidates(scores: Tensor, top_k: int | None, top_p: float) -> tuple[Tensor, Tensor]:
    """Probabilities, falling, and ids of the tokens that can be drawn: (B, C) each."""
    vocab_size = scores.shape[-1]
    if top_k is not None:
        best, ids = scores.topk(min(top_k, vocab_size))
        return best.softmax(-1), ids
    probabilities = scores.softmax(-1)
    best, ids = probabilities.topk(min(NUCLEUS_GUESS, vocab_size))
    if best.sum(-1).min() < top_p:
        best, ids = probabilities.sort(descending=True)
    return best, ids
