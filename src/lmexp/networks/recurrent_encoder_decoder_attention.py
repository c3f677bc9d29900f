"""Attention of a recurrent decoder to its source, after the recurrent layers (Luong et al. 2015).

Shapes: B sequences, S source tokens, T target tokens, D model width.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Attention = Literal["additive", "dot"]

CHUNK_NUMBERS = 2**23  # of the (B, T, S, D) of additive scores, held at a time: 32 MB in float32


class SourceAttention(nn.Module):
    """tanh(W [context; h]) for each decoder state h (Luong et al. 2015, equation 5).

    The context is the mean of the source's hidden states s, weighted by the softmax of their
    scores. dot: h' W s, "general" of Luong et al. 2015, equation 8, without a scale, as there.
    additive: v' tanh(Q h + W s) (Bahdanau et al. 2015, appendix A.1.2), where h is the state after
    reading the token before, as in Luong et al., and not the state before that. Hence no state
    depends on a context, and all target tokens are one batched product instead of a loop.

    Args:
        d_model: D, of decoder states and of the source's.
        attention: additive or dot.
    """

    def __init__(self, d_model: int, attention: Attention) -> None:
        super().__init__()
        self.pair_flops = 4 * d_model
        self.key = nn.Linear(d_model, d_model, bias=False)
        self.query, self.score = None, None
        if attention == "additive":
            self.query = nn.Linear(d_model, d_model, bias=False)
            self.score = nn.Parameter(
                torch.empty(d_model).uniform_(-(d_model**-0.5), d_model**-0.5)
            )
        self.combine = nn.Linear(2 * d_model, d_model, bias=False)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D), what the output layer reads.

        Args:
            x: (B, T, D), decoder states.
            keys: (B, S, D), `key` of the source.
            values: (B, S, D), the source.
            mask: (B, S) bool, True on real tokens.
        """
        context = torch.matmul(self.weights(x, keys, mask), values)
        return torch.tanh(self.combine(torch.cat([context, x], dim=-1)))

    def weights(self, x: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        """The arguments of forward -> (B, T, S), 0 on padding."""
        if self.query is None or self.score is None:
            scores = torch.matmul(x, keys.transpose(1, 2))
        else:
            scores = _additive_scores(self.query(x), keys, self.score)
        # not -inf: in a row that is all padding softmax would divide 0 by 0
        scores = scores.masked_fill(~mask[:, None], torch.finfo(scores.dtype).min)
        return scores.softmax(dim=-1)


def _additive_scores(queries: Tensor, keys: Tensor, vector: Tensor) -> Tensor:
    """(B, T, D), (B, S, D), (D,) -> (B, T, S).

    Where (B, T, S, D) is too large to keep, a few target tokens at a time, and once more in the
    backward pass: never more than CHUNK_NUMBERS, or the source's own size.
    """

    def scores(part: Tensor) -> Tensor:
        return torch.matmul(torch.tanh(part.unsqueeze(2) + keys.unsqueeze(1)), vector)

    columns = max(1, CHUNK_NUMBERS // keys.numel())
    if queries.shape[1] <= columns:
        return scores(queries)
    parts = [
        checkpoint(scores, part, use_reentrant=False, preserve_rng_state=False)
        for part in torch.split(queries, columns, dim=1)
    ]
    return torch.cat(parts, dim=1)
