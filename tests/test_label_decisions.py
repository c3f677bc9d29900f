"""What `label` says of a text is what `evaluate` counts; what is cut is said."""

from collections import Counter
from types import SimpleNamespace

import labelled_runs
import pytest
import torch

from lmexp.__main__ import main
from lmexp.batch import LabelBatch
from lmexp.label import labelled

SHARES = torch.tensor([[0.49997, 0.50003]])  # equal in four places


@pytest.mark.parametrize("multiple", [False, True])
def test_shares_that_are_shown_as_equal_are_none_to_the_decision(multiple):
    one = torch.ones(1, 1, dtype=torch.long)
    batch = LabelBatch(one, one.bool(), one, one[0])
    task = SimpleNamespace(
        device="cpu",
        multiple=multiple,
        network=lambda _: SHARES,
        probabilities=lambda scores: scores,
        vocab=SimpleNamespace(labels=("negative", "positive")),
    )
    data = SimpleNamespace(
        corpus=SimpleNamespace(has_pairs=False),
        batches_of=lambda texts, _: [(batch, texts)],
    )

    (record,) = labelled(task, data, ["so so"], Counter())

    assert record["probabilities"] == {"negative": 0.5, "positive": 0.5}
    assert record["labels"] == ["positive"] if multiple else record["label"] == "positive"


def test_a_text_that_is_too_long_is_said_to_be_cut(tmp_path, capsys):
    labelled_runs.write_labelled(tmp_path, (20, 5, 5))
    typed = labelled_runs.classifier(tmp_path, "trainer.max_steps=1", "tokenizer=word")
    assert main(["train", *typed, f"hydra.run.dir={tmp_path / 'run'}"]) == 0

    assert main(["label", str(tmp_path / "run"), "--text", "fine " * 99, "--text", "poor"]) == 0

    assert "1 texts cut at 24 tokens" in capsys.readouterr().err
