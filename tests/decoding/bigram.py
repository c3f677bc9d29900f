"""A network whose next-token probabilities are a table, so that decoding can be done by hand."""

from typing import Any

import torch
from torch import Tensor, nn


class Bigram(nn.Module):
    """logits after token i = table[i]; a StepDecoder.

    Args:
        table: (V, V) logits.
    """

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.embed = nn.Embedding.from_pretrained(table.float())
        self.output = nn.Linear(len(table), len(table), bias=False)
        nn.init.eye_(self.output.weight)
        self.columns_read: list[int] = []

    def hidden(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        document_ids: Tensor | None = None,
    ) -> Tensor:
        self.columns_read.append(input_ids.shape[1])
        hidden: Tensor = self.embed(input_ids)
        return hidden

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        document_ids: Tensor | None = None,
    ) -> Tensor:
        logits: Tensor = self.output(self.hidden(input_ids))
        return logits

    def start(self, memory: Any | None = None) -> Any:
        return ()

    def step(
        self, ids: Tensor, state: Any, attention_mask: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        last = torch.full((len(ids),), ids.shape[1] - 1)
        if attention_mask is not None:
            last = attention_mask.sum(1) - 1
        return self.output(self.hidden(ids)[torch.arange(len(ids)), last]), ()

    def reorder(self, state: Any, rows: Tensor) -> Any:
        return state


def chain(vocab_size: int) -> Bigram:
    """After token i comes i + 1, almost surely; after the last the first."""
    return Bigram(torch.eye(vocab_size).roll(1, dims=1) * 50)


def bigram(*probabilities: float) -> Bigram:
    """Every token is followed by these, whatever came before."""
    row = torch.tensor(probabilities).log()
    return Bigram(row.expand(len(probabilities), -1))
