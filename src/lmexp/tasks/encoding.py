"""What tasks that read texts with an encoder ask of architectures and tokenizers."""

from typing import Any, Protocol

from torch import nn

from lmexp.networks.interface import Encoder, Vocab


class BuildsEncoder(Protocol):
    """An architecture that can be asked for an encoder."""

    def encoder(self, vocab: Vocab) -> Any:
        """A network that meets networks.interface.Encoder."""
        ...


class LabelVocab(Protocol):
    """What is known of texts and of what is said of them."""

    @property
    def text(self) -> Vocab: ...
    @property
    def labels(self) -> tuple[str, ...]: ...


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
