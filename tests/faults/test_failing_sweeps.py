"""A sweep of jobs that fail in every way, killed again and again: nothing is lost or done twice."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from interruption import flat
from test_launching import SMALL, TRAIN, processes_in

from lmexp import checkpoint as checkpoints

NETWORK = '''
"""A decoder of the user's own that does what it is told, in its second step."""

import math
import os
import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

GAIN = 1.0


class Bag(nn.Module):
    def __init__(self, vocab, width, misdeed):
        super().__init__()
        self.embed = nn.Embedding(vocab.size, width)
        self.output = nn.Linear(width, vocab.size, bias=False)
        self.misdeed, self.calls = misdeed, 0

    def hidden(self, input_ids, attention_mask=None, document_ids=None):
        self.calls += self.training
        if self.training and self.calls >= 2:
            getattr(self, self.misdeed)()
        return GAIN * self.embed(input_ids)

    def forward(self, input_ids, attention_mask=None, document_ids=None):
        return self.output(self.hidden(input_ids))

    def nothing(self):
        pass

    def overflow(self):
        with torch.no_grad():
            self.output.weight.fill_(math.nan)

    def kill(self):
        os.kill(os.getpid(), signal.SIGKILL)

    def hang(self):
        time.sleep(3600)

    def memory(self):
        raise MemoryError("out of memory: 80 GiB were asked for")

    def state(self):
        torch.manual_seed(99)
        random.seed(99)
        os.environ["OMP_NUM_THREADS"] = "7"
        torch.set_num_threads(3)
        Path("state").touch()


@dataclass(frozen=True)
class BagSizes:
    width: int
    misdeed: str

    def decoder(self, vocab):
        return Bag(vocab, self.width, self.misdeed)
'''
CONFIG = "# @package model\n_target_: misdeeds.BagSizes\nwidth: 8\nmisdeed: nothing\n"
SWEPT = ["model.misdeed=state,nothing,overflow,kill,hang,memory", "seed=1,2"]
OWN = ["--config-dir", "my_conf", "--allow-targets", "misdeeds", "model=bag", "logger=none"]
EXPECTED = {
    "state": ("finished", None),
    "nothing": ("finished", None),
    "overflow": ("failed", "not finite"),
    "kill": ("failed", "killed"),
    "hang": ("failed", "hung"),
    "memory": ("failed", "out of memory"),
}


@pytest.fixture
def place(tmp_path: Path, text: Path) -> Path:
    """A folder with a text, a network of the user's and its configuration file."""
    shutil.copy(text, tmp_path / "text.txt")
    (tmp_path / "misdeeds.py").write_text(NETWORK)
    (tmp_path / "my_conf" / "model").mkdir(parents=True)
    (tmp_path / "my_conf" / "model" / "bag.yaml").write_text(CONFIG)
    return tmp_path


def begin(place: Path, *arguments: str) -> "subprocess.Popen[str]":
    words = [sys.executable, *arguments]
    return subprocess.Popen(
        words, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def jobs(place: Path) -> list[dict]:
    """As the jobs' own folders tell them."""
    files = sorted(place.glob("logs/sweeps/*/*/*/job.json"))
    return [json.loads(file.read_text()) for file in files]


def wait_for(place: Path, ended: int, sweep: "subprocess.Popen[str]") -> None:
    """Until so many jobs have ended and the next one has taken a step."""
    deadline = time.monotonic() + 200
    while True:
        done = [job for job in jobs(place) if job["status"] not in ("waiting", "running")]
        if len(done) >= ended and any(job["status"] == "running" for job in jobs(place)):
            return
        assert sweep.poll() is None, sweep.communicate()
        assert time.monotonic() < deadline, jobs(place)
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twelve_jobs_that_fail_in_every_way_under_three_kills(place):
    typed = ["data.files=text.txt", *SMALL, *OWN, "sweep.silent_minutes=0.1", "sweep.name=bad"]
    sweep = begin(place, str(TRAIN), "-m", *SWEPT, *typed)
    first: list[dict] = []
    for kill, ended in enumerate((1, 3, 4)):
        wait_for(place, ended, sweep)
        sweep.kill()
        sweep.communicate()
        if kill == 0:
            first = [job for job in jobs(place) if job["status"] == "finished"]
            (place / "misdeeds.py").write_text(NETWORK.replace("GAIN = 1.0", "GAIN = 3.0"))
            (place / "my_conf" / "model" / "bag.yaml").write_text(CONFIG.replace("8", "16"))
        sweep = begin(place, "-m", "lmexp", "sweep", "resume", "bad")
    _, errors = sweep.communicate(timeout=600)

    assert sweep.returncode == 1, errors
    found = jobs(place)
    assert len(found) == 12
    for job in found:
        misdeed = job["overrides"][0].partition("=")[2]
        assert (job["status"], job["cause"]) == EXPECTED[misdeed], job
    assert [job for job in found if job in first] == first  # what had finished was not run again
    assert not processes_in(place)
    assert_equal_to_runs_alone(place)


def assert_equal_to_runs_alone(place: Path) -> None:
    """Weights of finished jobs, and of their recipes run by themselves with the code as it was."""
    (place / "misdeeds.py").write_text(NETWORK)
    for folder in place.glob("logs/sweeps/bad/*/*misdeed-nothing*"):
        alone = place / "alone" / folder.name
        words = [sys.executable, "-m", "lmexp", "run", str(folder / "recipe.yaml")]
        words += ["--folder", str(alone), "--allow-targets", "misdeeds"]
        done = subprocess.run(words, cwd=place, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        ours, theirs = (
            flat(checkpoints.read(run / "checkpoints" / "last.ckpt")["state_dict"])
            for run in (folder, alone)
        )
        assert ours.keys() == theirs.keys()
        assert all((ours[name] == theirs[name]).all() for name in ours)
