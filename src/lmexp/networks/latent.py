"""An encoder and a decoder with a latent space between them (Bowman et al. 2016, section 2.2).

Shapes: B sequences, T tokens, D model width, Z latent dimensions, L layers, S tensors of a layer's
state, V vocabulary.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lmexp.networks.interface import Posterior, State


class LatentState(NamedTuple):
    """What is remembered while sentences are generated."""

    added: Tensor  # (B, 1, D), what z adds to every embedding
    decoder: State


class LatentNetwork(nn.Module):
    """Sentences to a Gaussian over points z, and such points to sentences.

    The Gaussian is read off the mean of the encoder's outputs over the real tokens. Bowman et al.
    take the last state of one direction and Li et al. 2020 (Optimus) the first token's output; with
    the mean less of the latent space is left unused (Long et al. 2020, arXiv:1911.03976).

    z is added, by a matrix, to every embedding that the decoder reads: for a transformer as in
    Li et al. 2020, section 3.1, "embedding"; for a recurrent decoder as good as Bowman's et al.
    variation that concatenates it to every input (section 3), as a layer multiplies both. A
    recurrent decoder begins with a state that is a linear function of z, as in the paper.

    Args:
        encoder: as networks.interface.Encoder.
        decoder: as networks.interface.StepDecoder, whose hidden (or hidden_carried) and step take
            `added` too.
        latent_size: Z.
        state_shape: S, L and D of a recurrent decoder's state; None: it begins with none.
        shares_embeddings: one matrix for both sides.
    """

    def __init__(
        self,
        encoder: Any,
        decoder: Any,
        latent_size: int,
        *,
        state_shape: tuple[int, int, int] | None,
        shares_embeddings: bool,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        if shares_embeddings:
            encoder.embed = decoder.embed
        self.latent_size, self.state_shape = latent_size, state_shape
        d_model: int = encoder.d_model
        self.mean = nn.Linear(d_model, latent_size)
        self.log_variance = nn.Linear(d_model, latent_size)
        self.added = nn.Linear(latent_size, d_model, bias=False)
        self.initial: nn.Linear | None = None
        if state_shape is not None:
            count, layers, width = state_shape
            self.initial = nn.Linear(latent_size, count * layers * width)

    @property
    def output(self) -> nn.Linear:
        """The decoder's output layer."""
        layer: nn.Linear = self.decoder.output
        return layer

    @property
    def max_length(self) -> int | None:
        """Tokens in a sequence, at most; None: any number."""
        length: int | None = getattr(self.decoder, "max_length", None)
        return length

    def forward(
        self, latent: Tensor, input_ids: Tensor, attention_mask: Tensor | None = None
    ) -> Tensor:
        """(B, Z), (B, T) ids, bos first -> (B, T, V) logits; position t sees z and ids 0..t."""
        logits: Tensor = self.output(self.hidden(latent, input_ids, attention_mask))
        return logits

    def posterior(self, input_ids: Tensor, attention_mask: Tensor) -> Posterior:
        """(B, T) ids and bool -> mean and log-variance, (B, Z) float32.

        A row of padding alone has the mean of no token, 0, in place of outputs.
        """
        outputs = self.encoder(input_ids, attention_mask)
        real = attention_mask.unsqueeze(-1)
        total = outputs.masked_fill(~real, 0).sum(dim=1)
        pooled = total / real.sum(dim=1).clamp(min=1)
        return Posterior(self.mean(pooled).float(), self.log_variance(pooled).float())

    def hidden(
        self, latent: Tensor, input_ids: Tensor, attention_mask: Tensor | None = None
    ) -> Tensor:
        """(B, Z), (B, T) ids -> (B, T, D), what the output layer reads."""
        state = self.start(latent)
        if self.initial is None:
            hidden: Tensor = self.decoder.hidden(input_ids, attention_mask, added=state.added)
        else:
            hidden, _ = self.decoder.hidden_carried(input_ids, state.decoder, added=state.added)
        return hidden

    def start(self, memory: Tensor) -> LatentState:
        """The state before the first token of sentences at z, (B, Z)."""
        latent = memory.to(self.added.weight.dtype)
        added = self.added(latent).unsqueeze(1)
        if self.initial is None or self.state_shape is None:
            return LatentState(added, self.decoder.start())
        count, layers, width = self.state_shape
        states = self.initial(latent).to(self.initial.weight.dtype)  # not autocast's
        parts = states.view(len(latent), count, layers, width).permute(1, 2, 0, 3)
        return LatentState(added, parts.contiguous().unbind())

    def step(
        self, ids: Tensor, state: LatentState, attention_mask: Tensor | None = None
    ) -> tuple[Tensor, LatentState]:
        """(B, n) more token ids -> (B, V) logits after each row's last real one, and the state."""
        logits, after = self.decoder.step(ids, state.decoder, attention_mask, state.added)
        return logits, LatentState(state.added, after)

    def reorder(self, state: LatentState, rows: Tensor) -> LatentState:
        """The state of the given rows (R,) int64; repeats allowed."""
        added = torch.index_select(state.added, 0, rows)
        return LatentState(added, self.decoder.reorder(state.decoder, rows))
