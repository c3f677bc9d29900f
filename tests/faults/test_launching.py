"""Runs of several ranks, started as users start them: no forks here, and no faults but kills."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from interruption import assert_same_run
from kinds import overrides

from lmexp.run_folder import RECIPE

CHECKOUT = Path(__file__).resolve().parents[2]
TRAIN = CHECKOUT / "train.py"
LAUNCHES = 50
OWN = {  # a decoder of the user's own: one Python file and one YAML
    "my_bag.py": """
from dataclasses import dataclass

from torch import nn


class Bag(nn.Module):
    def __init__(self, vocab, width):
        super().__init__()
        self.embed = nn.Embedding(vocab.size, width)
        self.output = nn.Linear(width, vocab.size, bias=False)

    def hidden(self, input_ids, attention_mask=None, document_ids=None):
        return self.embed(input_ids)

    def forward(self, input_ids, attention_mask=None, document_ids=None):
        return self.output(self.hidden(input_ids))


@dataclass(frozen=True)
class BagSizes:
    width: int

    def decoder(self, vocab):
        return Bag(vocab, self.width)
""",
    "my_conf/model/bag.yaml": "# @package model\n_target_: my_bag.BagSizes\nwidth: 8\n",
}
SMALL = [
    *("data=text", "data.max_length=16", "data.batch_size=4", "tokenizer=byte"),
    *("trainer.max_steps=6", "trainer.validate_every_steps=3", "task.sample_tokens=0"),
    *("trainer.precision=32-true", "trainer.threads=1"),
]


def command(arguments, *, through=()) -> list[str]:
    return [*map(str, through), str(TRAIN), *map(str, arguments)]


def cold(arguments, folder: Path) -> subprocess.CompletedProcess[str]:
    """`python train.py` with arguments, in a folder."""
    words = [sys.executable, *command(arguments)]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=280)


def processes_in(folder: Path) -> list[str]:
    """The command lines of processes whose working directory is a folder."""
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if link.readlink() == folder:
                found.append(link.with_name("cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


@pytest.fixture
def place(tmp_path: Path, text: Path) -> Path:
    """A folder with a text."""
    shutil.copy(text, tmp_path / "text.txt")
    return tmp_path


@pytest.mark.timeout(300)
def test_a_sweep_of_runs_with_two_ranks_each_makes_a_folder_a_job(place):
    sizes = ["model.d_model=8", "model.num_layers=1", "data.files=text.txt", *SMALL]
    swept = ["-m", "model=lstm,gru", "trainer=ddp", "trainer.devices=2"]

    done = cold([*swept, "logger=wandb", *sizes], place)

    assert done.returncode == 0, done.stderr
    (sweep,) = (place / "logs" / "sweeps").glob("*/*")
    jobs = [file.parent for file in sweep.glob("*/job.json")]
    assert len(jobs) == 2
    for job in jobs:
        assert json.loads((job / "summary.json").read_text())["status"] == "finished"
        assert len(list((job / "wandb").glob("offline-run-*"))) == 1
    assert len({json.loads((job / "wandb.json").read_text())["id"] for job in jobs}) == 2
    assert not list((place / "logs").glob("runs/*/*"))
    assert not processes_in(place)


def check_launches(server, text, folder: Path, faults=()) -> None:
    """Fifty runs begun at once, of which each ends as soon as it has its folder."""
    sizes = ["model=rnn", "model.d_model=8", f"data.files={text}", *SMALL, "name=many"]
    stop = ["launcher", "end_with_folder"]

    began = [server.start(sizes, [stop, *faults], directory=folder) for _ in range(LAUNCHES)]
    ended = [run.wait() for run in began]

    assert [run.status for run in ended] == [0] * LAUNCHES, ended[0].errors
    taken = [run.output.strip() for run in ended]
    assert len(set(taken)) == LAUNCHES
    assert sorted(taken) == sorted(map(str, (folder / "logs/runs/many").iterdir()))


def test_fifty_launches_in_a_second_take_fifty_folders(server, text, tmp_path):
    check_launches(server, text, tmp_path)


@pytest.mark.parametrize("way", [pytest.param("two ranks", marks=pytest.mark.slow), "a sweep"])
def test_an_architecture_of_the_users_own_trains(way, place):
    for name, content in OWN.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(content)
    own = ["--config-dir", "my_conf", "--allow-targets", "my_bag", "model=bag"]
    ways = {"two ranks": ["trainer.devices=2"], "a sweep": ["-m", "seed=1,2", "trainer.devices=2"]}

    done = cold([*ways[way], *own, "data.files=text.txt", "logger=none", *SMALL], place)

    assert done.returncode == 0, done.stderr
    summaries = list((place / "logs").glob("*/*/**/summary.json"))
    assert len(summaries) == (2 if way == "a sweep" else 1)
    assert all(json.loads(file.read_text())["status"] == "finished" for file in summaries)


def wait_for(file: Path, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while not file.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("kind", "number", "status"),
    [
        ("lstm", signal.SIGTERM, 143),
        ("translation transformer", signal.SIGKILL, -signal.SIGKILL),
        pytest.param("lstm", signal.SIGKILL, -signal.SIGKILL, marks=pytest.mark.slow),
        pytest.param("translation transformer", signal.SIGTERM, 143, marks=pytest.mark.slow),
    ],
)
def test_cold_started_ranks_end_with_their_launcher_and_go_on(
    kind, number, status, place, text, whole
):
    run = place / "run"
    arguments = overrides(kind, run, text, ranks=2)
    words = [sys.executable, *command(arguments)]
    launcher = subprocess.Popen(words, cwd=place, stdout=subprocess.DEVNULL)
    wait_for(run / "checkpoints" / "previous.ckpt", launcher)
    launcher.send_signal(number)
    assert launcher.wait(10) == status
    deadline = time.monotonic() + 5
    while processes_in(place) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not processes_in(place)

    done = cold([f"resume={run}"], place)
    assert done.returncode == 0, done.stderr
    assert_same_run(whole(kind, 2), run)


def test_torchrun_trains_the_same_run(place, text, whole):
    torchrun = [Path(sys.executable).with_name("torchrun"), "--nproc-per-node", "2"]
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(
        command(overrides("transformer", place / "run", text, ranks=2), through=torchrun),
        cwd=place,
        capture_output=True,
        text=True,
        env=environment,
    )

    assert done.returncode == 0, done.stderr
    assert_same_run(whole("transformer", 2), place / "run")
    assert (place / "run" / RECIPE).read_text() == (whole("transformer", 2) / RECIPE).read_text()


def test_another_number_of_devices_than_torchrun_started_is_refused(place, text):
    torchrun = [Path(sys.executable).with_name("torchrun"), "--nproc-per-node", "2"]
    done = subprocess.run(
        command(overrides("lstm", place / "run", text, ranks=3), through=torchrun),
        cwd=place,
        capture_output=True,
        text=True,
        env={**os.environ, "GLOO_SOCKET_IFNAME": "lo"},
    )

    assert done.returncode != 0
    assert "trainer.devices=3, and the launcher has started 2 processes" in done.stderr


def test_two_runs_told_to_use_one_folder(server, text, tmp_path):
    arguments = overrides("lstm", tmp_path / "run", text, ranks=2)

    both = [server.start(arguments), server.start(arguments)]
    statuses = sorted(run.wait().status for run in both)

    assert statuses == [0, 2]
    refused = next(run.wait() for run in both if run.wait().status == 2)
    assert "is there and not empty" in refused.errors
