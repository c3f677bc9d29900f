"""A linear-chain conditional random field over scores of tags (Lafferty et al. 2001).

Shapes: B sentences, W words, K tags.
"""

import torch
from torch import Tensor, nn

FORBIDDEN = -1.0e4  # nats: of what never happens; finite, so that differences of it are numbers


class LinearChainCRF(nn.Module):
    """Scores of whole taggings: of each word's tag, and of each tag after the one before.

    Everything is computed in float32 at least: sums over long sentences lose the differences in 16
    bits.

    Args:
        starts: (K,) bool, tags that may stand first.
        follows: (K, K) bool, whether tag j may follow tag i.
    """

    starts: Tensor
    follows: Tensor

    def __init__(self, starts: Tensor, follows: Tensor) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.zeros(len(starts)))
        self.transitions = nn.Parameter(torch.zeros(len(starts), len(starts)))
        self.register_buffer("starts", ~starts * FORBIDDEN, persistent=False)
        self.register_buffer("follows", ~follows * FORBIDDEN, persistent=False)

    def forward(self, scores: Tensor, labels: Tensor, mask: Tensor, begins: Tensor) -> Tensor:
        """Negative log-likelihood of taggings, (B,) float32 in nats.

        Args:
            scores: (B, W, K).
            labels: (B, W) int64; a word with a negative one may have any tag.
            mask: (B, W) bool, True on words; they begin in column 0, without gaps.
            begins: (B,) bool, whether the first word begins a sentence; else it may have any tag.
        """
        tags = torch.arange(scores.shape[2], device=scores.device)
        is_right = (labels[..., None] == tags) | (labels[..., None] < 0)
        right = self.log_partition(_wide(scores) + ~is_right * FORBIDDEN, mask, begins)
        return self.log_partition(scores, mask, begins) - right

    def log_partition(self, scores: Tensor, mask: Tensor, begins: Tensor) -> Tensor:
        """Log of the sum over all taggings, (B,) float32; 0 where there is no word."""
        scores = _wide(scores)
        transitions = self._transitions()
        ahead = self._first(begins) + scores[:, 0]  # (B, K), of all taggings that end in each tag
        for column in range(1, scores.shape[1]):
            after = torch.logsumexp(ahead[:, :, None] + transitions, dim=1) + scores[:, column]
            ahead = torch.where(mask[:, column, None], after, ahead)
        return torch.logsumexp(ahead, dim=1) * mask[:, 0]

    def decode(self, scores: Tensor, mask: Tensor, begins: Tensor) -> Tensor:
        """The likeliest tagging, (B, W) int64, by the algorithm of Viterbi (1967).

        Columns after a sentence's last word hold the tag of that word.
        """
        scores = _wide(scores)
        best = self._first(begins) + scores[:, 0]
        origins = []
        stay = torch.arange(scores.shape[2], device=scores.device).expand_as(best)
        transitions = self._transitions()
        for column in range(1, scores.shape[1]):
            after, origin = (best[:, :, None] + transitions).max(dim=1)
            is_word = mask[:, column, None]
            best = torch.where(is_word, after + scores[:, column], best)
            origins.append(torch.where(is_word, origin, stay))
        tags = [best.argmax(dim=1)]
        for origin in reversed(origins):
            tags.append(origin.gather(1, tags[-1][:, None])[:, 0])
        return torch.stack(tags[::-1], dim=1)

    def marginals(self, scores: Tensor, mask: Tensor, begins: Tensor) -> Tensor:
        """The probability of each tag of each word, (B, W, K) float32; 0 where there is no word.

        The derivative of the log partition by the scores (Sutton & McCallum 2012, section 4.1).
        """
        with torch.enable_grad():
            leaf = _wide(scores.detach()).requires_grad_()
            (shares,) = torch.autograd.grad(self.log_partition(leaf, mask, begins).sum(), leaf)
        return shares

    def _first(self, begins: Tensor) -> Tensor:
        """(B, K) of each tag of a row's first word."""
        return (_wide(self.first) + self.starts) * begins[:, None]

    def _transitions(self) -> Tensor:
        return _wide(self.transitions) + self.follows


def _wide(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def iob2_rules(labels: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """Which tags may stand first, (K,) bool, and which may follow which, (K, K) bool.

    I-TYPE follows B-TYPE and I-TYPE alone (Tjong Kim Sang & Veenstra 1999).
    """
    inside = [label.startswith("I-") for label in labels]
    kinds = [label.partition("-")[2] for label in labels]
    follows = [
        [not inside[j] or (kinds[i] != "" and kinds[i] == kinds[j]) for j in range(len(labels))]
        for i in range(len(labels))
    ]
    return ~torch.tensor(inside), torch.tensor(follows)
