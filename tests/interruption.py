"""What tests of resume= share: a run that is interrupted, and two runs that have to be equal."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from lmexp import checkpoint as checkpoints
from lmexp.example_scores import read_scores

TIMES = (
    "seconds",
    "training_seconds",
    "train/tokens_per_second",
    "train/step_seconds",
    "train/data_wait_share",
)
TIMES += ("train/flops_utilisation", "train/peak_memory_bytes")


def lines(folder: Path) -> list[dict]:
    """The record, without what a clock decides."""
    text = (folder / "metrics.jsonl").read_text()
    return [
        {key: value for key, value in json.loads(line).items() if key not in TIMES}
        for line in text.splitlines()
    ]


def flat(value, path="") -> dict[str, object]:
    """Leaves of nested dicts and lists by path."""
    if isinstance(value, dict):
        return {k: v for key in value for k, v in flat(value[key], f"{path}/{key}").items()}
    if isinstance(value, list | tuple):
        return {k: v for n, part in enumerate(value) for k, v in flat(part, f"{path}/{n}").items()}
    return {path: value}


def assert_same_run(left: Path, right: Path, but: tuple[str, ...] = ()) -> None:
    """Checkpoints, record and what came of the run are equal, the clock aside.

    Sections of the recipe named in `but` may differ.
    """
    names = [sorted(path.name for path in (run / "checkpoints").iterdir()) for run in (left, right)]
    assert names[0] == names[1]
    for name in ("last.ckpt", "best.ckpt"):
        assert_same_checkpoint(left / "checkpoints" / name, right / "checkpoints" / name, but)
    assert lines(left) == lines(right)
    ours, theirs = (json.loads((run / "summary.json").read_text()) for run in (left, right))
    for key, value in ours.items():
        if key.startswith(("best/", "test/", "sample", "stopped")):
            assert value == theirs[key], key
    assert [(run / "scores").exists() for run in (left, right)] in ([True] * 2, [False] * 2)
    if (left / "scores").exists():
        assert_same_scores(left, right)


def assert_same_scores(left: Path, right: Path) -> None:
    """What the tests found of each example is equal."""
    ours, theirs = (read_scores(run).scores for run in (left, right))
    assert ours.metrics == theirs.metrics
    np.testing.assert_array_equal(ours.keys, theirs.keys)
    assert ours.statistics.keys() == theirs.statistics.keys()
    for name, own in ours.statistics.items():
        np.testing.assert_array_equal(own, theirs.statistics[name], err_msg=name)


def assert_same_checkpoint(left: Path, right: Path, but: tuple[str, ...] = ()) -> None:
    ours, theirs = (
        {
            key: value
            for key, value in flat(checkpoints.read(file)).items()
            if not key.startswith(tuple(f"/recipe/{section}/" for section in but))
        }
        for file in (left, right)
    )
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        if "seconds" in key:
            continue
        same = torch.equal(value, theirs[key]) if torch.is_tensor(value) else value == theirs[key]
        assert same, key


def interrupted(moment: str, number: str, arguments: list[str]) -> int:
    """The exit status of a run that is sent a signal at a moment."""
    program = Path(__file__).with_name("killed.py")
    command = [sys.executable, str(program), moment, number, *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, check=False, capture_output=True).returncode
