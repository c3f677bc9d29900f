"""A pretrained model of the Transformers library (Wolf et al. 2020), as an architecture.

The networks are wrappers of the library's own modules. Their weights are drawn when they are built,
as anywhere; `tensors` reads the pretrained ones, once, when a training begins.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from lmexp.networks.interface import Vocab
from lmexp.networks.pretrained_config import folder_of, kind_of, longest, read_config, wrong_kind
from lmexp.networks.pretrained_decoder import PretrainedDecoder
from lmexp.networks.pretrained_encoder import PretrainedEncoder
from lmexp.networks.pretrained_encoder_decoder import PretrainedEncoderDecoder
from lmexp.networks.pretrained_library import library_config


@dataclass(frozen=True)
class Pretrained:
    """A model by its folder or its name on the hub.

    Args:
        path: a folder as save_pretrained() writes it, or a name such as
            google-bert/bert-base-cased.
        config: the content of its config.json, put here when a recipe is frozen: a checkpoint needs
            the folder no more.
    """

    brings_vocabulary: ClassVar[bool] = True  # its embedding is of its own tokenizer's ids

    path: str
    config: dict[str, Any] | None

    def __post_init__(self) -> None:
        """Read the configuration, if nobody has."""
        if self.config is None:
            object.__setattr__(self, "config", read_config(self.path))

    @property
    def settings(self) -> dict[str, Any]:
        """The content of config.json."""
        assert self.config is not None
        return self.config

    def decoder(self, vocab: Vocab) -> PretrainedDecoder:
        """A language model: each token from those before it."""
        self._check("decoder")
        return PretrainedDecoder(self.settings, vocab.size, longest(self.settings))

    def encoder(self, vocab: Vocab) -> PretrainedEncoder:
        """Each token in the light of all others."""
        self._check("encoder")
        return PretrainedEncoder(self.settings, vocab.size, longest(self.settings))

    def encoder_decoder(self, source_vocab: Vocab, target_vocab: Vocab) -> PretrainedEncoderDecoder:
        """From a source to a target, of one vocabulary."""
        self._check("encoder_decoder")
        if source_vocab.size != target_vocab.size:
            raise ValueError(
                f"model.path={self.path} has one vocabulary for both sides: write data.joint=true"
            )
        return PretrainedEncoderDecoder(self.settings, source_vocab.size, longest(self.settings))

    def _check(self, kind: str) -> None:
        if kind_of(self.settings, self.path) != kind:
            raise ValueError(wrong_kind(self.settings, self.path, kind))

    def check_config(self) -> None:
        """Refuse a configuration that the library cannot make sense of (ValueError)."""
        library_config(self.settings, self.settings.get("vocab_size") or 1)

    def folder(self) -> Path:
        """Where its files are, weights and tokenizer too."""
        return folder_of(self.path, with_weights=True)

    def tensors(self, network: nn.Module, rows: Sequence[int | None]) -> dict[str, Tensor]:
        """The pretrained weights by their names in a network that was built here.

        Args:
            network: holds one of the wrappers, or is one.
            rows: for each of our ids the row of the model's embedding; None: it has none.
        """
        from lmexp.networks.pretrained_weights import tensors_of

        return tensors_of(self.folder(), self.settings, network, rows)
