"""Runs that begin with the encoder of a run of another task, or of other labels (init_from)."""

import json
from pathlib import Path

import labelled_runs
import pytest

from lmexp import checkpoint as checkpoints
from lmexp.loading import load
from lmexp.recipe import main

KINDS = ("masked_lm", "token_labels", "text_labels", "question_answering", "text_pairs")
CONTEXT = "Ann went from Oslo to New York"


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of every kind of data."""
    folder = tmp_path_factory.mktemp("texts")
    labelled_runs.write_tagged(folder, (20, 5, 5))
    labelled_runs.write_labelled(folder, (20, 5, 5))
    (folder / "text.txt").write_text(f"{CONTEXT}\nBob sees the a and from with\n" * 40)
    answer = {"text": "Oslo", "answer_start": CONTEXT.index("Oslo")}
    asked = [{"id": str(n), "question": "from where?", "answers": [answer]} for n in range(8)]
    squad = {"data": [{"title": "t", "paragraphs": [{"context": CONTEXT, "qas": asked}]}]}
    (folder / "squad.json").write_text(json.dumps(squad))
    (folder / "pairs.tsv").write_text("".join(f"went {n}\tOslo {n}\n" for n in range(60)))
    return folder


def data(kind: str, folder: Path) -> list[str]:
    """A run of one step."""
    short = [*labelled_runs.BRIEF, "trainer.max_steps=1", "trainer.validate_every_steps=1"]
    splits = ("train", "val", "test")
    files = {
        "masked_lm": [f"data.files={folder / 'text.txt'}", "data.corpus.document=line"],
        "token_labels": [f"data.{split}={folder / split}.txt" for split in splits],
        "text_labels": [f"data.{split}={folder / split}.jsonl" for split in splits],
        "question_answering": [f"data.{split}={folder / 'squad.json'}" for split in splits],
        "text_pairs": [f"data.train={folder / 'pairs.tsv'}", "data.fields=[0,1]"],
    }[kind]
    own = {
        "masked_lm": ["data=text", "task=masked_lm"],
        "token_labels": ["data=labelled_tokens"],
        "text_labels": ["data=labelled_text"],
        "question_answering": ["data=questions", "data.max_question=8"],
        "text_pairs": ["data=parallel", "task=text_pairs"],
    }[kind]
    size = ["data.max_length=24", "data.batch_size=8", "data.batch_tokens=null"]
    return [*own, *files, *size, *short]


@pytest.fixture(scope="module")
def runs(texts: Path) -> Path:
    """A run of every kind."""
    for kind in KINDS:
        made = [*labelled_runs.GRU, *data(kind, texts), "tokenizer=byte"]
        assert main([*made, f"hydra.run.dir={texts / kind}"]) == 0
    return texts


@pytest.mark.parametrize("new", KINDS)
@pytest.mark.parametrize("old", KINDS)
def test_any_labelled_task_begins_with_the_encoder_of_any_other(old, new, runs, tmp_path, capsys):
    begun = [*data(new, runs), f"init_from={runs / old}", "optimizer.lr=1.0e-12"]

    assert main([*begun, f"hydra.run.dir={tmp_path / 'run'}"]) == 0

    network, was = (load(folder).task.network for folder in (tmp_path / "run", runs / old))
    for name, tensor in was.encoder.state_dict().items():
        assert abs(network.encoder.state_dict()[name] - tensor).max() < 1e-9
    assert "encoder (" in capsys.readouterr().err


def test_labels_are_those_of_the_new_texts_and_their_layer_is_new(runs, tmp_path, capsys):
    files = {}
    for split in ("train", "val", "test"):
        lines = (runs / f"{split}.jsonl").read_text().replace('"bad"', '"late"')
        files[split] = tmp_path / f"{split}.jsonl"
        files[split].write_text(lines)
    begun = [*data("text_labels", runs), f"init_from={runs / 'text_labels'}"]
    begun += [f"data.{split}={file}" for split, file in files.items()]

    assert main([*begun, f"hydra.run.dir={tmp_path / 'run'}"]) == 0

    assert load(tmp_path / "run").tokenizer.labels == ("good", "late")  # and not bad, good
    assert "new: head (2); left: head (2)" in capsys.readouterr().err
    saved = checkpoints.read(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert saved["training"]["updates_done"] == 1


def test_equal_labels_keep_their_layer(runs, tmp_path, capsys):
    begun = [*data("text_labels", runs), f"init_from={runs / 'text_labels'}"]

    assert main([*begun, f"hydra.run.dir={tmp_path / 'run'}"]) == 0

    assert "new: nothing; left: nothing" in capsys.readouterr().err
