"""Every example is scored once on any number of ranks, on more ranks than examples too."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from kinds import overrides, tagged, turns, write_questions

from lmexp.example_scores import read_scores

EXAMPLES = (1, 2, 5, 7, 101)
RANKS = (1, 2, 3, 4)
FIGURES = {"token_labels": ["entity_f1"], "question_answering": ["exact_match", "f1"]}


def few(kind: str, folder: Path, text: Path, count: int) -> list[str]:
    """Settings under which validation and test have so many examples, and nothing is learnt."""
    settings = ["trainer.max_steps=1", "optimizer.lr=1.0e-30", "task.ema_decay=null"]
    if "translation" in kind:
        sizes = [f"data.corpus.{split}_size={count}" for split in ("val", "test")]
        return [*settings, *sizes, "eval.metrics=[bleu,chrf,rouge]", "eval.batch_size=3"]
    if kind.endswith("question_answering"):
        for seed, split in enumerate(("val", "test"), start=7):
            file = write_questions(folder.with_suffix(f".{split}"), count, seed)
            settings.append(f"data.{split}={file}")
        return [*settings, "eval.batch_size=3"]
    if kind == "token_labels":
        for split in ("val", "test"):
            sentences = [tagged(5 + n % 12, random.Random(n)) for n in range(count)]
            folder.with_suffix(f".{split}.tags").write_text("\n".join(sentences))
            settings.append(f"data.{split}={folder.with_suffix(f'.{split}.tags')}")
        return [*settings, "eval.batch_size=3"]
    lines = [line for line in text.read_text().splitlines() if len(line) > 9]
    for split, first in (("val", 0), ("test", 3)):
        few_lines = (lines * 9)[first : first + count]
        folder.with_suffix(f".{split}").write_text("\n".join(few_lines) + "\n")
        settings.append(f"data.corpus.{split}_files={folder.with_suffix('.' + split)}")
    return [*settings, "eval.batch_size=3"]


def figures(folder: Path) -> dict[str, Any]:
    """What validation and test found, and what the test found of each example."""
    summary = json.loads((folder / "summary.json").read_text())
    found = {name: value for name, value in summary.items() if name.startswith(("val/", "test/"))}
    scores = read_scores(folder).scores
    found["examples"] = scores.keys.tolist()
    for name, own in scores.statistics.items():
        found |= {f"examples/{name}/{n}": value for n, value in enumerate(own.ravel().tolist())}
    return found


def scored(server, text, folder: Path, kind: str, count: int, ranks: int, faults=()):
    """The figures of so many examples on so many ranks."""
    folder.mkdir()
    settings = few(kind, folder / "few", text, count)
    ended = server.run([*overrides(kind, folder / "run", text, ranks=ranks), *settings], faults)
    assert ended.status == 0, ended.errors
    return figures(folder / "run")


@pytest.fixture(scope="session")
def alone(server, text, tmp_path_factory):
    """Gives the figures of one rank; each is found once a worker."""
    done = {}

    def score(kind: str, count: int) -> dict[str, Any]:
        if (kind, count) not in done:
            folder = tmp_path_factory.mktemp("alone") / "one"
            done[kind, count] = scored(server, text, folder, kind, count, 1)
        return done[kind, count]

    return score


def check(server, text, alone, folder: Path, kind: str, count: int, ranks: int, faults=()) -> None:
    expected = alone(kind, count)
    found = scored(server, text, folder / "several", kind, count, ranks, faults)
    names = FIGURES.get(kind.removeprefix("sharded "), ["perplexity"])
    assert {f"{split}/{name}" for split in ("val", "test") for name in names} < expected.keys()
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        close = pytest.approx(value, rel=1e-12) if isinstance(value, float) else value
        assert found[name] == close, name
    if kind.endswith("question_answering") and count == max(EXAMPLES):
        assert {"test/f1_with_answer", "val/f1_without_answer"} < expected.keys()
        assert expected["test/f1"] > 0
    if "translation" in kind:
        assert {"test/bleu", "test/rougeL", "val/rougeL"} <= expected.keys()
        assert expected["test/chrf"] > 0 or count < max(EXAMPLES)  # which are no words yet


@pytest.mark.parametrize(("kind", "count", "ranks"), turns(EXAMPLES, RANKS[1:]))
def test_figures_are_the_same_on_any_number_of_ranks(
    kind, count, ranks, server, text, alone, tmp_path
):
    check(server, text, alone, tmp_path, kind, count, ranks)
