"""What a network and an architecture look like to the tasks.

A network is a plain nn.Module: tensors in, tensors out. An architecture is a frozen dataclass of
sizes with as many of these methods as make sense for it:

    decoder(vocab) -> Decoder
    encoder(vocab) -> Encoder
    encoder_decoder(source_vocab, target_vocab) -> EncoderDecoder
    autoencoder(vocab, latent_size) -> Autoencoder

Shapes: B sequences, S source tokens, T tokens, D model width, Z latent dimensions, V vocabulary.
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

from torch import Tensor, nn

State = Any  # what a decoder remembers between steps: a (nested) tuple of tensors, never a config


class Vocab(NamedTuple):
    """What a network has to know of a tokenizer."""

    size: int  # V, the reserved ids included
    pad_id: int
    bos_id: int
    eos_id: int
    mask_id: int


class PairVocab(NamedTuple):
    """What has to be known of the tokenizers of pairs; one object twice if they are one."""

    source: Vocab
    target: Vocab


class LabelVocab(NamedTuple):
    """What has to be known of a tokenizer with labels."""

    text: Vocab
    labels: tuple[str, ...]


@runtime_checkable
class Decoder(Protocol):
    """Predicts each token from those before it.

    `document_ids` (B, T) rises along a row of packed documents: a position sees its own document
    only, and positions count from its document's start. Padding is on the right.
    """

    output: nn.Linear  # D -> V, no bias; often tied to the embedding

    def hidden(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        document_ids: Tensor | None = None,
    ) -> Tensor:
        """(B, T) token ids -> (B, T, D); position t sees ids 0..t. forward is output(hidden)."""
        ...

    def __call__(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        document_ids: Tensor | None = None,
    ) -> Tensor:
        """(B, T) token ids -> (B, T, V) logits."""
        ...


@runtime_checkable
class StepDecoder(Decoder, Protocol):
    """A decoder that generates without reading its prefix again.

    A decoder without these three methods is generated from by whole forward passes.
    """

    def start(self, memory: Any | None = None) -> State:
        """State before the first token; memory: what an encoder left, None for a language model."""
        ...

    def step(
        self, ids: Tensor, state: State, attention_mask: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Read n more tokens a row -> (B, V) logits after each row's last real one, and the state.

        Args:
            ids: (B, n); the whole prompt first, one column at a time afterwards.
            state: from start or the previous step.
            attention_mask: (B, n) bool, True on real tokens, padding on the right; rows may differ
                in length. None: all real.
        """
        ...

    def reorder(self, state: State, rows: Tensor) -> State:
        """The state of the given rows (R,) int64: repeats allowed, as beam search needs.

        Meant for every step or none: a state may be copied whole in each step after the first.
        """
        ...


@runtime_checkable
class CarryingDecoder(Decoder, Protocol):
    """A decoder whose state can be carried from one training window to the next."""

    def hidden_carried(
        self, input_ids: Tensor, state: State | None, document_ids: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """(B, T) ids -> (B, T, D) and the state after the last column; None starts from zero.

        Where document_ids changes along a row the state starts from zero again. Column 0 goes on
        from `state`: whoever carries it zeroes the rows that begin a new document. The state is a
        tuple of (num_layers, B, D) tensors, not detached.
        """
        ...


@runtime_checkable
class Encoder(Protocol):
    """Puts each token in the light of all others. Padding is on the right."""

    d_model: int  # D
    embed: nn.Embedding  # V by D, for heads that share it

    def __call__(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        segment_ids: Tensor | None = None,
        features: Tensor | None = None,
    ) -> Tensor:
        """(B, T) token ids -> (B, T, D); no token sees padding.

        segment_ids (B, T) int64 say which of two segments a token belongs to, 0 or 1; a network
        without a use for them reads past them. features (B, T, D) say more of each token: they are
        added to its embedding.
        """
        ...


class Memory(NamedTuple):
    """What an encoder leaves to a decoder."""

    hidden: Tensor  # (B, S, D)
    mask: Tensor  # (B, S) bool, True on real tokens


@runtime_checkable
class EncoderDecoder(Protocol):
    """Predicts each token of a target from its source and the target tokens before it.

    Padding is on the right, of sources and of targets.
    """

    output: nn.Linear  # D -> V of the target

    def hidden(self, source_ids: Tensor, source_mask: Tensor, target_ids: Tensor) -> Tensor:
        """(B, S) ids, (B, S) bool, (B, T) ids, bos first -> (B, T, D).

        forward is output(hidden).
        """
        ...

    def __call__(self, source_ids: Tensor, source_mask: Tensor, target_ids: Tensor) -> Tensor:
        """The same -> (B, T, V) logits."""
        ...

    def encode(self, source_ids: Tensor, source_mask: Tensor) -> Memory:
        """(B, S) ids and bool -> what `start` takes."""
        ...

    def start(self, memory: Memory) -> State:
        """State before the first token of the target."""
        ...

    def step(
        self, ids: Tensor, state: State, attention_mask: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """As of a StepDecoder."""
        ...

    def reorder(self, state: State, rows: Tensor) -> State:
        """As of a StepDecoder; what belongs to the source comes along."""
        ...


class Posterior(NamedTuple):
    """A Gaussian with a diagonal covariance for each sentence: q(z|x) of an autoencoder."""

    mean: Tensor  # (B, Z)
    log_variance: Tensor  # (B, Z)


@runtime_checkable
class Autoencoder(Protocol):
    """Puts a sentence into a point of a latent space, and predicts its tokens from such a point.

    It generates as a StepDecoder does; the memory that its `start` takes is z, (B, Z). Padding is
    on the right.
    """

    output: nn.Linear  # D -> V, no bias
    latent_size: int  # Z

    def posterior(self, input_ids: Tensor, attention_mask: Tensor) -> Posterior:
        """(B, T) ids and bool, True on real tokens -> where each sentence may lie."""
        ...

    def hidden(
        self, latent: Tensor, input_ids: Tensor, attention_mask: Tensor | None = None
    ) -> Tensor:
        """(B, Z), (B, T) ids, bos first -> (B, T, D); position t sees z and ids 0..t."""
        ...

    def __call__(
        self, latent: Tensor, input_ids: Tensor, attention_mask: Tensor | None = None
    ) -> Tensor:
        """The same -> (B, T, V) logits."""
        ...

    def start(self, memory: Tensor) -> State:
        """The state before the first token of sentences at z."""
        ...

    def step(
        self, ids: Tensor, state: State, attention_mask: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """As of a StepDecoder."""
        ...

    def reorder(self, state: State, rows: Tensor) -> State:
        """As of a StepDecoder; z comes along."""
        ...
