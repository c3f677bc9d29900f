"""`lmexp sync`: wandb's own `wandb sync` against a server on the loopback interface."""

import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from test_mirrors import known_id, no_account, wandb_mirror, write_and_close
from wandb_uploads import serving

from lmexp.__main__ import main
from lmexp.record import Record
from lmexp.run_folder import write_recipe
from lmexp.sweep.manifest import Job, Manifest
from lmexp.sync import mirrored

__all__ = ["no_account"]  # a fixture

RECIPE = {"name": "lstm-text", "model": {"cell": "lstm", "d_model": 8}}


@pytest.fixture
def server(no_account, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with serving() as running:
        monkeypatch.setenv("WANDB_BASE_URL", running.url)
        monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
        monkeypatch.setenv("WANDB_MODE", "offline")
        yield running


def run_at(folder, steps=(1, 2)):
    """A run that was mirrored offline."""
    folder.mkdir(parents=True)
    write_recipe(RECIPE, folder)
    write_and_close(folder, [wandb_mirror()], list(steps), recipe=RECIPE)
    return folder


def killed_in(folder, has_lost):
    """The state as a kill leaves it: wandb.json knows of steps that are not on the disk."""
    (session,) = folder.glob("wandb/offline-run-*")
    state = {"id": known_id(folder), "last_step": has_lost}
    state |= {"session": session.name, "session_after": -1}
    (folder / "wandb.json").write_text(json.dumps(state))


@pytest.mark.timeout(300)
def test_a_resumed_run_is_one_run_with_each_step_once(server, tmp_path, capsys):
    run = run_at(tmp_path / "logs/runs/a/1", [10, 20, 30])
    time.sleep(1.1)  # the offline folder is named after the second
    write_and_close(run, [wandb_mirror()], [20, 30, 40, 50], cut_back=10, recipe=RECIPE)

    assert main(["sync"]) == 0

    ((name, sent),) = server.runs.items()
    assert name == known_id(run)
    assert [row["_step"] for row in sent.history()] == [10, 20, 30, 40, 50]
    assert [row["train/loss"] for row in sent.history()] == [1 / s for s in (10, 20, 30, 40, 50)]
    assert sent.summary()["step"] == 50
    assert f"logs/runs/a/1: uploaded: {server.url}/" in capsys.readouterr().out

    assert main(["sync", str(run)]) == 0
    assert capsys.readouterr().out == f"{run}: already uploaded\n"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_session_after_an_uploaded_one_is_added_to_it(server, tmp_path):
    run = run_at(tmp_path / "run", [10, 20])
    assert main(["sync", str(run), "--project", "mine", "--entity", "us"]) == 0
    time.sleep(1.1)
    write_and_close(run, [wandb_mirror()], [20, 30], cut_back=10, recipe=RECIPE)

    assert main(["sync", str(run), "--project", "mine"]) == 0

    (sent,) = server.runs.values()
    assert [row["_step"] for row in sent.history()] == [10, 20, 30]
    assert sent.record["project"] == "mine"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_after_a_kill_what_was_not_on_the_disk_follows_with_the_resume(server, tmp_path):
    run = run_at(tmp_path / "run", [10, 20])
    record = Record(run, [])
    record.write(30, {"train/loss": 1 / 30})  # which W&B held in memory
    record.close("stopped")
    killed_in(run, has_lost=30)

    assert main(["sync", str(run)]) == 0
    time.sleep(1.1)
    write_and_close(run, [wandb_mirror()], [40], recipe=RECIPE)
    assert main(["sync", str(run)]) == 0

    (sent,) = server.runs.values()
    assert [row["_step"] for row in sent.history()] == [10, 20, 30, 40]


@pytest.mark.timeout(300)
def test_one_run_that_is_refused_or_trains_stops_no_other(server, tmp_path, capsys):
    below = tmp_path / "logs/runs/a"
    runs = [run_at(below / "1")]
    runs += [shutil.copytree(below / "1", below / name, symlinks=True) for name in ("2", "3")]
    damaged = next(runs[1].glob("wandb/offline-run-*/*.wandb"))
    damaged.write_bytes(b"nothing of W&B's")

    with held_elsewhere(runs[2]):
        status = main(["sync", "logs"])

    lines = capsys.readouterr().out.splitlines()
    assert status == 1
    assert lines[0].startswith("logs/runs/a/1: uploaded: http")
    assert lines[1].startswith("logs/runs/a/2: failed: ")
    assert lines[2] == "logs/runs/a/3: still trains: skipped"


def test_a_run_that_is_taken_at_the_last_moment_is_skipped(server, tmp_path, capsys, monkeypatch):
    run = run_at(tmp_path / "run")

    def taken(folder):
        raise ValueError(f"{folder}: another process is training in it")

    monkeypatch.setattr("lmexp.sync.held", taken)

    assert main(["sync", str(run)]) == 1
    assert capsys.readouterr().out == f"{run}: still trains: skipped\n"


def test_a_killed_session_that_cannot_be_read_back_is_not_done(
    server, tmp_path, capsys, monkeypatch
):
    run = run_at(tmp_path / "run")
    killed_in(run, has_lost=3)
    state = (run / "wandb.json").read_text()

    def wandb(*arguments):
        if arguments[0] == "sync":
            (file,) = Path(arguments[-1]).glob("*.wandb")
            file.with_name(f"{file.name}.synced").touch()
            return subprocess.CompletedProcess(arguments, 0, "")
        return subprocess.CompletedProcess(arguments, 2, "Error: No such command 'leet'.\n")

    monkeypatch.setattr("lmexp.sync._wandb", wandb)

    assert main(["sync", str(run)]) == 1
    told = "failed: wandb leet inspect: Error: No such command 'leet'."
    assert capsys.readouterr().out == f"{run}: {told}\n"
    assert not list(run.glob("wandb/*/*.synced"))
    assert (run / "wandb.json").read_text() == state


def held_elsewhere(folder):
    code = (
        "import sys; from pathlib import Path; from lmexp.run_folder import held\n"
        f"with held(Path({str(folder)!r})):\n    print('held', flush=True); sys.stdin.read()"
    )
    return Elsewhere([sys.executable, "-c", code])


class Elsewhere:
    """Another process, from the moment on that it says something."""

    def __init__(self, command):
        self.command = command

    def __enter__(self):
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(self.command, stdin=pipe, stdout=pipe)
        self.process.stdout.readline()

    def __exit__(self, *error):
        self.process.communicate(timeout=30)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_was_sent_in_part_counts_as_failed_and_is_sent_again(server, tmp_path, capsys):
    run = run_at(tmp_path / "run")
    server.refuses = "file_stream"

    assert main(["sync", str(run)]) == 1
    assert "run: failed: " in capsys.readouterr().out

    server.refuses = ""
    assert main(["sync", str(run)]) == 0
    (sent,) = server.runs.values()
    assert [row["_step"] for row in sent.history()] == [1, 2]


def test_without_an_account_it_is_one_line(no_account, tmp_path, capsys):
    run = run_at(tmp_path / "run")
    capsys.readouterr()

    assert main(["sync", str(run)]) == 2

    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "no account of Weights & Biases found: WANDB_API_KEY, or api.wandb.ai or " in err


def test_without_a_way_to_the_server_it_is_one_line(no_account, tmp_path, capsys, monkeypatch):
    run = run_at(tmp_path / "run")
    capsys.readouterr()
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")

    assert main(["sync", str(run)]) == 2

    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "http://127.0.0.1:9 cannot be reached" in err


def greet(listening):
    """As a server that does not speak HTTP."""
    caller, _ = listening.accept()
    with caller:
        caller.recv(4096)
        caller.sendall(b"220 mail\r\n")


def test_a_server_that_is_none_of_the_web_is_one_line(no_account, tmp_path, capsys, monkeypatch):
    run = run_at(tmp_path / "run")
    capsys.readouterr()
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=greet, args=[listening])
        thread.start()
        for port in ("abc", str(listening.getsockname()[1])):
            monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{port}")
            assert main(["sync", str(run)]) == 2
            err = capsys.readouterr().err
            assert err.count("\n") == 1
            assert f"http://127.0.0.1:{port} cannot be reached" in err
        thread.join()


@pytest.mark.parametrize("typed", [["sync"], ["sync", "nowhere"], ["sync", "--projekt", "a"]])
def test_nothing_to_upload_or_a_mistake_is_one_line(typed, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    try:
        status = main(typed)
    except SystemExit as ending:
        status = ending.code

    assert status == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_sweeps_name_means_its_newest_and_a_folder_all_below(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for launch in ("1", "2"):
        sweep = Path("logs/sweeps/families", launch)
        job = sweep / "0_a"
        (job / "wandb" / "offline-run-1").mkdir(parents=True)
        (job / "wandb" / "offline-run-1" / "run-a.wandb").touch()
        (job / "wandb.json").write_text("{}")
        write_recipe(RECIPE, job)
        Manifest(sweep, [Job("0_a", ["seed=1"])], {}, "").write()

    assert mirrored(["families"]) == [job]
    assert mirrored(["logs"]) == [Path("logs/sweeps/families/1/0_a"), job]
    assert mirrored(["families", str(sweep), str(job), str(job / "recipe.yaml")]) == [job]


def test_wandb_has_the_options_that_are_handed_to_it():
    command = [sys.executable, "-m", "wandb", "sync", "--help"]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout

    assert "--project TEXT" in shown
    assert "--entity TEXT" in shown
