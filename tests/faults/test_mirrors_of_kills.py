"""After kills and resumes the record and its mirrors agree, and no mirror touches the training."""

import csv
import json
import math
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from interruption import assert_same_run, lines
from kinds import KINDS, overrides

CYCLES = 3
KIND = "transformer"


def of_wandb(folder: Path) -> dict[int, dict[str, float]]:
    """The figures that W&B's own reader finds in the offline files, by step."""
    shown: dict[int, dict[str, float]] = {}
    for file in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        records = [json.loads(line) for line in done.stdout.splitlines()]
        assert {r["run"]["run_id"] for r in records if r["type"] == "run"} <= {wandb_id(folder)}
        for row in (r["history"]["item"] for r in records if r["type"] == "history"):
            figures = {name: value for name, value in row.items() if "/" in name}
            if figures:
                assert row["_step"] not in shown
                assert row["_step"] > max(shown, default=-1)
                shown[row["_step"]] = figures
    return shown


def wandb_id(folder: Path) -> str:
    return json.loads((folder / "wandb.json").read_text())["id"]


def of_tensorboard(folder: Path) -> dict[int, dict[str, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    shown: dict[int, dict[str, float]] = {}
    for name in events.Tags()["scalars"]:
        for event in events.Scalars(name) if name.startswith(("train/", "val/")) else ():
            assert name not in shown.setdefault(event.step, {})
            shown[event.step][name] = event.value
    return shown


def of_csv(folder: Path) -> dict[int, dict[str, float]]:
    path = folder / "metrics.csv"
    if not path.exists():  # the session was killed before the mirror had looked once
        return {}
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == sorted({int(row["step"]) for row in rows})
    return {
        int(row["step"]): {name: float(row[name]) for name in row if "/" in name and row[name]}
        for row in rows
    }


READERS = {"wandb": of_wandb, "tensorboard": of_tensorboard, "csv": of_csv}


def of_record(folder: Path) -> dict[int, dict[str, float]]:
    merged: dict[int, dict[str, float]] = {}
    for line in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines()):
        figures = {name: float(value) for name, value in line.items() if "/" in name}
        merged.setdefault(line["step"], {}).update(figures)
    return merged


def assert_agree(shown: dict[int, dict[str, float]], recorded: dict[int, dict[str, float]]) -> None:
    """What a mirror shows of the record, in TensorBoard's float32."""
    for step, figures in shown.items():
        assert figures.keys() == recorded[step].keys()
        for name, value in figures.items():
            assert math.isclose(value, recorded[step][name], rel_tol=1e-6), name


def check(server, text, whole, folder: Path, logger: str, faults=()) -> None:
    """Three kills, of another process each time, and a clean end."""
    run, draw = folder / "run", random.Random(logger)
    arguments = [*overrides(KIND, run, text, ranks=2), f"logger={logger}"]
    for cycle, (rank, to) in enumerate((("0", "self"), ("1", "self"), ("0", "parent"))):
        when = f"{KINDS[KIND].task}.sums:{draw.randint(9, 17)}"  # two calls a step
        killed = server.run(arguments, [[rank, "send_signal", when, "SIGKILL", to], *faults])
        assert killed.status in (137, -signal.SIGKILL), killed.errors
        shown = READERS[logger](run) if cycle else {}
        assert_agree(shown, of_record(run))
        arguments = [f"resume={run}"]
    ended = server.run(arguments, faults)
    assert ended.status == 0, ended.errors

    steps = [line["step"] for line in lines(run)]
    assert steps == sorted(steps)
    assert len([s for s in steps if s == 30]) == 2  # a step's line and a validation's
    shown, recorded = READERS[logger](run), of_record(run)
    assert shown.keys() == recorded.keys()
    assert_agree(shown, recorded)
    assert lines(run) == lines(whole(KIND, 2))


@pytest.mark.timeout(200)
@pytest.mark.parametrize("logger", READERS)
def test_a_mirror_equals_the_record_after_three_kills(logger, server, text, whole, tmp_path):
    check(server, text, whole, tmp_path, logger)


@pytest.mark.timeout(200)
@pytest.mark.parametrize("how", ["raises", "hangs", "is absent"])
def test_a_mirror_that_fails_changes_no_bit(how, server, text, whole, tmp_path):
    run = tmp_path / "run"
    logger = "none" if how == "is absent" else "csv"
    arguments = [*overrides(KIND, run, text, ranks=2), f"logger={logger}"]

    ended = server.run(arguments, [["0", "break_mirror", how]])

    assert ended.status == 0, ended.errors
    if how != "is absent":
        assert "left behind" in ended.errors
    assert_same_run(whole(KIND, 2), run, but=("logger",))
