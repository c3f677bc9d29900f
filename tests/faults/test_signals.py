"""SIGTERM and SIGINT to any process at any time: one agreed checkpoint, nothing left running."""

import json
import signal
import time
from pathlib import Path

import pytest
from interruption import assert_same_run, lines
from kinds import KINDS, overrides

from lmexp import checkpoint as checkpoints

SECONDS = 10.0
WHO = {  # whom the signal reaches: the rank that sends it, and to whom
    "rank 0": [("0", "self")],
    "rank 1": [("1", "self")],
    "both": [("0", "self"), ("1", "self")],
    "the launcher": [("0", "parent")],
}
ALL = {"all three": [("0", "parent"), ("0", "self"), ("1", "self")]}  # which pass it on besides
MOMENTS = {
    "a step": "{task}.sums:23",
    "a validation": "{task}.validation_step:2",
    "decoding": "{task}.sample:2",
    "saving": "lmexp.keeping:Keeper.save:3",
    "the test": "{task}.on_test_start:1",
    "building data": "{data}.prepare:1",
    "before the fit": "lmexp.train:_cost:1",
}
DATA = {
    "lmexp.tasks.causal_lm:CausalLM": "lmexp.data:TextDataModule",
    "lmexp.tasks.text_to_text:TextToText": "lmexp.pair_data:PairDataModule",
    "lmexp.tasks.token_labels:TokenLabels": "lmexp.labelled_data:LabelledDataModule",
    "lmexp.tasks.masked_lm:MaskedLM": "lmexp.segment_data:SegmentDataModule",
    "lmexp.tasks.question_answering:QuestionAnswering": "lmexp.question_data:QuestionDataModule",
    "lmexp.tasks.vae_lm:VaeLM": "lmexp.sentence_data:SentenceDataModule",
}
UNSAVED = ("building data", "before the fit")


def are_running(folder: Path) -> list[int]:
    """The processes of a run that have not ended; one that nobody has waited for is a zombie."""
    found = []
    for file in folder.glob("process-*"):
        number = int(file.name.partition("-")[2])
        try:
            state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            continue
        if state != "Z":
            found.append(number)
    return found


def check(
    server, text, whole, folder: Path, kind: str, who: str, moment: str, name: str, faults=()
):
    """A run that is sent a signal, and what resuming it makes of it."""
    task = KINDS[kind].task
    when = MOMENTS[moment].format(task=task, data=DATA[task])
    stamp = str(folder / "sent")
    sent = [[rank, "send_signal", when, name, to, stamp] for rank, to in (WHO | ALL)[who]]
    noted = ["all", "note_process", str(folder)]

    ended = server.run(overrides(kind, folder / "run", text, ranks=2), [noted, *sent, *faults])
    took = time.time() - float(Path(stamp).read_text())
    number = getattr(signal, name)
    assert ended.status == 128 + number, ended.errors
    assert f"{name} received" in ended.errors
    assert "Traceback" not in ended.errors
    assert took < SECONDS
    assert len(list(folder.glob("process-*"))) == 3
    assert not are_running(folder)
    if moment in UNSAVED:
        assert not (folder / "run" / "checkpoints" / "last.ckpt").exists()
        return
    assert json.loads((folder / "run" / "summary.json").read_text())["status"] == "stopped"
    saved = checkpoints.read(folder / "run" / "checkpoints" / "last.ckpt")
    assert saved["training"]["steps_done"] == max(line["step"] for line in lines(folder / "run"))
    resumed = server.run([f"resume={folder / 'run'}"], faults)
    assert resumed.status == 0, resumed.errors
    assert_same_run(whole(kind, 2), folder / "run")


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize(
    ("kind", "who"),
    [
        *(("lstm", who) for who in WHO),
        ("translation transformer", "rank 1"),
        pytest.param("translation transformer", "rank 0", marks=pytest.mark.slow),
        pytest.param("translation transformer", "both", marks=pytest.mark.slow),
        pytest.param("translation transformer", "the launcher", marks=pytest.mark.slow),
    ],
)
def test_sigterm_saves_once_ends_all_and_the_run_goes_on(
    kind, who, moment, server, text, whole, tmp_path
):
    check(server, text, whole, tmp_path, kind, who, moment, "SIGTERM")


@pytest.mark.parametrize("moment", ["a step", "decoding"])
def test_a_signal_that_reaches_a_rank_twice_is_one(moment, server, text, whole, tmp_path):
    check(server, text, whole, tmp_path, "transformer", "all three", moment, "SIGTERM")


@pytest.mark.parametrize("name", ["SIGINT", "SIGHUP"])
@pytest.mark.parametrize("who", WHO)
def test_other_signals_do_the_same(who, name, server, text, whole, tmp_path):
    check(server, text, whole, tmp_path, "transformer", who, "a step", name)
