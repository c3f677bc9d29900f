"""The batch file of `lmexp slurm`, carried out by stand-ins for srun and scontrol."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lmexp import launchers
from lmexp.__main__ import main

TRAIN = Path(__file__).resolve().parent.parent / "train.py"
SMALL = [
    *("model=rnn", "model.d_model=8", "tokenizer=byte", "data.max_length=16", "data.batch_size=4"),
    *("data.batch_tokens=null", "trainer=debug", "trainer.devices=2", "trainer.max_steps=40"),
    *("trainer.validate_every_steps=20", "trainer.checkpoint_every_steps=1", "logger=none"),
    *("data=text", "data.files=text.txt", "task.sample_tokens=0", "trainer.micro_batches=2"),
]
SRUN = """#!/bin/bash
# Two tasks on one node, as srun starts them; the first status that is not 0 ends all.
shift  # --kill-on-bad-exit=1
echo $$ > step
export SLURM_STEP_ID=0 SLURM_STEP_NUM_TASKS=2 SLURM_STEP_TASKS_PER_NODE=2 SLURM_NODEID=0
SLURM_PROCID=0 SLURM_LOCALID=0 "$@" & first=$!
SLURM_PROCID=1 SLURM_LOCALID=1 "$@" & second=$!
trap 'kill -TERM $first $second' TERM
wait $first; wait $first; status=$?
wait $second
exit $status
"""
SCONTROL = """#!/bin/bash
if [ "$1" = show ]; then echo 127.0.0.1; else echo "$@" >> requeued; fi
"""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with text, and the stand-ins first on PATH."""
    (tmp_path / "text.txt").write_text("the import statement binds a name in scope\n" * 60)
    (tmp_path / "bin").mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", str(os.getpid()))
    monkeypatch.setenv("SLURM_JOB_NODELIST", "here")
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_a_preempted_job_is_requeued_and_goes_on_in_the_same_folder(cluster, capsys):
    command = f"{sys.executable} {TRAIN}"
    assert main(["slurm", *SMALL, "--command", command]) == 0
    (cluster / "job.sh").write_text(capsys.readouterr().out)
    folder = cluster / "logs/runs/rnn-text" / f"slurm-{os.getpid()}"

    job = subprocess.Popen(["bash", "job.sh"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while not (folder / "checkpoints" / "last.ckpt").exists():
        assert job.poll() is None
        time.sleep(0.01)
    os.kill(int((cluster / "step").read_text()), signal.SIGTERM)  # SLURM signals steps, not shells
    errors = job.communicate()[1].decode()

    assert job.returncode == 143, errors
    assert (cluster / "requeued").read_text() == f"requeue {os.getpid()}\n"
    assert json.loads((folder / "summary.json").read_text())["status"] == "stopped"
    again = subprocess.run(["bash", "job.sh"], capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["status"], summary["step"]) == ("finished", 40)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model=lstm"], "write trainer.devices=<GPUs of a node>"),
        (["trainer.devices=2", "resume=x"], "leave resume="),
        (["trainer.devices=2", "model.num_layerz=2"], "num_layers"),
        (["trainer.devices=2", "--time", "8h"], "write 08:00:00"),
        (["trainer.devices=2", "--nodes", "0"], "a whole number above 0"),
        (["trainer.devices=2", "--sbatch=partition=x"], "write --sbatch=--partition=long"),
        (["trainer.devices=2", "--sbatch=--nodes=4"], "the file says --nodes itself"),
    ],
)
def test_what_cannot_run_is_refused(arguments, message, capsys):
    try:
        status = main(["slurm", *arguments])
    except SystemExit as ending:
        status = ending.code

    assert status == 2
    assert message in capsys.readouterr().err


def test_unequal_nodes_are_refused(monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "3")
    monkeypatch.setenv("SLURM_STEP_TASKS_PER_NODE", "2,1")

    with pytest.raises(ValueError, match="every node needs as many"):
        launchers.adopt_slurm()


def test_a_batch_script_without_srun_is_one_process(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "SLURM_STEP_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("SLURM_NTASKS", "8")

    assert not launchers.is_started_by_another()
