"""Attention of the Transformers library, faster where it drops weights on a CPU.

SDPA has no kernel for that there: it multiplies explicitly, and draws a Bernoulli variable for each
weight, 8% of the time of fine-tuning a small BERT. The same products, and Dropout's cheap numbers.

Shapes: B sequences, H heads, T tokens, S tokens that can be seen, K width of a head.
"""

from typing import Any

import torch
from torch import Tensor

from lmexp.networks.layers import Dropout

NAME = "lmexp"  # in the library's table of attentions


def use_in(model: Any) -> None:
    """Let a model of the library attend so, where it takes its attention from the table."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    if getattr(model, "_supports_attention_backend", False):
        AttentionInterface.register(NAME, attention)
        AttentionMaskInterface.register(NAME, sdpa_mask)
        model.set_attn_implementation(NAME)


def attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Everything but plain dropout on a CPU is left to the library.

    Args:
        module: the layer that attends.
        query: (B, H, T, K).
        key: (B, H, S, K).
        value: (B, H, S, K).
        attention_mask: broadcastable to (B, H, T, S): bool, True where a token may look, or added
            to the scores; None: everywhere.
        dropout: of the weights.
        scaling: of the scores; None: 1 / sqrt(K).
        is_causal: without a mask a token sees those before it and itself; None: as the layer says.
        others: of the library.

    Returns:
        (B, T, H, K), and no weights.
    """
    looks_back = is_causal if is_causal is not None else getattr(module, "is_causal", True)
    is_plain = (
        dropout > 0
        and query.device.type == "cpu"
        and key.shape[1] == query.shape[1]
        and not (attention_mask is None and looks_back)
        and others.get("position_bias") is None
    )
    if not is_plain:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        found: tuple[Tensor, None] = sdpa_attention_forward(
            module,
            *(query, key, value, attention_mask),
            dropout=dropout,
            scaling=scaling,
            is_causal=is_causal,
            **others,
        )
        return found
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = torch.matmul(query * scale, key.transpose(-1, -2))
    if attention_mask is not None and attention_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attention_mask, torch.finfo(scores.dtype).min)
    elif attention_mask is not None:
        scores = scores + attention_mask
    weights = Dropout(dropout)(scores.softmax(dim=-1))
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), None
