"""Long runs, late resumes and what reads the data: nothing grows, nothing waits, nothing hangs."""

import json
import random
import signal
import statistics
import time
from pathlib import Path

import pytest
from kinds import KINDS, overrides

from lmexp.build import build_data
from lmexp.recipe import compose
from lmexp.targets import build

STEPS = 5_000
CYCLES = 20
WARM = 500  # steps
EVERY = 50


def quick(folder: Path, text: Path, steps: int) -> list[str]:
    """Many short steps, on two ranks, with all that a step has."""
    return [
        *overrides("lstm", folder, text, ranks=2, steps=steps),
        *("model.num_layers=1", "model.d_model=8", "trainer.micro_batches=2"),
        *("trainer.validate_every_steps=1000", "trainer.checkpoint_every_steps=100"),
    ]


def noted(file: Path) -> list[dict[str, int]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def check_growth(server, text, folder: Path, faults=()) -> None:
    """Memory and open files of a rank over 5,000 steps."""
    note = ["0", "note_memory", str(folder / "memory"), EVERY]
    ended = server.start(quick(folder / "run", text, STEPS), [note, *faults]).wait(200)
    assert ended.status == 0, ended.errors
    warm = [line for line in noted(folder / "memory") if line["step"] >= WARM]
    assert len(warm) > 80
    first, last = warm[: len(warm) // 4], warm[-len(warm) // 4 :]
    before, after = (statistics.median(line["bytes"] for line in part) for part in (first, last))
    assert after <= 1.02 * before
    assert max(line["files"] for line in last) <= max(line["files"] for line in first)


@pytest.mark.timeout(280)
def test_memory_and_open_files_do_not_grow_in_5000_steps(server, text, tmp_path):
    check_growth(server, text, tmp_path)


@pytest.mark.timeout(280)
def test_memory_and_open_files_do_not_grow_over_20_kills(server, text, tmp_path):
    draw = random.Random(0)
    arguments = quick(tmp_path / "run", text, STEPS)
    at_step = []
    for cycle in range(CYCLES):
        file = tmp_path / f"memory-{cycle}"
        when = f"{KINDS['lstm'].task}.sums:{draw.randint(202, 260)}"
        kill = [draw.choice("01"), "send_signal", when, "SIGKILL"]
        killed = server.run(arguments, [["0", "note_memory", str(file), EVERY], kill])
        assert killed.status == 128 + signal.SIGKILL, killed.errors
        at_step.append(noted(file)[2])  # of the session's steps, the same in each
        arguments = [f"resume={tmp_path / 'run'}"]

    first, last = at_step[1:6], at_step[-5:]  # the very first reads no checkpoint
    before, after = (statistics.median(line["bytes"] for line in part) for part in (first, last))
    assert after <= 1.02 * before
    assert len({line["files"] for line in at_step}) == 1


def check_seek(kind: str, text: Path) -> float:
    """Seconds from a position to its step."""
    recipe = compose(overrides(kind, text.parent / "no run", text)[:-1])
    data = build_data(recipe, build(recipe["tokenizer"]))
    data.prepare(splits=("train",))
    began = time.perf_counter()
    data.start_at(divmod(1_000_000, data.steps_per_epoch))
    step = next(iter(data.train_dataloader()))
    took = time.perf_counter() - began
    assert step.epoch * data.steps_per_epoch + step.step == 1_000_000
    return took


@pytest.mark.parametrize("kind", KINDS)
def test_the_millionth_step_is_found_at_once(kind, text):
    assert check_seek(kind, text) < 0.5


@pytest.mark.parametrize("kind", ["lstm", "translation transformer"])
@pytest.mark.parametrize(
    ("how", "status", "message"),
    [
        ("raise", 2, "the disk is gone (in a process that data.num_workers= started)"),
        ("kill", 1, "data.num_workers=0 reads without such"),
    ],
)
def test_a_worker_that_fails_ends_all_ranks_and_the_run_goes_on(
    kind, how, status, message, server, text, whole, tmp_path
):
    from interruption import assert_same_run

    run = tmp_path / "run"
    arguments = [*overrides(kind, run, text, ranks=2), "data.num_workers=1"]

    began = time.monotonic()
    ended = server.run(arguments, [["1", "fail_in_worker", how, 9]])
    took = time.monotonic() - began

    assert ended.status == status, ended.errors
    assert message in ended.errors
    assert "Traceback" not in ended.errors
    assert took < 40
    resumed = server.run([f"resume={run}", "data.num_workers=0"])
    assert resumed.status == 0, resumed.errors
    assert_same_run(whole(kind, 2), run)
