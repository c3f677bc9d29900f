"""Marian of the Transformers library, random, and our encoder-decoder with the same weights."""

import torch
from architectures import VOCAB, transformer


def marian(d_model, num_layers, num_heads, d_ff, activation):
    from transformers import MarianConfig, MarianMTModel

    sides = {
        f"{side}_{name}": value
        for side in ("encoder", "decoder")
        for name, value in {
            "layers": num_layers,
            "attention_heads": num_heads,
            "ffn_dim": d_ff,
        }.items()
    }
    config = MarianConfig(
        vocab_size=VOCAB.size,
        d_model=d_model,
        activation_function=activation,
        scale_embedding=True,
        max_position_embeddings=64,
        init_std=0.1,  # larger than usual, so that attention is not uniform
        dropout=0.0,
        pad_token_id=VOCAB.pad_id,
        bos_token_id=VOCAB.bos_id,
        eos_token_id=VOCAB.eos_id,
        decoder_start_token_id=VOCAB.bos_id,
        forced_eos_token_id=None,
        **sides,
    )
    network = MarianMTModel(config).eval()
    for parameter in network.parameters():
        if parameter.dim() == 1:  # biases of 0 and gains of 1 would hide a mistake
            parameter.data.add_(0.1 * torch.randn_like(parameter))
    return network


ATTENTION = {
    "attention.qkv": ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    "attention.out": ["self_attn.out_proj"],
    "attention_norm": ["self_attn_layer_norm"],
    "feed_forward.up": ["fc1"],
    "feed_forward.down": ["fc2"],
    "feed_forward_norm": ["final_layer_norm"],
}
CROSS_ATTENTION = {
    "cross_attention.query": ["encoder_attn.q_proj"],
    "cross_attention.key_value": ["encoder_attn.k_proj", "encoder_attn.v_proj"],
    "cross_attention.out": ["encoder_attn.out_proj"],
    "cross_attention_norm": ["encoder_attn_layer_norm"],
}


def from_marian(named, num_layers):
    """Their tensors under our names: query, key and value, or key and value, are one with us."""
    tensors = {"target_embed.weight": named["model.shared.weight"]}
    for side, parts in {"encoder": ATTENTION, "decoder": ATTENTION | CROSS_ATTENTION}.items():
        for layer in range(num_layers):
            for our, their in parts.items():
                for kind in ("weight", "bias"):
                    tensors[f"{side}_layers.{layer}.{our}.{kind}"] = torch.cat(
                        [named[f"model.{side}.layers.{layer}.{part}.{kind}"] for part in their]
                    )
    return tensors


def twins(sizes):
    """Our network and theirs, in evaluation mode; one embedding for source, target and output."""
    theirs = marian(**sizes)
    ours = transformer(
        **sizes,
        num_kv_heads=sizes["num_heads"],
        norm="layer",
        norm_first=False,
        positions="sinusoidal",
        bias=True,
    ).encoder_decoder(VOCAB, VOCAB)
    weights = from_marian(dict(theirs.named_parameters()), sizes["num_layers"])
    for name in ("source_embed.weight", "output.weight"):
        weights[name] = weights["target_embed.weight"]
    ours.load_state_dict(weights)
    return ours.eval(), theirs
