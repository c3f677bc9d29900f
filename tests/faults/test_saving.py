"""A kill, a full disk, a bad disk: no wrong checkpoint under a final name is taken for good."""

import random
import signal
import tempfile
from pathlib import Path

import pytest
from interruption import assert_same_run
from kinds import overrides

from lmexp import checkpoint as checkpoints

KILLS = 50
PLACES = 20
ANOTHER_FILESYSTEM = Path("/dev/shm")
WHERE = ("writing", "lmexp.checkpoint:_seal", "lmexp.atomic:sync", "lmexp.keeping:rotate")
WHERE += ("lmexp.keeping:Keeper._link", "lmexp.keeping:Keeper._keep_newest")


def is_same_filesystem(folder: Path) -> bool:
    """Whether a folder lies where the tests' own do."""
    return folder.stat().st_dev == Path(tempfile.gettempdir()).stat().st_dev


def check_kill(server, text, whole, folder: Path, trial: int, faults=()) -> None:
    """Kill the process that saves, and go on."""
    draw = random.Random(trial)
    where, save = draw.choice(WHERE), draw.randint(1, 10)
    kill = ["0", "send_signal", f"{where}:{save}", "SIGKILL"]
    if where == "writing":
        kill = ["0", "kill_while_writing", save, draw.random()]
    run = folder / "run"
    elsewhere = {"TMPDIR": str(ANOTHER_FILESYSTEM)}

    killed = server.run(
        overrides("translation lstm", run, text, ranks=2), [kill, *faults], elsewhere
    )
    assert killed.status == 128 + signal.SIGKILL, killed.errors
    for file in (run / "checkpoints").glob("[!.]*.ckpt"):
        checkpoints.read(file)
    again = [f"resume={run}"]
    if not run.exists():  # given back: nothing had been recorded
        again = overrides("translation lstm", run, text, ranks=2)
    resumed = server.run(again, faults, elsewhere)
    assert resumed.status == 0, resumed.errors

    assert_same_run(whole("translation lstm", 2), run)
    left = [path.name for path in run.rglob("*") if "tmp" in path.name or "newest" in path.name]
    assert not left


@pytest.mark.skipif(
    not ANOTHER_FILESYSTEM.is_dir() or is_same_filesystem(ANOTHER_FILESYSTEM),
    reason="there is no second filesystem at /dev/shm",
)
@pytest.mark.parametrize("trial", range(KILLS))
def test_killed_while_saving_leaves_no_unreadable_file(trial, server, text, whole, tmp_path):
    check_kill(server, text, whole, tmp_path, trial)


def damaged(content: bytes, how: str, place: int) -> bytes:
    """A file cut short, or with one bit turned, at one of PLACES places."""
    offset = min(len(content) - 1, round(place / (PLACES - 1) * len(content)))
    if how == "cut":
        return content[:offset]
    return content[:offset] + bytes([content[offset] ^ 1 << place % 8]) + content[offset + 1 :]


def check_damage(run: Path, how: str, place: int) -> None:
    """The newest checkpoint is damaged: the one before is taken, loudly."""
    last = run / "checkpoints" / "last.ckpt"
    whole = last.read_bytes()
    warnings: list[str] = []
    last.write_bytes(damaged(whole, how, place))
    try:
        found = checkpoints.newest_good(run, warnings.append)
    finally:
        last.write_bytes(whole)
    assert found == run / "checkpoints" / "previous.ckpt"
    assert len(warnings) == 1
    assert str(last) in warnings[0]
    assert "falling back" in warnings[0]


@pytest.mark.parametrize("place", range(PLACES))
@pytest.mark.parametrize("how", ["cut", "flip"])
def test_a_damaged_newest_checkpoint_is_passed_over(how, place, whole):
    check_damage(whole("lstm", 1), how, place)


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_run_goes_on_from_the_newest_good_checkpoint(ranks, server, text, whole, tmp_path):
    run = tmp_path / "run"
    stop = [["all", "stop_after", 14]]
    assert server.run(overrides("lstm", run, text, ranks=ranks), stop).status == 143
    last = run / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:-100])

    resumed = server.run([f"resume={run}"])

    assert resumed.status == 0, resumed.errors
    assert resumed.errors.count("falling back to the next older one") == 1
    assert_same_run(whole("lstm", ranks), run)


@pytest.mark.parametrize("ranks", [1, 2])
def test_where_no_checkpoint_is_good_nothing_begins_anew(ranks, server, text, tmp_path):
    run = tmp_path / "run"
    stop = [["all", "stop_after", 14]]
    assert server.run(overrides("lstm", run, text, ranks=ranks), stop).status == 143
    record = (run / "metrics.jsonl").read_bytes()
    for file in (run / "checkpoints").glob("*.ckpt"):
        file.write_bytes(file.read_bytes()[:-100])

    resumed = server.run([f"resume={run}"])

    assert resumed.status == 2
    assert "is whole: the run cannot be resumed" in resumed.errors
    assert "Traceback" not in resumed.errors
    assert (run / "metrics.jsonl").read_bytes() == record


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_full_disk_ends_the_run_and_it_goes_on_when_there_is_room(
    ranks, server, text, whole, tmp_path
):
    run = tmp_path / "run"
    who = "launcher" if ranks == 1 else "0"

    full = server.run(overrides("lstm", run, text, ranks=ranks), [[who, "fill_disk", 4]])

    assert full.status == 2, full.errors
    assert "No space left on device" in full.errors
    assert "Traceback" not in full.errors
    resumed = server.run([f"resume={run}"])
    assert resumed.status == 0, resumed.errors
    assert_same_run(whole("lstm", ranks), run)
