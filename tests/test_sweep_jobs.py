"""One job of a sweep: how its end is judged, what ends it, and what is kept of that."""

import json
import os
import signal
import sys
import textwrap
import time
from pathlib import Path

import pytest
from labelled_runs import classifier, tagger, write_labelled, write_tagged

from lmexp.__main__ import main
from lmexp.recipe import composition
from lmexp.sweep import causes, code, watch
from lmexp.sweep.command import newest_sweep
from lmexp.sweep.earlier import Taken, on_data_of, take_over
from lmexp.sweep.manifest import Job, Manifest, read_job, recipe_hash
from lmexp.sweep.names import folder_name, grouped
from lmexp.sweep.watch import Task, Watch

NAN = "lmexp: the loss of step 3 is not finite: no checkpoint was overwritten\nlmexp: the batch is"


@pytest.fixture
def job(tmp_path, monkeypatch):
    """Runs a program in a job's stead."""

    def started(program: str, **limits) -> Watch:
        (tmp_path / "0").mkdir(exist_ok=True)
        (tmp_path / "job.py").write_text(textwrap.dedent(program))
        monkeypatch.setattr(code, "python", lambda _: [sys.executable, str(tmp_path / "job.py")])
        monkeypatch.setattr(watch, "LOOK_SECONDS", 0.05)
        settings = {"minutes": None, "silent_minutes": None, **limits}
        task = Task(
            Job("0", []), str(tmp_path), str(tmp_path), **settings, shows=False, environment={}
        )
        return Watch(task)

    return started


def ended(job: Watch, seconds: float = 30.0) -> Job:
    deadline = time.monotonic() + seconds
    while (outcome := job.look()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return outcome


def test_what_a_job_says_is_kept_and_judged_by_its_last_session_alone(job, tmp_path):
    first = ended(job(f"import sys; print({NAN!r}, file=sys.stderr); sys.exit(1)"))
    second = ended(job("import sys; print('lmexp: gone', file=sys.stderr); sys.exit(1)"))

    assert (first.cause, second.cause) == (causes.NOT_FINITE, causes.ERROR)
    assert (tmp_path / "0" / "stderr.txt").read_text() == f"{NAN}\nlmexp: gone\n"
    assert json.loads((tmp_path / "0" / "job.json").read_text())["error"] == "lmexp: gone"


def test_a_job_that_takes_too_long_may_save_and_is_ended(job, tmp_path):
    saves = """
        import pathlib, signal, sys, time
        def save(*_):
            pathlib.Path("saved").write_text("")
            sys.exit(143)
        signal.signal(signal.SIGTERM, save)
        pathlib.Path("ready").write_text("")
        while True: print(flush=True)
        """
    started = job(saves, minutes=0.02)
    outcome = ended(started)

    assert (outcome.status, outcome.cause) == ("failed", causes.TOO_LONG)
    assert outcome.error == "sweep.minutes=0.02"
    assert 1.2 < outcome.seconds < 20
    assert (tmp_path / "saved").exists() == (tmp_path / "ready").exists()


def runs(pid: int) -> bool:
    """Whether a process is there that has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_job_that_ignores_the_request_is_killed_with_all_that_it_started(
    job, tmp_path, monkeypatch
):
    monkeypatch.setattr(watch, "GRACE_SECONDS", 0.3)
    deaf = """
        import pathlib, signal, subprocess, sys, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        pathlib.Path("child").write_text(str(child.pid))
        time.sleep(600)
        """
    started = job(deaf, silent_minutes=1 / 60)
    outcome = ended(started)

    assert (outcome.status, outcome.cause) == ("failed", causes.HUNG)
    assert outcome.return_code == -signal.SIGKILL
    child = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 5
    while runs(child):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    "lives", ["while True: pass", "while True: print(end='.', flush=True); time.sleep(.1)"]
)
def test_a_job_that_computes_or_writes_does_not_hang(lives, job):
    started = job(f"import time\n{lives}", silent_minutes=0.5 / 60)
    until = time.monotonic() + 2.5
    while time.monotonic() < until:
        assert started.look() is None
        time.sleep(0.01)
    started.process.kill()

    assert ended(started).cause == causes.KILLED


def test_a_job_that_computes_in_a_session_of_its_own_does_not_hang(job):
    """As ranks do, whose launcher only waits."""
    busy = "[sys.executable, '-c', 'while True: pass'], start_new_session=True"
    started = job(f"import subprocess, sys\nsubprocess.run({busy})", silent_minutes=0.5 / 60)
    until = time.monotonic() + 2.5
    while time.monotonic() < until:
        assert started.look() is None
        time.sleep(0.01)
    pid = started.process.pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        os.kill(int(child), signal.SIGKILL)

    assert ended(started).status == "finished"


def test_a_job_is_ended_by_a_file_in_its_folder_as_the_file_says(job, tmp_path):
    started = job("import time\ntime.sleep(600)")
    (tmp_path / "0" / "stop").write_text("pruned\n")

    assert ended(started).status == "pruned"


def test_a_manifest_is_read_with_what_the_jobs_folders_say(tmp_path):
    manifest = Manifest(
        tmp_path, [Job("0", ["seed=1"]), Job("1", ["seed=2"])], {"parallel": 1}, "c0de"
    )
    manifest.write()
    (tmp_path / "1").mkdir()
    watch.write_job(Job("1", ["seed=2"], status="finished", seconds=2.5), tmp_path / "1")

    found = Manifest.read(tmp_path)

    assert [job.status for job in found.jobs] == ["waiting", "finished"]
    assert (found.settings, found.code_hash) == ({"parallel": 1}, "c0de")
    assert found.started == manifest.started


@pytest.mark.parametrize("content", ["{}", "[", '{"jobs": [{"folder": "0", "colour": 1}]}'])
def test_a_damaged_manifest_is_refused_in_words(content, tmp_path):
    (tmp_path / "manifest.json").write_text(content)

    with pytest.raises(ValueError, match=r"manifest\.json cannot be read"):
        Manifest.read(tmp_path)


@pytest.mark.parametrize("content", ["{}", "[", "[]", "3", '{"folder": "0", "colour": 1}', "\0"])
def test_a_damaged_file_of_a_job_is_refused_in_words(content, tmp_path):
    (tmp_path / "job.json").write_text(content)

    with pytest.raises(ValueError, match=r"job\.json cannot be read .* damaged"):
        read_job(tmp_path, Job("0", []))


def test_recipes_are_equal_whatever_they_are_called_and_however_they_are_swept():
    recipe = {"name": "a", "seed": 1, "sweep": {"parallel": 2}, "model": {"d_model": 8}}
    recipe["logger"] = {"group": None, "tags": []}

    assert recipe_hash(recipe) == recipe_hash({**recipe, "name": "b", "sweep": {"parallel": 1}})
    assert recipe_hash(recipe) == recipe_hash(grouped(recipe, Path("logs/sweeps/a/today")))
    assert recipe_hash(recipe) != recipe_hash({**recipe, "seed": 2})
    assert recipe_hash(recipe) != recipe_hash({**recipe, "model": {"d_model": 16}})


@pytest.mark.parametrize(
    ("folder", "chosen", "search", "group", "tags"),
    [
        ("logs/sweeps/a/today", None, None, "a", ["x", "sweep", "today"]),
        ("logs/sweeps/a/today", None, {"sampler": "tpe"}, "a", ["x", "search", "today"]),
        ("logs/sweeps/a/today", "mine", None, "mine", ["x", "sweep", "today"]),
        ("elsewhere/chosen", None, None, "chosen", ["x", "sweep", "chosen"]),
        ("/out", None, None, "out", ["x", "sweep", "out"]),
    ],
)
def test_jobs_are_grouped_by_their_sweep_and_tagged(folder, chosen, search, group, tags):
    logger = {"group": chosen, "tags": ["x"]}
    recipe = {"sweep": {"search": search}, "logger": logger}

    assert grouped(recipe, Path(folder))["logger"] == {"group": group, "tags": tags}
    assert grouped({"logger": {}}, Path(folder)) == {"logger": {}}


@pytest.mark.parametrize(
    ("status", "code_hash", "is_same", "expected"),
    [
        ("finished", "same", True, Taken(1, 0)),
        ("finished", "other", True, Taken(0, 0)),
        ("failed", "same", True, Taken(0, 0)),
        ("finished", "same", False, Taken(0, 1)),
    ],
)
def test_what_an_earlier_sweep_finished_on_equal_code_and_data_is_taken_over(
    status, code_hash, is_same, expected, tmp_path
):
    (tmp_path / "1" / "0").mkdir(parents=True)
    (tmp_path / "2").mkdir()
    Manifest(
        tmp_path / "1", [Job("0", ["seed=1"], "r1", status=status, seconds=9.0)], {}, "same"
    ).write()
    later = Manifest(tmp_path / "2", [Job("0", [], "r0"), Job("1", [], "r1")], {}, code_hash)

    def is_on_these_data(place, folder):
        assert (place, folder.resolve()) == (1, tmp_path / "1" / "0")
        return is_same

    assert take_over(later, is_on_these_data) == expected

    taken = later.jobs[1]
    if expected.jobs:
        assert (taken.taken_from, taken.status, taken.seconds) == ("../1/0", "finished", 9.0)
        assert later.folder_of(taken).resolve() == tmp_path / "1" / "0"
    else:
        assert (taken.taken_from, taken.status) == (None, "waiting")


@pytest.mark.parametrize(
    ("write", "typed", "changed"),
    [(write_labelled, classifier, "test.jsonl"), (write_tagged, tagger, "val.txt")],
)
def test_data_are_known_again_before_there_is_a_tokenizer(write, typed, changed, tmp_path):
    """Labelled data number their labels with the tokenizer; neither is needed for a hash."""
    write(tmp_path)
    words = typed(tmp_path, "tokenizer=word", "trainer.max_steps=1")
    assert main(["train", *words, f"hydra.run.dir={tmp_path / 'run'}"]) == 0

    is_on_these_data = on_data_of([composition(words)])
    assert is_on_these_data(0, tmp_path / "run")

    file = tmp_path / changed
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-3]))
    assert not on_data_of([composition(words)])(0, tmp_path / "run")


def test_names_of_folders_are_cut_by_bytes_and_at_characters():
    name = folder_name("0", ["data.files=" + "文" * 60])

    assert name == "0_data.files-" + "文" * 29  # 13 bytes and 3 each: 100 at most


def test_a_name_means_its_newest_sweep(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for stamp in ("2026-01-02_10-00-00", "2026-01-03_09-00-00"):
        folder = tmp_path / "logs" / "sweeps" / "families" / stamp
        folder.mkdir(parents=True)
        Manifest(folder, [], {}, "").write()

    assert newest_sweep("families").name == "2026-01-03_09-00-00"
    for suffix in ("_2", "_10"):  # launched in the same second
        folder = folder.parent / f"2026-01-03_09-00-00{suffix}"
        folder.mkdir()
        Manifest(folder, [], {}, "").write()
    assert newest_sweep("families").name == "2026-01-03_09-00-00_10"
    assert newest_sweep("logs/sweeps/families") == newest_sweep("families")
    assert newest_sweep("logs/sweeps/families/2026-01-02_10-00-00").name == "2026-01-02_10-00-00"
    with pytest.raises(FileNotFoundError, match="under logs/sweeps there are families"):
        newest_sweep("familys")
