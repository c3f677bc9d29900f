"""What tasks that read texts with an encoder have in common."""

import math
from typing import Any, Protocol

from torch import nn

from lmexp.networks.interface import Encoder, Vocab


class BuildsEncoder(Protocol):
    """An architecture that can be asked for an encoder."""

    def encoder(self, vocab: Vocab) -> Any:
        """A network that meets networks.interface.Encoder."""
        ...


class OverEncoder(nn.Module):
    """An encoder, and whatever a task puts on it.

    Args:
        encoder: as networks.interface.Encoder.
    """

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder

    @property
    def max_length(self) -> int | None:
        """Tokens in a sequence, at most; None: any number."""
        length: int | None = getattr(self.encoder, "max_length", None)
        return length


def initialised(head: nn.Linear) -> nn.Linear:
    """A layer on an encoder, with weights as networks.attention.initialise draws them."""
    nn.init.normal_(head.weight, std=0.02 * math.sqrt(768 / head.in_features))
    if head.bias is not None:
        nn.init.zeros_(head.bias)
    return head


def checked_encoder(architecture: BuildsEncoder, vocab: Vocab) -> Any:
    """The encoder of an architecture.

    Raises:
        TypeError: what it builds is none.
    """
    encoder = architecture.encoder(vocab)
    if not isinstance(encoder, Encoder) or not isinstance(encoder, nn.Module):
        raise TypeError(
            f"{type(encoder).__name__}, which {type(architecture).__name__}.encoder() built, "
            "is no encoder: it needs forward(), `d_model` and `embed`, an nn.Embedding"
        )
    return encoder
