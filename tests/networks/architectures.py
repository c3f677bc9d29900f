"""One small architecture of every kind that the properties are tested on."""

from lmexp.networks.bert import Bert
from lmexp.networks.interface import Vocab
from lmexp.networks.recurrent import Recurrent
from lmexp.networks.transformer import Transformer

VOCAB = Vocab(size=61, pad_id=0, bos_id=2, eos_id=3, mask_id=4)
SOURCE = VOCAB._replace(size=53)  # of the other side of pairs
FIRST_ID = 7  # ids below are reserved


def transformer(**changes: object) -> Transformer:
    """Llama's options, small, with the given ones changed."""
    sizes = {
        "d_model": 32,
        "num_layers": 2,
        "num_heads": 4,
        "num_kv_heads": 4,
        "d_ff": 48,
        "activation": "swiglu",
        "norm": "rms",
        "norm_first": True,
        "positions": "rotary",
        "max_length": 64,
        "dropout": 0.0,
        "bias": False,
        "tied": True,
        "shares_embeddings": True,
    }
    return Transformer(**(sizes | changes))


def recurrent(cell: str, **changes: object) -> Recurrent:
    """Two layers of the given cell, with the given options changed."""
    sizes = {"d_model": 32, "num_layers": 2, "dropout": 0.0, "variational": False, "tied": True}
    pairs = {"attention": "dot", "shares_embeddings": True}
    return Recurrent(cell=cell, **(sizes | pairs | changes))


ARCHITECTURES = {
    "llama": transformer(),
    "grouped": transformer(num_kv_heads=2, tied=False),
    "multi_query": transformer(num_kv_heads=1, bias=True),
    "gpt2": transformer(
        positions="learned", norm="layer", activation="gelu_tanh", bias=True, d_ff=128
    ),
    "nanogpt": transformer(positions="learned", norm="layer", activation="gelu", d_ff=128),
    "vaswani": transformer(
        positions="sinusoidal", norm="layer", norm_first=False, activation="relu", bias=True
    ),
    "post_norm": transformer(norm_first=False, positions="learned", tied=False),
    "lstm": recurrent("lstm"),
    "lstm_untied": recurrent("lstm", tied=False, num_layers=1),
    "gru": recurrent("gru"),
    "rnn": recurrent("rnn", variational=True),
}


def bert(**changes: object) -> Bert:
    """The paper's options, small, with the given ones changed."""
    sizes = {"d_model": 32, "num_layers": 2, "num_heads": 4, "d_ff": 64}
    kinds = {"activation": "gelu", "norm": "layer", "norm_first": False, "positions": "learned"}
    return Bert(**(sizes | kinds | {"max_length": 64, "dropout": 0.0, "bias": True} | changes))


ENCODERS = ARCHITECTURES | {
    "bert": bert(),
    "bert_modern": bert(activation="geglu", norm_first=True, positions="rotary", bias=False),
    "gru_odd": recurrent("gru", d_model=33),
}
ENCODER_DECODERS = ARCHITECTURES | {
    "lstm_additive": recurrent("lstm", attention="additive"),
    "gru_additive": recurrent("gru", attention="additive", tied=False, d_model=33),
}
