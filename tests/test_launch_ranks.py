"""Several processes for one run: how they begin, and how they end together."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from interruption import lines

from lmexp import launch_ranks
from lmexp.launch_ranks import LOST, run_ranks
from lmexp.recipe import main
from lmexp.run_folder import read_recipe

SMALL = [
    *("model=lstm", "model.d_model=16", "model.num_layers=1", "model.dropout=0.3"),
    *("data=text", "tokenizer=byte", "data.max_length=32", "data.batch_size=8"),
    *("trainer=debug", "trainer.max_steps=12", "trainer.validate_every_steps=6", "logger=none"),
]


@pytest.fixture
def ranks(monkeypatch, tmp_path):
    """Run programs in the place of ranks, and note which processes there were."""
    monkeypatch.setattr(launch_ranks, "END_SECONDS", 0.5)
    monkeypatch.setattr(launch_ranks, "OBEY_SECONDS", 0.5)
    begun: list[subprocess.Popen] = []

    def run(*programs: str) -> int:
        def start(rank, count, folder, meeting, allow_targets):
            with launch_ranks.words(meeting, rank).open("wb") as errors:
                begun.append(
                    subprocess.Popen([sys.executable, "-c", programs[rank]], stderr=errors)
                )
            return begun[-1]

        monkeypatch.setattr(launch_ranks, "_start", start)
        began = time.monotonic()
        status = run_ranks(tmp_path, len(programs), ())
        assert time.monotonic() - began < 8
        assert all(process.returncode is not None for process in begun)
        return status

    return run


SLEEP = "import time; time.sleep(60)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"


def end(status: int, words: str = "") -> str:
    return f"import sys; print({words!r}, file=sys.stderr); sys.exit({status})"


def die(number: int) -> str:
    return f"import os; os.kill(os.getpid(), {number})"


@pytest.mark.parametrize(
    ("programs", "status", "told"),
    [
        ((end(0), end(0)), 0, ""),
        ((end(1), end(1)), 1, ""),  # the first rank has said why
        ((SLEEP, end(2, "no such file")), 2, "no such file\nlmexp: rank 1 ended first, with exit"),
        ((DEAF, end(2, "gone")), 2, "gone"),
        ((end(LOST), die(9)), 137, "rank 1 ended first, killed by SIGKILL"),
        ((end(LOST), end(3, "a defect")), 3, "a defect"),
        ((die(9), SLEEP), 137, "rank 0 ended first, killed by SIGKILL, perhaps for want of memory"),
        ((end(143), end(143)), 143, ""),
    ],
)
def test_the_first_to_fail_ends_all_and_gives_the_status(programs, status, told, ranks, capfd):
    assert ranks(*programs) == status
    said = capfd.readouterr().err
    assert told in said
    assert bool(said) == bool(told)


def test_a_signal_reaches_every_rank(tmp_path):
    waits = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))\n"
        "open(sys.argv[1], 'w').close(); time.sleep(60)"
    )
    code = (
        "import subprocess, sys; from pathlib import Path; from lmexp import launch_ranks\n"
        "folder = Path(sys.argv[1])\n"
        "def start(rank, *rest):\n"
        f"    return subprocess.Popen([sys.executable, '-c', {waits!r}, folder / str(rank)],"
        " start_new_session=True)\n"
        "launch_ranks._start = start\n"
        "sys.exit(launch_ranks.run_ranks(folder, 2, ()))"
    )
    launcher = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    while not all((tmp_path / rank).exists() for rank in "01"):
        time.sleep(0.01)
    launcher.send_signal(signal.SIGTERM)

    assert launcher.wait(10) == 143


def test_a_second_signal_ends_ranks_that_do_not_answer(tmp_path):
    code = (
        "import subprocess, sys; from pathlib import Path; from lmexp import launch_ranks\n"
        "launch_ranks.OBEY_SECONDS = 0.5\n"
        "here = 'open(sys.argv[1], chr(119)).close(); time.sleep'\n"
        f"deaf = {DEAF!r}.replace('time.sleep', here)\n"
        "def start(rank, count, folder, *rest):\n"
        "    words = [sys.executable, '-c', 'import sys; ' + deaf, folder / str(rank)]\n"
        "    return subprocess.Popen(words, start_new_session=True)\n"
        "launch_ranks._start = start\n"
        "sys.exit(launch_ranks.run_ranks(Path(sys.argv[1]), 2, ()))"
    )
    launcher = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stderr=subprocess.PIPE, text=True
    )
    while not all((tmp_path / rank).exists() for rank in "01"):
        time.sleep(0.01)
    launcher.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    launcher.send_signal(signal.SIGTERM)  # so soon that it is the same request
    time.sleep(1.2)
    assert launcher.poll() is None
    launcher.send_signal(signal.SIGTERM)

    _, said = launcher.communicate(timeout=10)
    assert launcher.returncode == 143
    assert "have not ended 0 s after a second signal, and were killed: nothing had begun" in said


def test_two_ranks_train_what_one_trains(tmp_path):
    (tmp_path / "text.txt").write_text("the import statement binds a name in scope\n" * 60)
    recorded = {}
    for count in (1, 2):
        folder = tmp_path / str(count)
        own = [f"data.files={tmp_path / 'text.txt'}", f"trainer.devices={count}"]
        cut = ["trainer.micro_batches=2"] if count == 1 else []  # auto: one a rank
        assert main([*SMALL, *own, *cut, f"hydra.run.dir={folder}"]) == 0
        recorded[count] = lines(folder)
        assert read_recipe(folder)["trainer"]["micro_batches"] == 2

    assert [line["step"] for line in recorded[2]] == [line["step"] for line in recorded[1]]
    for one, two in zip(recorded[1], recorded[2], strict=True):
        for name, value in one.items():
            assert two[name] == pytest.approx(value, rel=1e-5), name
    assert json.loads((tmp_path / "2" / "summary.json").read_text())["status"] == "finished"


def test_more_devices_than_rows_are_refused(tmp_path, capsys):
    (tmp_path / "text.txt").write_text("the import statement\n" * 60)
    own = [f"data.files={tmp_path / 'text.txt'}", "trainer.devices=9"]

    assert main([*SMALL, *own, f"hydra.run.dir={tmp_path / 'run'}"]) == 2
    assert "9 devices cannot share the 8 sequences of a step" in capsys.readouterr().err
    assert not Path(tmp_path, "run").exists()


def test_a_rank_without_an_address_says_what_is_missing(monkeypatch, capsys):
    for name in ("MASTER_ADDR", "MASTER_PORT", launch_ranks.RENDEZVOUS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")

    assert main(["model=lstm"]) == 2
    said = capsys.readouterr().err
    assert "RANK=0 and WORLD_SIZE=2 but no MASTER_ADDR and no MASTER_PORT" in said


def test_a_sweep_under_torchrun_is_refused(monkeypatch, capsys):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")

    assert main(["-m", "seed=1,2"]) == 2
    assert "-m starts its runs itself" in capsys.readouterr().err


def test_the_environment_of_a_rank_names_nothing_of_another_launcher(monkeypatch, tmp_path):
    monkeypatch.setenv("MASTER_ADDR", "elsewhere")
    monkeypatch.setenv("GROUP_RANK", "3")

    found = launch_ranks.environment_of(1, 2, tmp_path)

    assert "MASTER_ADDR" not in found
    assert "GROUP_RANK" not in found
    assert (found["RANK"], found["WORLD_SIZE"], found["LOCAL_WORLD_SIZE"]) == ("1", "2", "2")
    assert found[launch_ranks.PARENT] == str(os.getpid())
