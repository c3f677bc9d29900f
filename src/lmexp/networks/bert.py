"""Sizes of a BERT encoder (Devlin et al. 2019), and of its later kin.

D model width, H heads, L layers.
"""

from dataclasses import asdict, dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Lt

from lmexp.networks.interface import Vocab
from lmexp.networks.layers import Activation, Norm, Positions
from lmexp.networks.sizes import check_heads
from lmexp.networks.transformer_encoder import TransformerEncoder

SEGMENTS = 2  # A and B


@dataclass(frozen=True)
class Bert:
    """Sizes of an encoder of one or two segments.

    Attention probabilities are not dropped, which the paper does with the same rate.

    Args:
        d_model: D.
        num_layers: L.
        num_heads: H; D / H is the width of a head.
        d_ff: width inside the feed-forward layers.
        activation: gelu (the paper's), gelu_tanh, relu, swiglu or geglu.
        norm: layer or rms.
        norm_first: normalise the input of each sublayer instead of the sum after it.
        positions: learned (the paper's), sinusoidal or rotary.
        max_length: tokens that learned positions reach; the other kinds take any length.
        dropout: on the embeddings and on what each sublayer adds.
        bias: of linear layers and of LayerNorm.
    """

    d_model: Annotated[int, Gt(0)]
    num_layers: Annotated[int, Gt(0)]
    num_heads: Annotated[int, Gt(0)]
    d_ff: Annotated[int, Gt(0)]
    activation: Activation
    norm: Norm
    norm_first: bool
    positions: Positions
    max_length: Annotated[int, Gt(0)] | None
    dropout: Annotated[float, Ge(0), Lt(1)]
    bias: bool

    def __post_init__(self) -> None:
        """Refuse sizes that do not fit together."""
        check_heads(self.d_model, self.num_heads, self.positions, self.max_length)

    def encoder(self, vocab: Vocab) -> TransformerEncoder:
        """Each token in the light of all others."""
        return TransformerEncoder(
            vocab.size,
            num_kv_heads=self.num_heads,
            **asdict(self),
            num_segments=SEGMENTS,
            norms_embeddings=True,
        )
