"""What a user gets who has the wheel and no checkout, README's own architecture included."""

import json
import re
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"```\w+\n(.*?)```", re.DOTALL)
QUICK = [  # the README's run, made small
    "tokenizer=byte",
    "data.max_length=64",
    "trainer.max_steps=60",
    "trainer.validate_every_steps=30",
    "trainer.checkpoint_every_steps=5",
    "trainer.log_every_steps=1",
]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment with the wheel, where the checkout cannot be imported.

    The packages that lmexp needs come from the environment of the tests, by a .pth file; the .pth
    file of the editable install there is not followed.
    """
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder]
    subprocess.run([*build, CHECKOUT], check=True, capture_output=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = subprocess.run([python, "-c", where], check=True, capture_output=True, text=True)
    Path(packages.stdout.strip(), "needed.pth").write_text(sysconfig.get_path("purelib"))
    wheel = next(folder.glob("*.whl"))
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index"]
    subprocess.run([*pip, wheel], check=True, capture_output=True)
    return python.parent


def run(bin_folder: Path, *command: str, cwd: Path) -> str:
    """Standard output of a command of the installed environment, run in cwd."""
    done = subprocess.run(
        [bin_folder / command[0], *command[1:]], cwd=cwd, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def readme_block(first_line: str) -> str:
    """The fenced block of the README that begins so."""
    blocks = BLOCK.findall((CHECKOUT / "README.md").read_text(encoding="utf-8"))
    return next(block for block in blocks if block.startswith(first_line))


@pytest.fixture
def own_architecture(tmp_path: Path) -> Path:
    """A folder with README's two files."""
    (tmp_path / "my_conf" / "model").mkdir(parents=True)
    for name in ("conv.py", "my_conf/model/conv.yaml"):
        (tmp_path / name).write_text(readme_block(f"# {name}"), encoding="utf-8")
    return tmp_path


def start_and_kill(bin_folder: Path, arguments: list[str], cwd: Path, step: int) -> Path:
    """Kills a training with SIGKILL at its first line at or after a step; gives its folder."""
    with (cwd / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            [bin_folder / "lmexp", *arguments], cwd=cwd, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + 200
        while time.monotonic() < deadline and process.poll() is None:
            for file in cwd.glob("logs/runs/*/*/metrics.jsonl"):
                lines = file.read_text(encoding="utf-8").split("\n")[:-1]
                if lines and json.loads(lines[-1])["step"] >= step:
                    return file.parent
            time.sleep(0.02)
        raise AssertionError(f"no step {step}: {(cwd / 'output.txt').read_text()}")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def test_a_wheel_brings_its_configuration(installed, tmp_path):
    code = "import lmexp.recipe as r; print(r.__file__); print(r.conf_dir())"

    module, conf = run(installed, "python", "-c", code, cwd=tmp_path).split()

    assert Path(module).is_relative_to(installed.parent)
    assert Path(conf) == Path(module).parent / "conf"
    packaged = {str(file.relative_to(conf)) for file in Path(conf).rglob("*.yaml")}
    original = {str(f.relative_to(CHECKOUT / "conf")) for f in (CHECKOUT / "conf").rglob("*.yaml")}
    assert packaged == original


def test_a_wheel_brings_the_parts_of_a_page(installed, tmp_path):
    code = (
        "from importlib.resources import files; own = files('lmexp.compare') / 'page_files'\n"
        "print(own); print(*sorted(part.name for part in own.iterdir()))"
    )

    folder, parts = run(installed, "python", "-c", code, cwd=tmp_path).splitlines()

    assert Path(folder).is_relative_to(installed.parent)
    original = CHECKOUT / "src/lmexp/compare/page_files"
    assert parts.split() == sorted(file.name for file in original.iterdir())


def test_an_editable_install_has_no_second_configuration():
    from lmexp.recipe import conf_dir

    assert conf_dir() == CHECKOUT / "conf"


def test_train_help_of_the_wheel_names_models_and_data(installed, tmp_path):
    text = run(installed, "lmexp", "train", "--help", cwd=tmp_path)

    assert "transformer" in text
    assert "python_docs" in text


@pytest.mark.slow
def test_plan_of_the_wheel_leaves_no_run_behind(installed, tmp_path):
    text = run(installed, "lmexp", "plan", "model=lstm", *QUICK, cwd=tmp_path)

    assert "parameters" in text
    assert not (tmp_path / "logs").exists()


def test_readme_adds_an_architecture_in_under_40_lines():
    files = readme_block("# conv.py") + readme_block("# my_conf/model/conv.yaml")

    assert len(files.splitlines()) < 40


@pytest.mark.slow
def test_readmes_architecture_trains_survives_a_kill_and_is_used(installed, own_architecture):
    commands = [line for line in readme_block("lmexp train --config-dir").splitlines() if line]
    train, resume, *uses = (re.sub(r"\s*#.*", "", line).split(maxsplit=1)[1] for line in commands)

    run_folder = start_and_kill(installed, [*train.split(), *QUICK], own_architecture, step=20)
    before = (run_folder / "metrics.jsonl").read_text(encoding="utf-8")
    run(installed, "lmexp", *resume.split(), cwd=own_architecture)
    printed = [run(installed, "lmexp", *use.split(), cwd=own_architecture) for use in uses]

    assert all(json.loads(line)["step"] < 60 for line in before.splitlines()[:-1])
    summary = json.loads((run_folder / "summary.json").read_text(encoding="utf-8"))
    assert summary["status"] == "finished"
    assert summary["step"] == 60
    assert summary["val/loss"] < 5.0  # ln 263 = 5.57 before the first step
    assert [use.split()[0] for use in uses] == ["evaluate", "generate"]
    assert "perplexity" in printed[0]
    assert printed[1].strip()


@pytest.mark.slow
def test_readmes_architecture_loads_in_python(installed, own_architecture):
    options = [*QUICK, "trainer.max_steps=2", "--config-dir", "my_conf", "--allow-targets", "conv"]
    run(installed, "lmexp", "train", "model=conv", *options, cwd=own_architecture)
    code = (
        "import lmexp; loaded = lmexp.load('logs/runs', allow_targets=['conv']);"
        "print(type(loaded.network).__name__, loaded.step)"
    )

    printed = run(installed, "python", "-c", code, cwd=own_architecture)

    assert printed.split() == ["ConvDecoder", "2"]
    assert [run.name for run in own_architecture.glob("logs/runs/*")] == ["conv-python_docs"]
