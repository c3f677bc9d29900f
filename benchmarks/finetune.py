"""Fine-tuning speed for named entities: `python train.py` against Hugging Face's Trainer.

A pretrained BERT of the Transformers library, from a folder, under a linear layer, on CoNLL-2003:
32 sentences a step, up to 128 tokens, the same learning rate, the same first weights of the layer.
Four ways of theirs: padded to the maximum in float32; as run_ner.py of its examples does by
default, random batches padded to their longest, in float32; and at its best, in groups of similar
length, in float32 and in bfloat16. Longer sentences are cut there, and read in windows here;
data.spelling=0, as the network there knows no bytes of words. Otherwise as masked_lm.py.

    python benchmarks/finetune.py --model DIR    # config.json, model.safetensors, tokenizer.json
    ENCODER=DIR make benchmarks
    python benchmarks/finetune.py --model DIR --rounds 1 --steps 10 --loss-steps 10    # no proof
"""

import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
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
from _trainer import tagged, tagging_network
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoTokenizer, DataCollatorForTokenClassification

from lmexp.build import build_task
from lmexp.networks.pretrained_weights import in_our_order
from lmexp.recipe import compose
from lmexp.starting import data_of, put_in, start_of
from lmexp.targets import build

LENGTH = 128  # tokens of a sequence, at most
HELD_OUT = 500  # sentences of a split
LR, LR_WARMUP = 5.0e-5, 50
OURS_OF_THEIRS = {"bert.": "encoder.model.", "classifier.": "head."}


def overrides(model: Path, text: Path, precision: str) -> list[str]:
    """The run, but for its end."""
    return [
        "model=pretrained",
        f"model.path={model}",
        "data=conll2003",
        f"data.root={text}",
        f"data.max_length={LENGTH}",
        f"data.batch_size={ROWS}",
        "data.spelling=0",
        *same_schedule(LR, LR_WARMUP),
        precise(precision),
    ]


def write_sentences(folder: Path) -> None:
    """The training split, and some sentences of the others."""
    corpus = build(dict(compose(["data=conll2003"])["data"])["corpus"], root=None)
    for split, name in (("train", "train"), ("val", "valid"), ("test", "test")):
        sentences = list(corpus.tagged(split))
        every = 1 if split == "train" else len(sentences) // HELD_OUT
        with (folder / f"{name}.txt").open("w", encoding="utf-8") as file:
            for sentence in sentences[::every]:
                pairs = zip(sentence.words, sentence.tags, strict=True)
                file.write("".join(f"{word} {tag}\n" for word, tag in pairs) + "\n")


def to_ours(file: Path, rows: list[int | None]) -> dict[str, Tensor]:
    """Their weights by our names and in the order of our ids."""
    found = {}
    for name, tensor in load_file(file).items():
        prefix = next(own for own in OURS_OF_THEIRS if name.startswith(own))
        found[OURS_OF_THEIRS[prefix] + name.removeprefix(prefix)] = tensor
    embedding = "encoder.model.embeddings.word_embeddings.weight"
    found[embedding] = in_our_order(found[embedding], rows, file)
    return found


def readable(store: Any, labels: list[str]) -> list[Mapping[str, Any]]:
    """The sentences of a split: words and their tags."""
    column = store.columns["tags"]
    return [
        {"words": words, "tags": [labels[tag] for tag in column.row(number)]}
        for number, words in enumerate(store.kept())
    ]


def case_of(run: list[str], model: Path, folder: Path) -> Case:
    """What is compared: prepares the text, draws the layer's weights and writes them."""
    recipe = compose(run)
    start = start_of(recipe)
    assert start is not None
    data = data_of(recipe, start)
    data.prepare(fit=False, splits=("train", "val"))
    task = build_task(recipe, data.vocab, None).eval()
    put_in(task, start)
    labels, weights = list(data.vocab.labels), folder / "weights.safetensors"
    head = task.network.head.state_dict()
    write_weights({f"classifier.{name}": own for name, own in head.items()}, weights)
    reader = data.reader("train")
    sentences = readable(data.store("train"), labels)

    def examples(rows: NDArray[np.int64]) -> list[Any]:
        return [sentences[number] for number in reader.windows.example[rows]]

    theirs, read = tagging_network(str(model), labels, weights).eval(), batch_there(model, data)
    _, batch = data.first("val", ROWS)
    return Case(
        name="tagging",
        program="token_labels",
        run=run,
        silent="eval.sample_sentences=0",
        data=data,
        lengths=reader.lengths,
        examples=examples,
        options={
            **options_of(LENGTH, LR, LR_WARMUP, weights),
            "model": str(model),
            "labels": labels,
        },
        task=task,
        loss_here=lambda: mean_loss(task, batch),
        loss_there=lambda: theirs(**read).loss,
        to_ours=lambda file: to_ours(file, start.tokenizer.rows),
        held_out=lambda: task.evaluate(data.eval_dataloader("val"), data.store("val")).figures()[
            "loss"
        ],
    )


def batch_there(model: Path, data: Any) -> Mapping[str, Tensor]:
    """The first sentences of the validation split, read by their tokenizer and collator."""
    tokenizer, labels = AutoTokenizer.from_pretrained(model), list(data.vocab.labels)
    sentences = readable(data.store("val"), labels)[:ROWS]
    rows = [tagged(tokenizer, own, labels, LENGTH, full=False) for own in sentences]
    batch: Mapping[str, Tensor] = DataCollatorForTokenClassification(tokenizer)(rows)
    return batch


def main() -> int:
    """Measure and print."""
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=os.environ.get("ENCODER"), help="a folder")
    args = given(parser)
    if args.model is None:
        print("finetune.py was not run: name the folder of a pretrained BERT in --model or ENCODER")
        return 0
    model = Path(args.model).resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_sentences(folder)
        os.environ["LMEXP_CACHE"] = name
        return compare(
            case_of(overrides(model, folder, args.precision), model, folder), args, folder
        )


if __name__ == "__main__":
    sys.exit(main())
