"""Small files of questions, and runs on them."""

import json
import random
from pathlib import Path
from typing import Any

NAMES = ("Ann", "Bob", "Kim", "Eve")
PLACES = ("Rome", "Oslo", "Paris", "New York")
OTHER = ("then", "sees", "in", "went", "to", "and", "from", "with")
SMALL = ("model=transformer", "model.d_model=32", "model.num_layers=1", "model.d_ff=64")
SMALL += ("model.num_heads=2", "model.num_kv_heads=2", "model.dropout=0.0")
BRIEF = ("trainer=debug", "logger=none", "schedule.warmup_steps=0", "optimizer.lr=0.01")


def question(rng: random.Random, number: int, most: int) -> dict[str, Any]:
    """A paragraph with a name, a place and a question about one of them, or about neither."""
    words = [*rng.choices(OTHER, k=rng.randint(3, most)), rng.choice(NAMES), rng.choice(PLACES)]
    rng.shuffle(words)
    context = " ".join(words)
    asked = rng.choice(("who is it?", "where is it?", "when is it?"))
    known = {"who is it?": NAMES, "where is it?": PLACES, "when is it?": ()}[asked]
    answers = [
        {"text": word, "answer_start": context.index(word)} for word in words if word in known
    ]
    qa = {"id": str(number), "question": asked, "answers": answers, "is_impossible": not answers}
    return {"context": context, "qas": [qa]}


def write_questions(
    folder: Path, sizes: tuple[int, int, int] = (200, 30, 30), most: int = 12, seed: int = 0
) -> None:
    """train.json, val.json and test.json in the format of SQuAD 2.0."""
    rng = random.Random(seed)
    for split, size in zip(("train", "val", "test"), sizes, strict=True):
        paragraphs = [question(rng, number, most) for number in range(size)]
        write(folder / f"{split}.json", *paragraphs)


def write(file: Path, *paragraphs: dict[str, Any]) -> None:
    """A file of paragraphs."""
    articles = [{"title": str(n), "paragraphs": [one]} for n, one in enumerate(paragraphs)]
    file.write_text(json.dumps({"version": "v2.0", "data": articles}, ensure_ascii=False))


def paragraph(context: str, *asked: tuple[str, list[str]]) -> dict[str, Any]:
    """A context, and questions with their answers; those nowhere in it are said to begin it."""
    qas = [
        {
            "id": str(number),
            "question": text,
            "answers": [{"text": a, "answer_start": max(0, context.find(a))} for a in answers],
        }
        for number, (text, answers) in enumerate(asked)
    ]
    return {"context": context, "qas": qas}


def answering(folder: Path, *more: str) -> list[str]:
    """A run on what write_questions has written: contexts of one to three windows."""
    files = [f"data.{split}={split}.json" for split in ("train", "val", "test")]
    data = ["data=questions", f"data.root={folder}", *files, "tokenizer=word"]
    sizes = ["data.max_length=20", "data.max_question=5", "data.batch_size=32"]
    steps = ["trainer.max_steps=100", "trainer.validate_every_steps=50"]
    return [*SMALL, *BRIEF, *data, *sizes, *steps, "task.no_answer_margin=0.0", *more]
