"""A secret stands in no file of a run or of a sweep, and in no message."""

import gzip
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from lmexp.recipe import compose
from lmexp.secret_values import SecretError, hidden, refuse_secrets

CANARIES = {
    "WANDB_API_KEY": "canary1" + "0" * 33,
    "HF_TOKEN": "hf_canary2abcdefgh",
    "SERVICE_PASSWORD": "canary3-of-a-service",
    "CLIENT_SECRET": "canary4-of-a-client",
    "AUTHOR": "canary5-only-read-by-oc.env",
}
NETWORK = """\
import os
import sys
from dataclasses import dataclass

from lmexp.networks.recurrent import Recurrent


@dataclass(frozen=True)
class Careless:
    fails: bool

    def decoder(self, vocab):
        if self.fails and sys.argv[1] == "run":  # the job, not the check of the sweep
            raise RuntimeError("no login with " + os.environ["SERVICE_PASSWORD"])
        sizes = dict(cell="gru", d_model=8, num_layers=1, dropout=0.0, variational=False)
        return Recurrent(**sizes, tied=True, attention="dot", shares_embeddings=True).decoder(vocab)
"""
TYPED = [
    *("--config-dir", "my_conf", "--allow-targets", "my_nets", "model=careless"),
    *("data=text", "data.files=text.txt", "tokenizer=byte", "data.max_length=16"),
    *("data.batch_size=4", "data.lanes=null", "task.sample_tokens=0"),
    *("trainer=debug", "trainer.max_steps=2"),
]


@pytest.fixture
def folder(tmp_path):
    """A text, a network of the user's, and an uncommitted change with a secret in it."""
    (tmp_path / "text.txt").write_text("the quick brown fox jumps over the lazy dog\n" * 60)
    (tmp_path / "my_nets.py").write_text(NETWORK)
    (tmp_path / "my_conf" / "model").mkdir(parents=True)
    model = "_target_: my_nets.Careless\nfails: false\n"
    (tmp_path / "my_conf" / "model" / "careless.yaml").write_text(model)
    (tmp_path / "notes.txt").write_text("nothing\n")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "all"]):
        subprocess.run([*git, *command], cwd=tmp_path, check=True)
    (tmp_path / "notes.txt").write_text(f"my token is {CANARIES['HF_TOKEN']}\n")
    return tmp_path


def train(folder: Path, *typed: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "lmexp", "train", *typed],
        cwd=folder,
        env={**os.environ, **CANARIES, "WANDB_MODE": "offline"},
        capture_output=True,
        text=True,
        check=False,
    )


def contents(file: Path):
    """The bytes of a file, and of what it packs."""
    yield file.read_bytes()
    if zipfile.is_zipfile(file):  # a checkpoint, or NumPy's
        with zipfile.ZipFile(file) as archive:
            yield from (archive.read(name) for name in archive.namelist())
    if file.suffix == ".gz":
        yield gzip.decompress(file.read_bytes())


def holders(folder: Path) -> list[tuple[str, str]]:
    """(file, variable) of each secret below a folder."""
    return [
        (str(file.relative_to(folder)), name)
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not file.is_symlink()
        for text in contents(file)
        for name, value in CANARIES.items()
        if value.encode() in text
    ]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("logger", ["wandb", "tensorboard", "csv"])
def test_a_run_writes_no_secret(folder, logger):
    done = train(folder, *TYPED, f"logger={logger}", "hydra.run.dir=logs/run")

    assert done.returncode == 0, done.stderr
    patches = [file.read_text() for file in (folder / "logs" / "run").glob("git*.patch")]
    assert any("my token is ***" in patch for patch in patches)
    assert (folder / "logs" / "run" / "checkpoints" / "last.ckpt").is_file()
    assert holders(folder / "logs") == []
    assert not any(value in done.stdout + done.stderr for value in CANARIES.values())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_sweep_writes_no_secret_though_a_job_fails_with_one(folder):
    done = train(folder, "-m", *TYPED, "model.fails=false,true", "logger=wandb")

    assert done.returncode == 1, done.stderr
    (manifest,) = folder.glob("logs/sweeps/*/*/manifest.json")
    jobs = json.loads(manifest.read_text())["jobs"]
    assert [job["status"] for job in jobs] == ["finished", "failed"]
    assert jobs[1]["error"] == "RuntimeError: no login with ***"
    assert holders(folder / "logs") == []
    assert not any(value in done.stdout + done.stderr for value in CANARIES.values())


@pytest.mark.timeout(60)
def test_a_sweep_copies_no_code_with_a_secret_in_it(folder):
    with (folder / "my_nets.py").open("a") as file:
        file.write(f"KEY = {CANARIES['CLIENT_SECRET']!r}\n")

    done = train(folder, "-m", *TYPED, "seed=1,2", "logger=none")

    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "my_nets.py holds the value of $CLIENT_SECRET" in done.stderr
    assert not list(folder.glob("logs/sweeps/*/*"))
    assert not any(value in done.stderr for value in CANARIES.values())


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (f"task.sample_prompt={CANARIES['HF_TOKEN']}", "holds the value of $HF_TOKEN"),
        (f"name=a-{CANARIES['CLIENT_SECRET']}", "name holds the value of $CLIENT_SECRET"),
        (f"data.password={CANARIES['AUTHOR']}", "data.password is named like a secret"),
        ("data.root=${oc.env:AUTHOR}", "data.root is read from the environment (AUTHOR)"),
        ("name=a-${oc.env:AUTHOR,b}", "name is read from the environment (AUTHOR)"),
        (f"data.root='https://me:{CANARIES['AUTHOR']}@a.org/b'", "has a user or a password in"),
        (f"+data.urls=['s3://{CANARIES['AUTHOR']}@a/b']", "has a user or a password in its URL"),
        (f"hydra.run.dir={CANARIES['HF_TOKEN']}", "hydra.run.dir holds the value of $HF_TOKEN"),
        ("hydra.run.dir=${oc.env:AUTHOR}", "hydra.run.dir is read from the environment"),
    ],
)
def test_a_secret_on_the_command_line_is_refused_without_being_shown(typed, said, monkeypatch):
    for name, value in CANARIES.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(SecretError, match=r"^command line: ") as raised:
        compose([typed])

    assert said in str(raised.value)
    assert not any(value in str(raised.value) for value in CANARIES.values())


@pytest.mark.parametrize(
    "recipe",
    [
        {"tokenizer": {"unk_token": "<unk>", "pad_token": "<pad>"}},
        {"data": {"path": "https://example.org/a@1.0/b", "key": "text", "mail": "me@example.org"}},
        {"data": {"token": None, "root": "file:///home/me@work/a"}, "model": "key"},
        {"tokenizer": {"pad_token": 0}, "data": {"secret": False, "size": 12345678}},
    ],
)
def test_what_only_looks_like_a_secret_passes(recipe, monkeypatch):
    monkeypatch.setenv("PUBLIC_KEY", "key")  # too short to be told from other text

    refuse_secrets(recipe, str)


@pytest.mark.parametrize("name", ["PGPASSWORD", "OPENAI_APIKEY", "MYTOKEN", "service_secret"])
def test_a_variable_is_a_secret_by_how_its_name_ends(monkeypatch, name):
    monkeypatch.setenv(name, "canary6-of-a-variable")

    assert hidden("see canary6-of-a-variable") == "see ***"
    with pytest.raises(SecretError, match=f"name holds the value of \\${name}"):
        refuse_secrets({"name": "a-canary6-of-a-variable"}, str)


@pytest.mark.parametrize("value", [12345678, 1234.5678])
def test_a_number_is_a_secret_as_its_digits_are(monkeypatch, value):
    monkeypatch.setenv("SERVICE_TOKEN", str(value))

    with pytest.raises(SecretError, match=r"data\.size holds the value of"):
        refuse_secrets({"data": {"size": value}}, str)
    with pytest.raises(SecretError, match=r"data\.password holds the value of"):
        refuse_secrets({"data": {"password": value}}, str)
    monkeypatch.delenv("SERVICE_TOKEN")
    with pytest.raises(SecretError, match=r"data\.password is named like a secret"):
        refuse_secrets({"data": {"password": value}}, str)


def test_texts_are_rid_of_secrets(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", CANARIES["HF_TOKEN"])
    told = f"401 for http://me:pw@a.org/b?t={CANARIES['HF_TOKEN']}"

    assert hidden(told) == "401 for http://***@a.org/b?t=***"
