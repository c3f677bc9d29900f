"""environment.json: on what a session ran, and no secret."""

import json
import subprocess
import sys

from lmexp import environment as environment_module
from lmexp.record import environment, write_environment


def git(folder, *arguments):
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def test_the_environment_names_versions_machine_and_code(tmp_path, monkeypatch):
    git(tmp_path, "init")
    (tmp_path / "code.py").write_text("old\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    (tmp_path / "code.py").write_text("new\n")
    (tmp_path / "other.py").write_text("")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()

    path = write_environment(tmp_path / "run", environment(seed=3, data={"hash": "abc"}))

    facts = json.loads(path.read_text())
    assert (facts["seed"], facts["data"]) == (3, {"hash": "abc"})
    assert {"python", "lmexp", "torch", "lightning"} <= facts["packages"].keys()
    assert facts["threads"]["intra_op"] >= 1
    repository = facts["git"][-1]
    assert len(repository["commit"]) == 40
    assert repository["is_dirty"]
    assert "other.py" in repository["untracked"]
    assert "-old\n+new" in (tmp_path / "run" / repository["patch"]).read_text()


def test_a_resumed_session_keeps_the_environment_of_the_first(tmp_path):
    write_environment(tmp_path, {"host": "a", "git": []})

    second = write_environment(tmp_path, {"host": "b", "git": []})

    assert second.name == "environment-2.json"
    assert json.loads((tmp_path / "environment.json").read_text())["host"] == "a"


def test_the_environment_does_without_git(tmp_path, monkeypatch):
    monkeypatch.setattr(environment_module.shutil, "which", lambda name: None)

    assert environment()["git"] == []


def test_a_command_that_a_recipe_allows_is_recorded_as_it_was_typed(monkeypatch):
    typed = ["tokenizer.unk_token=<unk>", "data.key=text", "+token=s3cret", "--api-key=s3cret"]
    monkeypatch.setattr(sys, "argv", typed)

    assert environment()["command"] == [*typed[:2], "+token=***", "--api-key=***"]


def test_no_secret_of_command_line_or_environment_is_written(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "hub.token=s3cret", "data.batch_tokens=12"])
    monkeypatch.setenv("WANDB_API_KEY", "s3cret")

    facts = environment()

    assert facts["command"] == ["train.py", "hub.token=***", "data.batch_tokens=12"]
    assert "s3cret" not in json.dumps({**facts, "git": []})
