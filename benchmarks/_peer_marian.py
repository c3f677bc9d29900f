"""`generate` of Hugging Face's MarianMTModel, for benchmarks/translation.py."""

from collections.abc import Sequence
from typing import Any

import torch
from _peer import (
    BEAM,
    BOS,
    D_FF,
    D_MODEL,
    EOS,
    HEADS,
    LAYERS,
    LONGER,
    PAD,
    POWER,
    Ids,
    Options,
    Questions,
    in_batches,
    measure,
    renamed,
    run,
    sinusoids,
    weights_of,
    without_end,
)
from transformers import MarianConfig, MarianMTModel

POSITIONS = 512
NAMES = (
    ("encoder_layers.", "model.encoder.layers."),
    ("decoder_layers.", "model.decoder.layers."),
    ("cross_attention_norm", "encoder_attn_layer_norm"),
    ("cross_attention", "encoder_attn"),
    ("attention_norm", "self_attn_layer_norm"),
    ("attention", "self_attn"),
    ("feed_forward.up", "fc1"),
    ("feed_forward.down", "fc2"),
    ("feed_forward_norm", "final_layer_norm"),
    *((f".{name}.", f".{name[0]}_proj.") for name in ("query", "key", "value")),
    (".out.", ".out_proj."),
)


def network_of(options: Options) -> Any:
    """Their network with our weights."""
    ours = weights_of(options)
    embed = ours["target_embed.weight"]
    sizes = {"layers": LAYERS, "attention_heads": HEADS, "ffn_dim": D_FF}
    sides = {f"{side}_{name}": n for side in ("encoder", "decoder") for name, n in sizes.items()}
    network = MarianMTModel(
        MarianConfig(
            vocab_size=len(embed),
            d_model=D_MODEL,
            activation_function="relu",
            scale_embedding=True,
            max_position_embeddings=POSITIONS,
            pad_token_id=PAD,
            bos_token_id=BOS,
            eos_token_id=EOS,
            decoder_start_token_id=BOS,
            forced_eos_token_id=None,
            **sides,
        )
    )
    theirs = network.state_dict()
    known = {name: embed for name in theirs if "embed_tokens" in name or "shared" in name}
    known |= {name: sinusoids(POSITIONS) for name in theirs if "embed_positions" in name}
    known |= {"lm_head.weight": embed, **dict(renamed(ours, NAMES))}
    theirs |= {name: torch.from_numpy(array) for name, array in known.items()}
    network.load_state_dict(theirs)
    return network.eval()


def translate(options: Options, questions: Questions) -> None:
    """Beam search with our weights."""
    network = network_of(options)

    def one_batch(rows: Sequence[Ids]) -> list[Ids]:
        longest = max(map(len, rows))
        ids = torch.tensor([row + [PAD] * (longest - len(row)) for row in rows])
        found = network.generate(
            ids,
            attention_mask=(ids != PAD).long(),
            num_beams=BEAM,
            do_sample=False,
            length_penalty=POWER,
            max_new_tokens=longest + LONGER,
        )
        return [without_end(row) for row in found[:, 1:].tolist()]

    measure(lambda sources: in_batches(one_batch, sources), options, questions)


if __name__ == "__main__":
    run(translate)
