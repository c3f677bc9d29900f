"""JoeyNMT (Kreutzer et al. 2019), for benchmarks/translation.py."""

import functools
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from _peer import (
    BEAM,
    BETAS,
    CLIP,
    D_FF,
    D_MODEL,
    DROPOUT,
    EOS,
    HEADS,
    LAYERS,
    LONGER,
    PAD,
    PENALTY,
    SMOOTHING,
    UNENDING,
    UNK,
    Ids,
    Options,
    Questions,
    Steps,
    in_batches,
    measure,
    renamed,
    run,
    sinusoids,
    weights_of,
    without_end,
)
from joeynmt import training
from joeynmt.batch import Batch
from joeynmt.config import parse_global_args
from joeynmt.model import build_model
from joeynmt.search import search
from joeynmt.vocabulary import Vocabulary

SWAPPED = {PAD: UNK, UNK: PAD}  # its first two ids
NAMES = (
    ("_layers.", ".layers."),
    ("cross_attention_norm", "dec_layer_norm"),
    ("cross_attention", "src_trg_att"),
    ("feed_forward_norm", "feed_forward.layer_norm"),
    ("feed_forward.up", "feed_forward.pwff_layer.0"),
    ("feed_forward.down", "feed_forward.pwff_layer.3"),
    *((f".{name}.", f".{name[0]}_layer.") for name in ("query", "key", "value")),
    (".out.", ".output_layer."),
)
OF_SIDES = {
    "encoder": (("attention_norm", "layer_norm"), ("attention", "src_src_att")),
    "decoder": (("attention_norm", "x_layer_norm"), ("attention", "trg_trg_att")),
}


def config(options: Options, folder: str, norm: str) -> Options:
    """What `python -m joeynmt train` reads from a file, as its examples for transformers have it.

    Args:
        options: of the program.
        folder: of its checkpoints.
        norm: pre or post.
    """
    text = options["text"]
    side = {"level": "word", "max_length": 128, "voc_file": f"{text}/vocabulary"}
    stack = {
        "type": "transformer",
        "num_layers": LAYERS,
        "num_heads": HEADS,
        "hidden_size": D_MODEL,
        "ff_size": D_FF,
        "dropout": DROPOUT,
        "layer_norm": norm,
        "embeddings": {"embedding_dim": D_MODEL, "scale": True, "dropout": 0.0},
    }
    return {
        "name": "benchmark",
        "model_dir": folder,
        "use_cuda": False,
        "data": {
            "train": f"{text}/train",
            "dev": f"{text}/val",
            "dataset_type": "plain",
            "src": {"lang": "source", **side},
            "trg": {"lang": "target", **side},
        },
        "testing": {"beam_size": BEAM},
        "training": {
            "optimizer": "adamw",
            "adam_betas": BETAS,
            "learning_rate": options.get("lr", 1.0e-3),
            "scheduling": "warmupinversesquareroot",
            "learning_rate_warmup": options.get("warmup_steps", 100),
            "learning_rate_min": 1.0e-9,
            "clip_grad_norm": CLIP,
            "batch_size": options.get("batch_tokens"),
            "batch_type": "token",
            "normalization": "tokens",
            "label_smoothing": SMOOTHING,
            "epochs": UNENDING,
            "validation_freq": UNENDING,
            "logging_freq": 10,
        },
        "model": {
            "initializer": "xavier_uniform",
            "embed_initializer": "xavier_uniform",
            "bias_initializer": "zeros",
            "tied_embeddings": True,
            "tied_softmax": True,
            "encoder": stack,
            "decoder": stack,
        },
    }


def _trained(options: Options, before_step: Any) -> Any:
    """Its TrainManager, once before_step(manager, number) has ended its training."""
    took, managers = training.TrainManager._train_step, []

    def step(manager: Any, batch: Any) -> Any:
        """The next step: its batch has been read, and what was before is done."""
        managers.append(manager)
        before_step(manager, len(managers) - 1)
        return took(manager, batch)

    training.TrainManager._train_step = step
    with tempfile.TemporaryDirectory() as folder:
        training.train(0, 1, config(options, folder, "pre"), skip_test=True)
    return managers[0]


def train(options: Options, questions: Questions) -> None:
    """Tokens a second."""
    steps = Steps(questions, options["warmup"], options["steps"])

    def before_step(manager: Any, number: int) -> None:
        if number:
            steps.done(manager.stats.total_tokens)

    _trained(options, before_step)


def train_and_translate(options: Options, questions: Questions) -> None:
    """So many seconds of training from the first step on; then all sources, greedily."""
    began = 0.0

    def before_step(manager: Any, number: int) -> None:
        nonlocal began
        if not number:
            questions.wait()
            began = time.perf_counter()
        elif time.perf_counter() - began > options["seconds"]:
            raise KeyboardInterrupt  # as people end it: it stops in order

    manager = _trained(options, before_step)
    questions.answer(steps=manager.stats.steps)
    network = manager.model.eval()
    measure(functools.partial(_searched, network, beam=1), options, questions)


def translate(options: Options, questions: Questions) -> None:
    """Beam search with our weights."""
    parsed = parse_global_args(config(options, ".", "post"), mode="train")
    words = Path(options["text"], "vocabulary").read_text().split()
    vocabulary = Vocabulary(words, parsed.data["special_symbols"])
    network = build_model(parsed.model, vocabulary, vocabulary)
    _take(network, options)
    measure(functools.partial(_searched, network.eval(), beam=BEAM), options, questions)


def _take(network: Any, options: Options) -> None:
    """Our weights, positions and norms."""
    ours = weights_of(options)
    embed = ours["target_embed.weight"]
    embed[[PAD, UNK]] = embed[[UNK, PAD]]
    theirs = {"src_embed.lut.weight": embed}
    for side, own in OF_SIDES.items():
        layers = {name: array for name, array in ours.items() if name.startswith(side)}
        theirs |= dict(renamed(layers, (*NAMES, *own)))
        theirs[f"{side}.pe.pe"] = sinusoids(5_000)[None]
    tied = {"trg_embed.lut.weight", "decoder.output_layer.weight"}
    for name in tied:
        theirs[name] = embed
    network.load_state_dict({name: torch.from_numpy(array) for name, array in theirs.items()})
    for module in network.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1.0e-5


def _searched(network: Any, sources: Sequence[Ids], *, beam: int) -> list[Ids]:
    def one_batch(rows: Sequence[Ids]) -> list[Ids]:
        lengths = torch.tensor([len(row) for row in rows])
        longest = int(lengths.max())
        padded = [[SWAPPED.get(i, i) for i in row + [PAD] * (longest - len(row))] for row in rows]
        batch = Batch(
            src=torch.tensor(padded),
            src_length=lengths,
            src_prompt_mask=None,
            trg=None,
            trg_prompt_mask=None,
            indices=torch.arange(len(rows)),
            device=torch.device("cpu"),
            pad_index=SWAPPED[PAD],
            eos_index=EOS,
            is_train=False,
        )
        found, _, _ = search(network, batch, longest + LONGER, beam, PENALTY, generate_unk=False)
        return [without_end(row) for row in found.astype(int).tolist()]

    return in_batches(one_batch, sources)


if __name__ == "__main__":
    run(train, train_and_translate, translate)
