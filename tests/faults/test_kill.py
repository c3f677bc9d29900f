"""kill -9 at any moment, of any process of a run, changes no bit of what comes out of it."""

import json
import random
import signal
from collections import Counter
from pathlib import Path

import pytest
from interruption import assert_same_run
from kinds import EPOCH, KINDS, MICRO_BATCHES, overrides, turns

RANKS = (1, 2)
MOMENTS = (
    "the first step",
    "inside an accumulation window",
    "the last step of an epoch",
    "in a validation",
    "in a sample",
    "between log and save",
    "while saving",
    "between save and link",
    "between sums and update",
    "in the test",
)
OF_THE_FIRST = ("while saving", "between save and link")  # where the other ranks never come


def moment(name: str, task: str, ranks: int, draw: random.Random) -> str:
    """MODULE:CLASS.METHOD:N of a moment, N drawn from those that it may be."""
    a_step = MICRO_BATCHES // ranks  # micro-batches of a rank
    sums = {
        "the first step": draw.randint(1, a_step),
        "inside an accumulation window": draw.randint(1, 29) * a_step + draw.randint(2, a_step),
        "the last step of an epoch": EPOCH * draw.randint(1, 2) * a_step,
    }
    if name in sums:
        return f"{task}.sums:{sums[name]}"
    return {
        "in a validation": f"{task}.validation_step:{draw.randint(1, 4)}",
        "in a sample": f"{task}.sample:{draw.randint(1, 4)}",
        "between log and save": f"lmexp.keeping:Keeper.save:{draw.randint(1, 10)}",
        "while saving": f"lmexp.checkpoint:_seal:{draw.randint(1, 10)}",
        "between save and link": f"lmexp.keeping:Keeper._link:{draw.randint(1, 4)}",
        "between sums and update": f"lmexp.tasks.base:Task._update:{draw.randint(1, 29)}",
        "in the test": f"{task}.on_test_start:1",
    }[name]


def rows_by_step(file: Path) -> dict[tuple[int, int], list[int]]:
    """The rows of each step, of all ranks; of a step that was taken twice, the second time's."""
    last = {}
    for line in map(json.loads, file.read_text().splitlines()):
        last[line["epoch"], line["step"], line["rank"]] = line["rows"]
    steps: dict[tuple[int, int], list[int]] = {}
    for (epoch, step, _), rows in sorted(last.items()):
        steps.setdefault((epoch, step), []).extend(rows)
    return steps


def check(server, whole, text, folder: Path, kind: str, name: str, ranks: int, faults=()) -> None:
    """Kill a run at a moment, go on with it, and compare it with one that was left alone."""
    reference = whole(kind, ranks)
    draw = random.Random(f"{kind} {name} {ranks}")
    when = moment(name, KINDS[kind].task, ranks, draw)
    victims = ["0"] if name in OF_THE_FIRST else ["0", "1"]
    rank, target = draw.choice([*((rank, "self") for rank in victims), ("0", "parent")])
    if ranks == 1:
        rank, target = "launcher", "self"
    rows = ["all", "write_rows", str(folder / "rows.jsonl")]

    killed = server.run(
        overrides(kind, folder / "run", text, ranks=ranks),
        [rows, *faults, [rank, "send_signal", when, "SIGKILL", target]],
    )
    is_whole = ranks == 1 or target == "parent"
    assert killed.status == (-signal.SIGKILL if is_whole else 128 + signal.SIGKILL), killed.errors
    resumed = server.run([f"resume={folder / 'run'}"], [rows, *faults])
    assert resumed.status == 0, resumed.errors

    assert_same_run(reference, folder / "run")
    seen = rows_by_step(folder / "rows.jsonl")
    assert seen == rows_by_step(reference.parent / "rows.jsonl")
    for epoch in range(2):
        rows = [row for step in range(EPOCH) for row in seen[epoch, step]]
        assert set(Counter(rows).values()) == {1}


@pytest.mark.parametrize(("kind", "name", "ranks"), turns(MOMENTS, RANKS))
def test_killed_and_resumed_is_bitwise_the_uninterrupted_run(
    kind, name, ranks, server, whole, text, tmp_path
):
    check(server, whole, text, tmp_path, kind, name, ranks)


@pytest.mark.parametrize(
    "settings",
    [
        ["trainer.precision=bf16-mixed"],
        ["trainer.precision=bf16-true"],
        ["trainer.precision=32-true", "trainer.activation_checkpointing=true"],
    ],
)
@pytest.mark.parametrize("kind", ["lstm", "translation transformer"])
def test_a_kill_changes_no_bit_in_low_precision_either(kind, settings, server, text, tmp_path):
    for name, faults in (
        ("whole", []),
        ("killed", [["1", "send_signal", f"{KINDS[kind].task}.sums:35", "SIGKILL"]]),
    ):
        arguments = [*overrides(kind, tmp_path / name, text, ranks=2), *settings]
        ended = server.run(arguments, faults)
        assert ended.status == (137 if faults else 0), ended.errors
    resumed = server.run([f"resume={tmp_path / 'killed'}"])
    assert resumed.status == 0, resumed.errors

    assert_same_run(tmp_path / "whole", tmp_path / "killed")
