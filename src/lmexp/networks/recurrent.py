"""Recurrent language models: RNN (Elman 1990), LSTM (Zaremba et al. 2014), GRU (Cho et al. 2014).

Shapes: B rows, T tokens, L layers, D model width, V vocabulary, S segments, n new tokens.
"""

from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

from lmexp.networks.interface import Vocab
from lmexp.networks.latent import LatentNetwork
from lmexp.networks.layers import Dropout, LockedDropout
from lmexp.networks.recurrent_encoder import RecurrentEncoder
from lmexp.networks.recurrent_encoder_decoder import RecurrentEncoderDecoder
from lmexp.networks.recurrent_encoder_decoder_attention import Attention
from lmexp.networks.segments import (
    Cell,
    Segments,
    count_states,
    initialise_biases,
    make_layer,
    run_layers,
)

CellState = tuple[Tensor, ...]  # of each layer: (L, B, D), hidden and, of an LSTM, cell


@dataclass(frozen=True)
class Recurrent:
    """Sizes of a recurrent network.

    Args:
        cell: rnn (tanh), lstm or gru, as in torch.nn.
        d_model: D, width of embeddings and of every layer.
        num_layers: L; an encoder-decoder has L of each side.
        dropout: on the embeddings, between layers and before the output; never from one time step
            to the next (Zaremba et al. 2014).
        variational: one mask a sequence (Gal & Ghahramani 2016) instead of one a token.
        tied: the output layer shares the embedding's matrix (Press & Wolf 2017).
        attention: how an encoder-decoder scores source tokens: additive (Bahdanau et al. 2015) or
            dot (Luong et al. 2015, "general"). Language models have none and read past it.
        shares_embeddings: one matrix for source and target where they have one tokenizer, and for
            both sides of an autoencoder. Language models read past it.
    """

    carries_state: ClassVar[bool] = True

    cell: Cell
    d_model: Annotated[int, Gt(0)]
    num_layers: Annotated[int, Gt(0)]
    dropout: Annotated[float, Ge(0), Lt(1)]
    variational: bool
    tied: bool
    attention: Attention
    shares_embeddings: bool

    def decoder(self, vocab: Vocab) -> "RecurrentDecoder":
        """A language model: each token from those before it."""
        return RecurrentDecoder(vocab.size, **self._sizes())

    def encoder(self, vocab: Vocab) -> RecurrentEncoder:
        """Each token in the light of those on both sides of it."""
        sizes = {key: value for key, value in self._sizes().items() if key != "tied"}
        return RecurrentEncoder(vocab.size, **sizes)

    def encoder_decoder(self, source_vocab: Vocab, target_vocab: Vocab) -> RecurrentEncoderDecoder:
        """From a source to a target; one vocabulary for both is the same object twice."""
        return RecurrentEncoderDecoder(
            source_vocab.size,
            target_vocab.size,
            shares_embeddings=self.shares_embeddings and source_vocab is target_vocab,
            attention=self.attention,
            **self._sizes(),
        )

    def autoencoder(self, vocab: Vocab, latent_size: int) -> LatentNetwork:
        """From a sentence to a point of latent_size dimensions and back."""
        return LatentNetwork(
            self.encoder(vocab),
            self.decoder(vocab),
            latent_size,
            state_shape=(2 if self.cell == "lstm" else 1, self.num_layers, self.d_model),
            shares_embeddings=self.shares_embeddings,
        )

    def _sizes(self) -> dict[str, Any]:
        only_pairs = ("attention", "shares_embeddings")
        return {key: value for key, value in asdict(self).items() if key not in only_pairs}


class RecurrentDecoder(nn.Module):
    """Embedding, stacked recurrent layers, output layer.

    Args:
        vocab_size: V.
        cell: rnn, lstm or gru.
        d_model: D.
        num_layers: L.
        dropout: in [0, 1).
        variational: one dropout mask a sequence.
        tied: the output layer shares the embedding's matrix.
    """

    def __init__(
        self,
        vocab_size: int,
        cell: Cell,
        d_model: int,
        num_layers: int,
        dropout: float,
        variational: bool,
        tied: bool,
    ) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocab_size, d_model)
        self.dropout = LockedDropout(dropout) if variational else Dropout(dropout)
        self.layers = nn.ModuleList(make_layer(cell, d_model, d_model) for _ in range(num_layers))
        self.output = nn.Linear(d_model, vocab_size, bias=False)
        if tied:
            self.output.weight = self.embed.weight
        self.num_states = count_states(self.layers[0])
        self._initialise()

    def _initialise(self) -> None:
        """U(-0.1, 0.1) for the vocabulary (Zaremba et al. 2014), torch's U(-1/sqrt(D), 1/sqrt(D))
        for the layers, 0 for biases but 1 for an LSTM's forget gate (Jozefowicz et al. 2015)."""
        for weight in (self.embed.weight, self.output.weight):
            nn.init.uniform_(weight, -0.1, 0.1)
        for layer in self.layers:
            initialise_biases(layer)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        document_ids: Tensor | None = None,
    ) -> Tensor:
        """(B, T) token ids -> (B, T, V) logits; position t sees ids 0..t of its document."""
        logits: Tensor = self.output(self.hidden(input_ids, attention_mask, document_ids))
        return logits

    def hidden(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        document_ids: Tensor | None = None,
    ) -> Tensor:
        """(B, T) token ids -> (B, T, D), what the output layer reads.

        attention_mask is accepted and unused: padding is on the right, where no earlier position
        can see it.
        """
        return self.hidden_carried(input_ids, None, document_ids)[0]

    def hidden_carried(
        self,
        input_ids: Tensor,
        state: CellState | None,
        document_ids: Tensor | None = None,
        added: Tensor | None = None,
    ) -> tuple[Tensor, CellState]:
        """(B, T) ids -> (B, T, D) and the state after the last column; None starts from zero.

        Where document_ids changes along a row the state starts from zero again; column 0 goes on
        from `state`. States are (L, B, D), in the dtype of the weights, not detached. `added`
        (B, 1, D) is added to the embedding of every token of a row.
        """
        segments = None if document_ids is None else Segments.of_documents(document_ids)
        return self._run(input_ids, state or (), segments, added)

    def start(self, memory: None = None) -> CellState:
        """The state before the first token."""
        return ()

    def step(
        self,
        ids: Tensor,
        state: CellState,
        attention_mask: Tensor | None = None,
        added: Tensor | None = None,
    ) -> tuple[Tensor, CellState]:
        """(B, n) more token ids -> (B, V) logits after each row's last real one, and the state."""
        if attention_mask is None or bool(attention_mask.all()):
            x, state = self._run(ids, state, None, added)
            x = x[:, -1]
        else:
            lengths = attention_mask.sum(dim=1)
            x, state = self._run(ids, state, Segments.of_lengths(lengths, ids.shape[1]), added)
            x = x[torch.arange(len(ids), device=ids.device), (lengths - 1).clamp(min=0)]
        logits: Tensor = self.output(x)
        return logits, state

    def reorder(self, state: CellState, rows: Tensor) -> CellState:
        """The state of the given rows (R,) int64; repeats allowed."""
        return tuple(part.index_select(1, rows) for part in state)

    def _run(
        self, ids: Tensor, state: CellState, segments: Segments | None, added: Tensor | None = None
    ) -> tuple[Tensor, CellState]:
        """(B, T) ids, state () or (L, B, D) each -> (B, T, D) and the state after each row."""
        x = self.dropout(self.embed(ids))
        if added is not None:
            x = x + added
        x, state = run_layers(self.layers, x, state, segments, self.dropout)
        return self.dropout(x), state
