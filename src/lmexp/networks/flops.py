"""Floating-point operations of a training step, counted from sizes."""

from torch import nn


def flops_per_token(network: nn.Module, length: int) -> int:
    """Floating-point operations a token read, forward and backward, matrix products alone.

    A weight of a matrix product costs one multiplication and one addition forward and twice that
    backward: 6 in all. Scores and mixing cost 4 D a token and token seen, thrice again; causal
    attention is counted in full, as usual (Chowdhery et al. 2022, appendix B): 6N + 12 L D T.
    Embeddings are looked up, not multiplied: they count as part of a tied output layer only.

    Of an encoder-decoder the count is that of a target token and of a source token together, as
    for each token of a target whose source is as long. Where fewer are predicted than read, which
    the network's `reads_per_label` says, all but the encoder works on one token of so many.

    Args:
        network: any module; its linear and recurrent layers are counted, and attention: whatever
            says its `pair_flops`, the operations forward for one token and one that it sees.
        length: T, tokens in a sequence.
    """
    flops = 0
    for module in network.modules():
        if isinstance(module, nn.Linear):
            flops += 6 * module.weight.numel()
        elif isinstance(module, nn.RNNBase):
            flops += 6 * sum(weight.numel() for weight in module.parameters() if weight.dim() == 2)
        flops += 3 * length * getattr(module, "pair_flops", 0)
    reads = getattr(network, "reads_per_label", 1.0)
    if reads > 1:
        encoder = flops_per_token(network.get_submodule("encoder"), length)
        return encoder + round((flops - encoder) / reads)
    return flops
