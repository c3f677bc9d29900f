"""Small files of tagged words and of labelled texts, and runs on them."""

import json
import random
from pathlib import Path

from lmexp import checkpoint as checkpoints
from lmexp.__main__ import main

NAMES = ("Ann", "Bob", "Kim")
PLACES = (("Rome",), ("Oslo",), ("New", "York"))
OTHER = ("the", "a", "sees", "in", "went", "to", "and", "from", "with")
GRU = ("model=gru", "model.d_model=16", "model.num_layers=1")
BRIEF = ("trainer=debug", "logger=none", "schedule.warmup_steps=0", "optimizer.lr=0.02")


def sentence(rng: random.Random) -> list[tuple[str, str]]:
    """From three to twelve words, some of them names."""
    words: list[tuple[str, str]] = []
    for _ in range(rng.randint(3, 12)):
        draw = rng.random()
        if draw < 0.2:
            words.append((rng.choice(NAMES), "B-PER"))
        elif draw < 0.4:
            place = rng.choice(PLACES)
            words += [(word, f"{'BI'[n > 0]}-LOC") for n, word in enumerate(place)]
        else:
            words.append((rng.choice(OTHER), "O"))
    return words


def write_tagged(folder: Path, sizes: tuple[int, int, int] = (80, 20, 20), seed: int = 0) -> None:
    """train.txt, val.txt and test.txt, of a word and its tag a line."""
    rng = random.Random(seed)
    for split, size in zip(("train", "val", "test"), sizes, strict=True):
        sentences = [sentence(rng) for _ in range(size)]
        text = "\n".join("".join(f"{word} {tag}\n" for word, tag in own) for own in sentences)
        (folder / f"{split}.txt").write_text(text)


def text_and_label(rng: random.Random) -> tuple[str, str]:
    """A text that is good or bad by its last word."""
    label = rng.choice(("good", "bad"))
    words = rng.choices(OTHER, k=rng.randint(2, 9))
    return " ".join([*words, {"good": "fine", "bad": "poor"}[label]]), label


def write_labelled(
    folder: Path, sizes: tuple[int, int, int] = (80, 20, 20), *, pairs: bool = False, seed: int = 0
) -> None:
    """train.jsonl, val.jsonl and test.jsonl, of a text and its label, or of two texts."""
    rng = random.Random(seed)
    for split, size in zip(("train", "val", "test"), sizes, strict=True):
        records = []
        for _ in range(size):
            text, label = text_and_label(rng)
            second = {"second": " ".join(rng.choices(OTHER, k=3))} if pairs else {}
            records.append({"text": text, "label": label, **second})
        lines = "".join(json.dumps(record) + "\n" for record in records)
        (folder / f"{split}.jsonl").write_text(lines)


def tagger(folder: Path, *more: str) -> list[str]:
    """A run on what write_tagged has written."""
    files = [f"data.{split}={split}.txt" for split in ("train", "val", "test")]
    data = ["data=labelled_tokens", f"data.root={folder}", *files, "data.max_length=12"]
    return [*GRU, *BRIEF, *data, "data.spelling=8", "trainer.max_steps=60", *more]


def classifier(folder: Path, *more: str) -> list[str]:
    """A run on what write_labelled has written."""
    files = [f"data.{split}={split}.jsonl" for split in ("train", "val", "test")]
    data = ["data=labelled_text", f"data.root={folder}", *files, "data.max_length=24"]
    return [*GRU, *BRIEF, *data, "trainer.max_steps=60", *more]


def assert_goes_on_bit_for_bit(run, typed, folder) -> None:
    """A run that is stopped at once and resumed ends with the weights of the one left alone."""
    assert main(["train", *typed, "trainer.max_time=00:00:00", f"hydra.run.dir={folder}"]) == 0
    began = checkpoints.read(folder / "checkpoints" / "last.ckpt")["training"]["steps_done"]

    assert main(["train", f"resume={folder}", "trainer.max_time=null"]) == 0

    assert began < checkpoints.read(run / "checkpoints" / "last.ckpt")["training"]["steps_done"]
    whole, cut = (
        checkpoints.read(own / "checkpoints" / "last.ckpt")["state_dict"] for own in (run, folder)
    )
    assert all((cut[name] == value).all() for name, value in whole.items())
