"""Small runs of every task, with all that has a state; a task added later adds its line."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

EPOCH = 13  # steps
QUESTIONS_OF = {"train": 116, "val": 20, "test": 20}  # EPOCH steps of windows
MICRO_BATCHES = 4
SLOW = pytest.mark.slow
TRANSFORMER = ("model.num_heads=2", "model.num_kv_heads=2", "model.d_ff=32")
TEXT = ("data=text", "data.corpus.document=line", "data.max_length=32", "tokenizer=byte")
TEXT += ("task.sample_tokens=8",)
PAIRS = (
    *("data=reverse", "data.corpus.size=208", "data.corpus.val_size=20"),
    *("data.corpus.test_size=20", "data.batch_tokens=null", "data.batch_size=16"),
    *("task.label_smoothing=0.1", "optimizer.lr=0.01", "eval.sample_pairs=4"),
    *("eval.beam_size=2", "eval.max_extra=2"),
)


class Kind(NamedTuple):
    """A task, with a network that does it."""

    task: str  # MODULE:CLASS
    overrides: tuple[str, ...]


TAGS = (
    *("data=labelled_tokens", "data.max_length=12", "data.spelling=6", "data.batch_size=16"),
    *("task.crf=true", "task.spelling_size=4", "eval.sample_sentences=3"),
)
SEGMENTS = [part for part in TEXT if not part.startswith("task.")]
QUESTIONS = (
    *("data=questions", "data.max_length=48", "data.max_question=12", "tokenizer=byte"),
    *("data.batch_size=16", "eval.batch_size=4", "eval.sample_questions=4"),
    *("task.no_answer_margin=0.0", "task.max_answer=3"),
)
CAUSAL_LM, TEXT_TO_TEXT = "lmexp.tasks.causal_lm:CausalLM", "lmexp.tasks.text_to_text:TextToText"
KINDS = {
    "lstm": Kind(CAUSAL_LM, ("model=lstm", *TEXT, "data.batch_size=8")),
    "transformer": Kind(CAUSAL_LM, ("model=transformer", *TRANSFORMER, *TEXT, "data.batch_size=8")),
    "masked lm": Kind(
        "lmexp.tasks.masked_lm:MaskedLM",
        (
            *("model=bert", "model.num_heads=2", "model.d_ff=32", *SEGMENTS, "data.batch_size=28"),
            *("data.max_length=24", "eval.pseudo_sequences=4"),
            "model.bias=false",  # keys' has a gradient of zero, whose rounding Adam makes steps of
        ),
    ),
    "token_labels": Kind("lmexp.tasks.token_labels:TokenLabels", ("model=gru", *TAGS)),
    "vae_lm": Kind(
        "lmexp.tasks.vae_lm:VaeLM",
        (
            *("model=vae", *SEGMENTS, "data.batch_size=28", "data.word_dropout=0.2"),
            *("data.max_length=24", "task.latent_size=4", "task.kl_schedule=cyclical"),
            *("task.kl_steps=7", "task.free_bits=0.02", "eval.importance_samples=3"),
            "eval.sample_sentences=1",
        ),
    ),
    "question_answering": Kind(
        "lmexp.tasks.question_answering:QuestionAnswering",
        ("model=transformer", *TRANSFORMER, *QUESTIONS),
    ),
    "translation lstm": Kind(TEXT_TO_TEXT, ("model=lstm", *PAIRS)),
    "translation transformer": Kind(TEXT_TO_TEXT, ("model=transformer", *TRANSFORMER, *PAIRS)),
}


def turns(names: Sequence[Any], ranks: Sequence[int]) -> list[Any]:
    """(kind, name, ranks) for pytest: each kind with each name once, the ranks in turn.

    So each number of ranks meets every kind and every name. What is left of the product is slow.
    """
    return [
        pytest.param(kind, name, number, marks=() if is_turn else SLOW)
        for of_kind, kind in enumerate(KINDS)
        for of_name, name in enumerate(names)
        for of_ranks, number in enumerate(ranks)
        for is_turn in [(of_kind + of_name) % len(ranks) == of_ranks]
    ]


def one_each(values: Sequence[Any]) -> list[Any]:
    """(kind, value) for pytest: each kind once, the values in turn; the rest of them is slow."""
    return [
        pytest.param(kind, value, marks=() if of_value == of_kind % len(values) else SLOW)
        for of_kind, kind in enumerate(KINDS)
        for of_value, value in enumerate(values)
    ]


def every_other(first: int) -> list[Any]:
    """Kinds for pytest: every second one, beginning with the first or second; the rest is slow."""
    return [
        pytest.param(kind, marks=() if of_kind % 2 == first else SLOW)
        for of_kind, kind in enumerate(KINDS)
    ]


WORDS = ["the", "import", "statement", "binds", "a", "name", "in", "scope"]


def write_text(folder: Path) -> Path:
    """Text of EPOCH steps of eight rows of 32 bytes: some lines have one word, some a dozen.

    Each line is a document, whose first byte nobody predicts: so micro-batches have few or many
    labels, and whoever takes means of them learns something else.
    """
    generator = random.Random(0)
    lines: list[str] = []
    while sum(len(line) + 2 for line in lines) < 3600:  # bytes, beginning and end
        if generator.random() < 0.2:
            lines += ["a"] * generator.randint(5, 20)
        lines.append(" ".join(generator.choices(WORDS, k=generator.randint(4, 12))))
    file = folder / "text.txt"
    file.write_text("\n".join(lines) + "\n")
    write_tags(file.with_suffix(".tags"), generator)
    return file


def write_questions(file: Path, count: int, seed: int) -> Path:
    """Questions about contexts of one to three windows; one in four is without an answer."""
    generator = random.Random(seed)
    articles = []
    for number in range(count):
        words = generator.choices(WORDS, k=generator.randint(3, 14))
        place = generator.randrange(len(words))
        answers = [{"text": words[place], "answer_start": len(" ".join(["", *words[:place]]))}]
        qa = {"id": str(number), "question": f"what {place}?"}
        qa["answers"] = answers if generator.random() < 0.75 else []
        paragraph = {"context": " ".join(words), "qas": [qa]}
        articles.append({"title": str(number), "paragraphs": [paragraph]})
    file.write_text(json.dumps({"data": articles}))
    return file


def questions_beside(text: Path) -> list[str]:
    """Settings of questions, in files that are written where a text is."""
    files = {split: text.with_name(f"{split}.json") for split in ("train", "val", "test")}
    for seed, (split, file) in enumerate(files.items()):
        if not file.exists():
            write_questions(file, QUESTIONS_OF[split], seed)
    return [f"data.{split}={file}" for split, file in files.items()]


def write_tags(file: Path, generator: random.Random) -> None:
    """Tagged sentences of EPOCH steps of sixteen windows of ten words: some have two windows."""
    sentences: list[str] = []
    windows = 0
    while windows < EPOCH * 16:
        size = generator.randint(2, 17) if windows < EPOCH * 16 - 1 else 9
        windows += 1 if size <= 10 else 2
        sentences.append(tagged(size, generator))
    file.write_text("\n".join(sentences))
    file.with_suffix(".held-out.tags").write_text(
        "\n".join(tagged(generator.randint(2, 17), generator) for _ in range(20))
    )


def tagged(size: int, generator: random.Random) -> str:
    """Lines of a sentence of so many words: beginnings of names, their insides, and others."""
    lines, before = [], "O"
    for _ in range(size):
        kinds = ["O", "O", "B-PER", "B-LOC"] + [f"I{before[1:]}"] * 2 * (before != "O")
        before = generator.choice(kinds)
        lines.append(f"{before[:3].lower()}{generator.randint(1, 9)} {before}\n")
    return "".join(lines)


def overrides(kind: str, folder: Path, text: Path, *, ranks: int = 1, steps: int = 30) -> list[str]:
    """A run of a kind in a folder, on a text if it reads one."""
    own = KINDS[kind].overrides
    reads = [f"data.files={text}"] if "data=text" in own else []
    if "data=questions" in own:
        reads = questions_beside(text)
    if "data=labelled_tokens" in own:
        held_out = text.with_suffix(".held-out.tags")
        reads = [f"data.train={text.with_suffix('.tags')}", f"data.val={held_out}"]
        reads.append(f"data.test={held_out}")
    return [
        *own,
        *reads,
        "model.d_model=16",
        "model.num_layers=2",
        "model.dropout=0.3",
        "trainer=debug",
        f"trainer.devices={ranks}",
        f"trainer.micro_batches={MICRO_BATCHES}",
        f"trainer.max_steps={steps}",
        "trainer.validate_every_steps=8",
        "trainer.checkpoint_every_steps=3",
        "task.ema_decay=0.9",
        "schedule.warmup_steps=2",
        "logger=none",
        f"hydra.run.dir={folder}",
    ]
