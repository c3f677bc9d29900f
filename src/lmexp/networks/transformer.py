"""Sizes of a transformer (Vaswani et al. 2017; Radford et al. 2019; Touvron et al. 2023, Llama).

D model width, H query heads, G key and value heads, L layers.
"""

from dataclasses import asdict, dataclass
from typing import Annotated, Any

from annotated_types import Ge, Gt, Lt

from lmexp.networks.interface import Vocab
from lmexp.networks.latent import LatentNetwork
from lmexp.networks.layers import Activation, Norm, Positions
from lmexp.networks.sizes import check_heads
from lmexp.networks.transformer_decoder import TransformerDecoder
from lmexp.networks.transformer_encoder import TransformerEncoder
from lmexp.networks.transformer_encoder_decoder import TransformerEncoderDecoder


@dataclass(frozen=True)
class Transformer:
    """Sizes of a transformer.

    Args:
        d_model: D.
        num_layers: L; an encoder-decoder has L of each side.
        num_heads: H; D / H is the width of a head.
        num_kv_heads: G, a divisor of H; H: ordinary attention, 1: multi-query.
        d_ff: width inside the feed-forward layers.
        activation: gelu, gelu_tanh (GPT-2's), relu, or swiglu or geglu (three matrices instead of
            two).
        norm: layer or rms.
        norm_first: normalise the input of each sublayer (GPT-2, Llama) instead of the sum after it
            (Vaswani et al. 2017).
        positions: learned, sinusoidal or rotary.
        max_length: tokens that learned positions reach; the other kinds take any length.
        dropout: on the embeddings and on what each sublayer adds (Vaswani et al. 2017, 5.4).
        bias: of linear layers and of LayerNorm.
        tied: the output layer shares the embedding's matrix (Press & Wolf 2017).
        shares_embeddings: one matrix for source and target where they have one tokenizer (Vaswani
            et al. 2017, section 3.4), and for both sides of an autoencoder. Language models have
            one side and read past it.
    """

    d_model: Annotated[int, Gt(0)]
    num_layers: Annotated[int, Gt(0)]
    num_heads: Annotated[int, Gt(0)]
    num_kv_heads: Annotated[int, Gt(0)]
    d_ff: Annotated[int, Gt(0)]
    activation: Activation
    norm: Norm
    norm_first: bool
    positions: Positions
    max_length: Annotated[int, Gt(0)] | None
    dropout: Annotated[float, Ge(0), Lt(1)]
    bias: bool
    tied: bool
    shares_embeddings: bool

    def __post_init__(self) -> None:
        """Refuse sizes that do not fit together."""
        check_heads(self.d_model, self.num_heads, self.positions, self.max_length)
        heads, groups = self.num_heads, self.num_kv_heads
        if heads % groups:
            divisors = [str(g) for g in range(1, heads + 1) if heads % g == 0]
            raise ValueError(
                f"num_heads={heads} query heads do not split evenly over num_kv_heads={groups}: "
                f"try num_kv_heads={' or '.join(divisors)}"
            )

    def decoder(self, vocab: Vocab) -> TransformerDecoder:
        """A language model: each token from those before it."""
        return TransformerDecoder(vocab.size, **self._sizes())

    def encoder(self, vocab: Vocab) -> TransformerEncoder:
        """Each token in the light of all others."""
        return TransformerEncoder(
            vocab.size, **{key: value for key, value in self._sizes().items() if key != "tied"}
        )

    def encoder_decoder(
        self, source_vocab: Vocab, target_vocab: Vocab
    ) -> TransformerEncoderDecoder:
        """From a source to a target; one vocabulary for both is the same object twice."""
        is_shared = self.shares_embeddings and source_vocab is target_vocab
        return TransformerEncoderDecoder(
            source_vocab.size, target_vocab.size, is_shared, **self._sizes()
        )

    def autoencoder(self, vocab: Vocab, latent_size: int) -> LatentNetwork:
        """From a sentence to a point of latent_size dimensions and back."""
        return LatentNetwork(
            self.encoder(vocab),
            self.decoder(vocab),
            latent_size,
            state_shape=None,
            shares_embeddings=self.shares_embeddings,
        )

    def _sizes(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if key != "shares_embeddings"}
