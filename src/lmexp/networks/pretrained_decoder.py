"""A language model of the Transformers library behind our interface.

Shapes: B sequences, T tokens, D model width, V vocabulary.
"""

from typing import Any

import torch
from torch import Tensor, nn

from lmexp.networks.layers import document_positions
from lmexp.networks.pretrained_library import built, ignore_padding, library_config


class PretrainedDecoder(nn.Module):
    """Predicts each token from those before it.

    It has no step(): generation reads the whole text again for each token.

    Args:
        config: the content of config.json.
        vocab_size: V, of our tokenizer.
        max_length: tokens in a sequence, at most; None: any number.

    Raises:
        ValueError: its logits are more than a matrix product.
    """

    def __init__(self, config: dict[str, Any], vocab_size: int, max_length: int | None) -> None:
        super().__init__()
        from transformers import AutoModelForCausalLM

        settings = library_config(config, vocab_size)
        whole = built(AutoModelForCausalLM, settings)
        ignore_padding(whole)
        self.model: Any = whole.base_model
        self.output: nn.Linear = whole.get_output_embeddings()
        if self.output.bias is not None:
            raise ValueError(
                f"model_type={config['model_type']}: its output layer has a bias, which the loss "
                "does not read"
            )
        self.d_model: int = self.output.in_features
        self.max_length = max_length

    def library_parts(self, whole: Any) -> dict[str, nn.Module]:
        """What our parts are in the library's model, by our names."""
        return {"model": whole.base_model, "output": whole.get_output_embeddings()}

    @property
    def embed(self) -> nn.Embedding:
        """V by D; often tied to the output layer."""
        embedding: nn.Embedding = self.model.get_input_embeddings()
        return embedding

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
        rows, length = input_ids.shape
        places = torch.arange(length, device=input_ids.device)
        sees = (places[:, None] >= places).expand(rows, 1, length, length)
        positions = places.expand(rows, length)
        if document_ids is not None:
            sees = sees & (document_ids[:, None, :, None] == document_ids[:, None, None, :])
            positions = document_positions(document_ids)
        hidden: Tensor = self.model(
            input_ids=input_ids, attention_mask=sees, position_ids=positions
        ).last_hidden_state
        return hidden
