"""Figures from sums and counts: a figure over many batches is never a mean of means."""

import math
import sys

LARGEST_EXPONENT = math.log(sys.float_info.max)  # 709.78: exp() of more overflows


def language_model_figures(
    nll_sum: float, tokens: int, correct: int, num_bytes: int, num_chars: int, unk: int
) -> dict[str, float]:
    """Loss, perplexity, bits per byte and per character, and accuracy of scored text.

    Bits per byte and per character compare tokenizers of any kind, but only those that spell out
    the whole text: where the tokenizer wrote its own <unk> they are left out.

    Args:
        nll_sum: in nats, over all scored tokens, without label smoothing.
        tokens: scored, at least 1.
        correct: of those, how many were the most probable one.
        num_bytes: UTF-8 bytes of the text that was scored.
        num_chars: its code points.
        unk: scored tokens that stand for text the tokenizer does not know.

    Returns:
        loss (nats per token), perplexity (exp(loss), infinite beyond what a float holds),
        accuracy, tokens and, if unk is 0 and there is text, bits_per_byte and bits_per_char.

    Raises:
        ValueError: no token was scored.
    """
    if tokens < 1:
        raise ValueError(f"{tokens} tokens were scored: the text is empty or one token long")
    loss = nll_sum / tokens
    figures = {
        "loss": loss,
        "perplexity": perplexity(loss),
        "accuracy": correct / tokens,
        "tokens": float(tokens),
    }
    if unk == 0 and num_bytes > 0:
        bits = nll_sum / math.log(2)
        figures |= {"bits_per_byte": bits / num_bytes, "bits_per_char": bits / num_chars}
    return figures


def perplexity(loss: float) -> float:
    """exp of a loss in nats per token, infinite beyond what a float holds."""
    return math.exp(loss) if loss < LARGEST_EXPONENT else math.inf
