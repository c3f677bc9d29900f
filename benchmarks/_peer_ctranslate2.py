"""CTranslate2, the engine in C++, for benchmarks/translation.py."""

import math
import tempfile
from collections.abc import Sequence
from typing import Any

import ctranslate2
from _peer import (
    BEAM,
    BOS,
    D_MODEL,
    EOS,
    HEADS,
    LAYERS,
    LONGER,
    POWER,
    SEARCHED_TOKENS,
    UNK,
    Ids,
    Options,
    Questions,
    Weights,
    measure,
    run,
    sinusoids,
    weights_of,
)
from ctranslate2.specs import TransformerSpec

SPECIAL = {UNK: "<unk>", BOS: "<s>", EOS: "</s>"}
POSITIONS = 512
ENCODER = {
    "attention.qkv": "self_attention.linear.0",
    "attention.out": "self_attention.linear.1",
    "attention_norm": "self_attention.layer_norm",
    "feed_forward.up": "ffn.linear_0",
    "feed_forward.down": "ffn.linear_1",
    "feed_forward_norm": "ffn.layer_norm",
}
DECODER = ENCODER | {
    "cross_attention.query": "attention.linear.0",
    "cross_attention.key_value": "attention.linear.1",
    "cross_attention.out": "attention.linear.2",
    "cross_attention_norm": "attention.layer_norm",
}


def token(number: int) -> str:
    """Its vocabulary is of words."""
    return SPECIAL.get(number, str(number))


def spec_of(ours: Weights) -> Any:
    """Its description of the network, with our weights."""
    embed = ours["target_embed.weight"]
    spec = TransformerSpec.from_config((LAYERS, LAYERS), HEADS, pre_norm=False)
    spec.decoder.projection.weight = embed
    spec.encoder.embeddings[0].weight = spec.decoder.embeddings.weight = embed
    for name, side, parts in (
        ("encoder", spec.encoder, ENCODER),
        ("decoder", spec.decoder, DECODER),
    ):
        side.scale_embeddings = math.sqrt(D_MODEL)
        side.position_encodings.encodings = sinusoids(POSITIONS)
        for number, layer in enumerate(side.layer):
            for our, their in parts.items():
                kinds = ("gamma", "beta") if our.endswith("norm") else ("weight", "bias")
                for own, kind in zip(("weight", "bias"), kinds, strict=True):
                    array = ours[f"{name}_layers.{number}.{our}.{own}"]
                    setattr(_found(layer, their), kind, array)
    words = [token(number) for number in range(len(embed))]
    spec.register_source_vocabulary(words)
    spec.register_target_vocabulary(words)
    spec.config.layer_norm_epsilon = 1.0e-5
    return spec


def _found(part: Any, path: str) -> Any:
    for step in path.split("."):
        part = part[int(step)] if step.isdigit() else getattr(part, step)
    return part


def translate(options: Options, questions: Questions) -> None:
    """Beam search with our weights."""
    with tempfile.TemporaryDirectory() as folder:
        spec = spec_of(weights_of(options))
        spec.validate()
        spec.optimize()
        spec.save(folder)
        translator = ctranslate2.Translator(
            folder,
            compute_type=options["precision"],
            inter_threads=1,
            intra_threads=options["threads"],
        )

    def search(sources: Sequence[Ids]) -> list[Ids]:
        found = translator.translate_batch(
            [[token(number) for number in source] for source in sources],
            beam_size=BEAM,
            length_penalty=POWER,
            max_batch_size=SEARCHED_TOKENS,  # of sources of similar length: it sorts
            batch_type="tokens",
            min_decoding_length=0,
            max_decoding_length=max(map(len, sources)) + LONGER,
            disable_unk=True,
        )
        return [[int(word) for word in result.hypotheses[0]] for result in found]

    measure(search, options, questions)


if __name__ == "__main__":
    run(translate)
