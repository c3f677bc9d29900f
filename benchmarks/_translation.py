"""Ours in benchmarks/translation.py: the texts, the run, and the score of outputs."""

import datetime
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import sacrebleu
from _measure import CHECKOUT, execute
from _peer import BEAM, BETAS, CLIP, D_FF, D_MODEL, DROPOUT, HEADS, LAYERS, SMOOTHING

from lmexp.build import build_data
from lmexp.recipe import compose
from lmexp.targets import build

NEVER = 1_000_000  # steps


class Training(NamedTuple):
    """How three minutes are spent; the learning rate falls as an inverse square root."""

    tokens: int  # of a batch
    lr: float  # at its peak
    warmup_steps: int
    norm_first: bool


class Texts(NamedTuple):
    """What the other programs read: ids instead of words."""

    folder: Path  # train and val, .source and .target; words, vocabulary
    sources: Path  # JSON, of the test split
    references: list[str]
    decode: Callable[[Sequence[int]], str]
    num_pairs: int  # to train on

    def options(self, every: int) -> dict[str, Any]:
        """Of programs that read them; `every`: of how many sentences they translate one."""
        return {"text": str(self.folder), "sources": str(self.sources), "every": every}


def overrides(precision: str, *, norm_first: bool) -> list[str]:
    """The run, but for its batches and its end: Vaswani's, but for where norms stand."""
    return [
        "model=transformer",
        f"model.num_layers={LAYERS}",
        f"model.d_model={D_MODEL}",
        f"model.num_heads={HEADS}",
        f"model.d_ff={D_FF}",
        "model.activation=relu",
        "model.norm=layer",
        f"model.norm_first={norm_first}",
        "model.positions=sinusoidal",
        "model.bias=true",
        f"model.dropout={DROPOUT}",
        "data=multi30k",
        "tokenizer.vocab_size=8000",
        f"task.label_smoothing={SMOOTHING}",
        f"task.clip_norm={CLIP}",
        f"optimizer.betas=[{BETAS[0]},{BETAS[1]}]",
        "trainer.accelerator=cpu",
        f"trainer.precision={'bf16-mixed' if precision == 'bf16' else '32-true'}",
    ]


def write_texts(folder: Path) -> Texts:
    """Multi30k as our tokenizer cuts it, for programs that split lines at spaces."""
    recipe = compose(overrides("float32", norm_first=True))
    data = build_data(recipe, build(recipe["tokenizer"]))
    data.prepare()
    for split in ("train", "val"):
        store = data.store(split)
        for side in ("source", "target"):
            ids, starts = getattr(store, side), getattr(store, f"{side}_starts")[1:]
            lines = (" ".join(map(str, row[:-1].tolist())) for row in np.split(ids, starts))
            (folder / f"{split}.{side}").write_text("".join(f"{line}\n" for line in lines))
    types = [str(number) for number in range(4, data.tokenizer.vocab_size)]
    (folder / "words").write_text("\n".join(types) + "\n")  # eole puts four before them itself
    (folder / "vocabulary").write_text("\n".join(["<unk>", "<pad>", "<s>", "</s>", *types]) + "\n")
    test, sources = data.store("test"), folder / "sources.json"
    sources.write_text(json.dumps([test.source_ids(row) for row in range(test.num_pairs)]))
    references = [texts[1] for texts in test.texts()]
    decode, pairs = data.tokenizer.target.decode, data.store("train").num_pairs
    return Texts(folder, sources, references, decode, pairs)


def bleu(outputs: Sequence[Sequence[int]], texts: Texts) -> float:
    """sacrebleu's, of outputs for sentences of the test split at equal distances."""
    decoded = [texts.decode(ids) for ids in outputs]
    references = texts.references[:: len(texts.references) // len(outputs)]
    return float(sacrebleu.corpus_bleu(decoded, [references]).score)


def train_for(
    seconds: int, run: Path, threads: int, precision: str, training: Training
) -> dict[str, Any]:
    """`python train.py`, ended by the clock, into a run folder; its summary."""
    command = [sys.executable, str(CHECKOUT / "train.py")]
    command += overrides(precision, norm_first=training.norm_first)
    command += [
        f"data.batch_tokens={training.tokens}",
        f"optimizer.lr={training.lr}",
        "optimizer.weight_decay=0.0",  # as JoeyNMT has it
        "schedule=inverse_sqrt",
        f"schedule.warmup_steps={training.warmup_steps}",
        f"eval.beam_size={BEAM}",
        "eval.sample_pairs=0",
        "logger=csv",
        f"trainer.max_time='{datetime.timedelta(seconds=seconds)}'",
        f"trainer.max_steps={NEVER}",
        f"trainer.validate_every_steps={NEVER}",
        f"trainer.checkpoint_every_steps={NEVER}",
        f"hydra.run.dir={run}",
    ]
    execute(command, threads)
    summary: dict[str, Any] = json.loads((run / "summary.json").read_text())
    return summary
