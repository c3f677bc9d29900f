"""A network whose next-token probabilities are a table, so that decoding can be done by hand."""

import functools
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lmexp.build import vocab_of
from lmexp.checkpoint import read, save
from lmexp.networks.interface import Vocab
from lmexp.recipe import compose
from lmexp.tokenizers import Bytes

SPLIT_FILES = {"": "train", "val_": "val", "test_": "test"}


class Bigram(nn.Module):
    """logits after token i = table[i]; a StepDecoder.

    Args:
        table: (V, V) logits.
    """

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.embed = nn.Embedding.from_pretrained(table.float())
        self.output = nn.Linear(len(table), len(table), bias=False)
        nn.init.eye_(self.output.weight)
        self.columns_read: list[int] = []

    def hidden(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        document_ids: Tensor | None = None,
    ) -> Tensor:
        self.columns_read.append(input_ids.shape[1])
        hidden: Tensor = self.embed(input_ids)
        return hidden

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        document_ids: Tensor | None = None,
    ) -> Tensor:
        logits: Tensor = self.output(self.hidden(input_ids))
        return logits

    def start(self, memory: Any | None = None) -> Any:
        return ()

    def step(
        self, ids: Tensor, state: Any, attention_mask: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        last = torch.full((len(ids),), ids.shape[1] - 1)
        if attention_mask is not None:
            last = attention_mask.sum(1) - 1
        return self.output(self.hidden(ids)[torch.arange(len(ids)), last]), ()

    def reorder(self, state: Any, rows: Tensor) -> Any:
        return state


def chain(vocab_size: int) -> Bigram:
    """After token i comes i + 1, almost surely; after the last the first."""
    return Bigram(torch.eye(vocab_size).roll(1, dims=1) * 50)


def bigram(*probabilities: float) -> Bigram:
    """Every token is followed by these, whatever came before."""
    row = torch.tensor(probabilities).log()
    return Bigram(row.expand(len(probabilities), -1))


@dataclass(frozen=True)
class Successor:
    """An architecture: id i + 1 follows id i with odds exp(gap) to 1 against each other id."""

    gap: float

    def decoder(self, vocab: Vocab) -> Bigram:
        """A Bigram of the tokenizer's size."""
        return Bigram(torch.eye(vocab.size).roll(1, dims=1) * self.gap)


@functools.cache
def _composed() -> dict[str, Any]:
    """A whole recipe, as checkpoints hold them."""
    return compose(["tokenizer=byte", "logger=none"])


def write_checkpoint(
    folder: Path, text: str, gap: float = 50.0, *, document: str = "file"
) -> tuple[Path, dict[str, Any]]:
    """A run folder with the checkpoint of a Successor over bytes; text is its test split.

    Returns:
        The folder and the recipe.
    """
    for split, content in {"train": "abc\n" * 50, "val": "abc\n", "test": text}.items():
        (folder / f"{split}.txt").write_text(content, encoding="utf-8")
    names = {f"{key}files": str(folder / f"{split}.txt") for key, split in SPLIT_FILES.items()}
    corpus = {
        "_target_": "lmexp.corpora.text.TextFiles",
        **names,
        "val_fraction": 0.0,
        "test_fraction": 0.0,
        "cut": "tail",
        "document": document,
        "text_field": "text",
        "on_invalid": "error",
    }
    rules = ("unescape_html", "strip_control", "nfc", "drop_blank", "drop_duplicates")
    cleaning = {"_target_": "lmexp.cleaning.Cleaning", **dict.fromkeys(rules, False)}
    data = {
        "_target_": "lmexp.data.TextDataModule",
        "root": None,
        "corpus": corpus,
        "cleaning": cleaning | {"max_bytes": None},
        "max_length": 16,
        "batch_size": 2,
        "batch_tokens": None,
        "lanes": None,
        "document_mask": True,
        "num_workers": 0,
    }
    windows = {"context": None, "stride": None, "carry": False, "batch_size": 4}
    task = {"label_smoothing": 0.0, "clip_norm": None, "ema_decay": None}
    recipe = {
        **_composed(),
        "model": {"_target_": "bigram.Successor", "gap": gap},
        "task": {"_target_": "lmexp.tasks.causal_lm.CausalLM", **task}
        | {"sample_prompt": "", "sample_tokens": 0},
        "data": data,
        "eval": {"_target_": "lmexp.data.EvalWindows", **windows},
    }
    tokenizer = Bytes(extra=[])
    network = Successor(gap).decoder(vocab_of(tokenizer))
    checkpoint = {
        "recipe": recipe,
        "tokenizer": tokenizer.state(),
        "data_hash": "0a1b",
        "state_dict": {f"network.{name}": part for name, part in network.state_dict().items()},
        "training": {"average": None, "steps_done": 7},
    }
    (folder / "run" / "checkpoints").mkdir(parents=True)
    (folder / "run" / "recipe.yaml").write_text("seed: 0\n")
    save(checkpoint, folder / "run" / "checkpoints" / "best.ckpt")
    return folder / "run", recipe


def checkpoint_content(folder: Path) -> dict[str, Any]:
    """The checkpoint of a Successor as training writes it; the run around it is removed."""
    (folder / "bigram").mkdir()
    run, _ = write_checkpoint(folder / "bigram", "abc\n")
    content = read(run / "checkpoints" / "best.ckpt")
    shutil.rmtree(run)
    return content


def at(content: dict[str, Any], step: int, weights: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A checkpoint of another step with other weights."""
    training = {"steps_done": step, "average": None, "carried": [], **more}
    return {**content, "state_dict": weights, "training": training, "optimizer_states": []}
