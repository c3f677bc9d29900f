"""Jobs that submitit hands to Slurm; its commands are small scripts here."""

import os
import subprocess
from pathlib import Path

import pytest

from lmexp.sweep.launchers import check_launcher
from lmexp.sweep.manifest import Job, Manifest
from lmexp.sweep.submitit_launcher import Submitit, executor
from lmexp.sweep.watch import Task

LOCALLY = {"launcher": "submitit", "minutes": None, "options": {}}  # there is no Slurm here


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"slurm_partion": "gpu"}, "slurm_partion"),
        ({"timeout_min": "long"}, "timeout_min"),
        ({"slurm_setup": "module load gcc"}, "is no list of lines"),
    ],
)
def test_options_that_submitit_does_not_take_are_refused_before_there_is_a_sweep(options, message):
    with pytest.raises(ValueError, match=rf"^sweep\.options=.*: submitit: .*{message}"):
        check_launcher({**LOCALLY, "options": options})


def test_a_job_has_no_limit_but_its_own_on_this_machine(tmp_path):
    assert executor(LOCALLY, tmp_path, "a").parameters["timeout_min"] >= 365 * 24 * 60
    limited = executor({**LOCALLY, "minutes": 9.5}, tmp_path, "a")
    assert limited.parameters["timeout_min"] == 15  # and five to save and end


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Commands of Slurm; sbatch keeps what it was given."""
    there = tmp_path / "bin"
    there.mkdir()
    for name, does in {"srun": "true", "sbatch": f"cp $1 {tmp_path}/given; echo job 7"}.items():
        (there / name).write_text(f"#!/bin/sh\n{does}\n")
        (there / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{there}:{os.environ['PATH']}")
    return tmp_path / "given"


def test_slurm_gives_a_job_the_cores_that_it_was_given_and_the_frozen_code(slurm, tmp_path):
    (slurm.parent / "bin" / "sbatch").write_text(
        f"#!/bin/sh\ncp $1 {slurm}; echo $PYTHONPATH > {slurm}.path; echo job 7\n"
    )
    (tmp_path / "sweep" / "code").mkdir(parents=True)
    options = {"cpus_per_task": 8, "slurm_setup": ["module load gcc"], "gpus_per_node": 1}
    settings = {**LOCALLY, "minutes": 5, "options": options}
    task = Task(Job("0", []), str(tmp_path / "sweep"), str(tmp_path), 5, None, False, {})

    Submitit(Manifest(tmp_path / "sweep", [], settings, "")).submit(task)

    given = slurm.read_text()
    assert "#SBATCH --cpus-per-task=8\n" in given
    assert "-P -u -m submitit" in given
    assert "\nmodule load gcc\n" in given
    setup = given.partition("# setup\n")[2].partition("\n")[0]
    for cores in ("8", ""):  # without the option there is nothing to hand on
        told = subprocess.run(
            ["sh", "-uc", f"{setup}; echo ${{SRUN_CPUS_PER_TASK-none}}"],
            env={"SLURM_CPUS_PER_TASK": cores} if cores else {},
            capture_output=True,
            text=True,
            check=True,
        )
        assert told.stdout.strip() == (cores or "none")
    assert Path(f"{slurm}.path").read_text().split(":")[0] == str(tmp_path / "sweep" / "code")


@pytest.mark.parametrize("option", ["gpus_per_node", "local_gpus_per_node"])
def test_gpus_that_every_job_would_be_given_are_refused(option):
    with pytest.raises(ValueError, match=r"no Slurm here, .* write sweep\.launcher=local, which"):
        check_launcher({**LOCALLY, "options": {option: 1}})


def test_slurm_is_told_how_long_a_job_may_take(slurm, tmp_path):
    with pytest.raises(ValueError, match=r"Slurm has to know how long .* write sweep\.minutes=…$"):
        check_launcher(LOCALLY)

    for settings, minutes in (
        ({"minutes": 60.0}, 65),
        ({"options": {"timeout_min": 7}}, 7),
        ({"options": {"slurm_time": 8}}, 8),
    ):
        executor({**LOCALLY, **settings}, tmp_path / "submitit", "mine").submit(print)
        assert f"#SBATCH --time={minutes}\n" in slurm.read_text()


def test_a_queue_that_refuses_a_job_is_told_in_one_line(slurm, tmp_path):
    (slurm.parent / "bin" / "sbatch").write_text(
        "#!/bin/sh\necho QOSMaxSubmitJobLimit >&2; exit 1\n"
    )
    settings = {**LOCALLY, "minutes": 5}
    task = Task(Job("0", []), str(tmp_path), str(tmp_path), 5, None, False, {})

    with pytest.raises(
        ValueError, match=rf"(?s)^0 is refused by sbatch \(.*QOSMax.* {tmp_path} go"
    ):
        Submitit(Manifest(tmp_path / "sweep", [], settings, "")).submit(task)
