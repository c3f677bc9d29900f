"""Training speed of a masked language model: `python train.py` against Hugging Face's Trainer.

BERT of 6 layers, width 384, 6 heads, feed-forward 1,536, dropout 0.1 (none of attention's weights,
in both), vocabulary of bpe with 8,000 types; sentences of WikiText-2 of up to 128 tokens, 32 a
step, 15% of the tokens hidden. Both begin with the same weights, and read the same sequences with
the same learning rate; BertForMaskedLM is the network there, and DataCollatorForLanguageModeling
hides. Four ways of theirs: padded to the maximum in float32; what run_mlm.py of its examples does
with --line_by_line, random batches padded to their longest, in float32; and at its best, in groups
of similar length, in float32 and in bfloat16. train.py runs in a terminal with logging, progress
bar, metrics and checkpoints on. Processes of their own take turns; medians. Before it the losses of
one batch are compared, after it those on held-out text when both have trained the same number of
steps. Exits with 1 if a target is missed.

    python benchmarks/masked_lm.py
    python benchmarks/masked_lm.py --rounds 1 --steps 10 --loss-steps 10    # proves nothing
"""

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from _against_trainer import (
    ROWS,
    Case,
    arguments,
    compare,
    given,
    mean_loss,
    options_of,
    precise,
    same_schedule,
    write_weights,
)
from _trainer import masked_network
from safetensors.torch import load_file
from torch import Tensor

from lmexp.build import build_data, build_task
from lmexp.recipe import compose
from lmexp.targets import build

LENGTH = 128  # tokens of a sequence, at most
D_MODEL, LAYERS, HEADS, D_FF, DROPOUT = 384, 6, 6, 1_536, 0.1
TYPES = 8_000
MASK_RATE = 0.15
WORDS = range(8, 101)  # of a sentence
HELD_OUT = 500  # sentences
LR, LR_WARMUP = 5.0e-4, 50
OUTSIDE = (  # our names, theirs
    ("encoder.embed", "bert.embeddings.word_embeddings"),
    ("encoder.positions", "bert.embeddings.position_embeddings"),
    ("encoder.segments", "bert.embeddings.token_type_embeddings"),
    ("encoder.embed_norm", "bert.embeddings.LayerNorm"),
    ("transform", "cls.predictions.transform.dense"),
    ("transform_norm", "cls.predictions.transform.LayerNorm"),
    ("output", "cls.predictions.decoder"),
)
OF_LAYER = (
    ("attention.out", "attention.output.dense"),
    ("attention_norm", "attention.output.LayerNorm"),
    ("feed_forward.up", "intermediate.dense"),
    ("feed_forward.down", "output.dense"),
    ("feed_forward_norm", "output.LayerNorm"),
)


def overrides(text: Path, precision: str) -> list[str]:
    """The run, but for its end."""
    return [
        "model=bert",
        f"model.num_layers={LAYERS}",
        f"model.d_model={D_MODEL}",
        f"model.num_heads={HEADS}",
        f"model.d_ff={D_FF}",
        f"model.dropout={DROPOUT}",
        "data=text",
        f"data.files={text}/train.txt",
        f"data.corpus.val_files={text}/val.txt",
        "data.corpus.test_fraction=0",
        "data.corpus.document=line",
        f"data.max_length={LENGTH}",
        f"data.batch_size={ROWS}",
        f"data.mask_rate={MASK_RATE}",
        "data.pairs=null",
        f"tokenizer.vocab_size={TYPES}",
        "eval.pseudo_sequences=0",
        *same_schedule(LR, LR_WARMUP),
        precise(precision),
    ]


def sentences(split: str) -> Iterator[str]:
    """Those of WikiText-2, which ends them with " . "."""
    recipe = compose(["data=wikitext2"])
    corpus = build(dict(recipe["data"])["corpus"], root=None)
    for piece in corpus.pieces(split):
        for sentence in piece.text.strip().split(" . "):
            if len(sentence.split()) in WORDS:
                yield sentence.strip().removesuffix(" .") + " ."


def write_sentences(folder: Path) -> None:
    """All of the training split, and some that are held out."""
    (folder / "train.txt").write_text("".join(f"{line}\n" for line in sentences("train")))
    held_out = list(sentences("val"))
    lines = held_out[:: len(held_out) // HELD_OUT]
    (folder / "val.txt").write_text("".join(f"{line}\n" for line in lines))


def names(state: Mapping[str, Tensor]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each tensor of ours, and those of theirs that it is made of, one after the other."""
    for name in state:
        stem, end = name.rsplit(".", 1)
        if not stem.startswith("encoder.layers."):
            yield name, (f"{dict(OUTSIDE)[stem]}.{end}",)
            continue
        _, _, layer, part = stem.split(".", 3)
        base = f"bert.encoder.layer.{layer}"
        if part == "attention.qkv":
            parts = ("query", "key", "value")
            yield name, tuple(f"{base}.attention.self.{own}.{end}" for own in parts)
        else:
            yield name, (f"{base}.{dict(OF_LAYER)[part]}.{end}",)


def to_theirs(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our weights by their names."""
    found = {}
    for name, theirs in names(state):
        found |= dict(zip(theirs, state[name].chunk(len(theirs)), strict=True))
    return found | {"cls.predictions.bias": state["output.bias"]}


def to_ours(file: Path, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their weights by our names."""
    named = load_file(file)
    return {name: torch.cat([named[own] for own in theirs]) for name, theirs in names(state)}


def config(vocab: Any) -> dict[str, Any]:
    """The same network, of BertConfig."""
    return {
        "vocab_size": vocab.size,
        "hidden_size": D_MODEL,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": D_FF,
        "max_position_embeddings": LENGTH,
        "hidden_dropout_prob": DROPOUT,
        "attention_probs_dropout_prob": 0.0,
        "layer_norm_eps": 1e-5,
        "pad_token_id": vocab.pad_id,
    }


def case_of(run: list[str], folder: Path) -> Case:
    """What is compared: prepares the text, draws the first weights and writes them."""
    recipe = compose(run)
    data = build_data(recipe, build(recipe["tokenizer"]))
    data.prepare(splits=("train", "val"))
    task = build_task(recipe, data.vocab, None).eval()
    state, weights = task.network.state_dict(), folder / "weights.safetensors"
    write_weights(to_theirs(state), weights)
    theirs = masked_network(config(data.vocab), weights).eval()
    reader, batch = data.reader("train"), data.reader("val").first(ROWS)
    ends = [data.vocab.bos_id], [data.vocab.eos_id]
    return Case(
        name="masked language model",
        program="masked_lm",
        run=run,
        silent="eval.sample_sequences=0",
        data=data,
        lengths=reader.lengths.source,
        examples=lambda rows: [
            [*ends[0], *reader.segments.chunk(row).tolist(), *ends[1]] for row in rows
        ],
        options={
            **options_of(LENGTH, LR, LR_WARMUP, weights),
            "config": config(data.vocab),
            "mask_rate": MASK_RATE,
        },
        task=task,
        loss_here=lambda: mean_loss(task, batch),
        loss_there=lambda: (
            theirs(batch.input_ids, batch.attention_mask.long(), labels=batch.labels).loss
        ),
        to_ours=lambda file: to_ours(file, state),
        held_out=lambda: task.evaluate(data.eval_dataloader("val")).figures()["loss"],
    )


def main() -> int:
    """Measure and print."""
    args = given(arguments(__doc__.splitlines()[0]))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_sentences(folder)
        os.environ["LMEXP_CACHE"] = name
        return compare(case_of(overrides(folder, args.precision), folder), args, folder)


if __name__ == "__main__":
    sys.exit(main())
