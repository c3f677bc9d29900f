"""Forty mistakes in sweeps: one wrong combination refuses them all, before the first job starts."""

import shlex
import signal
import subprocess
import sys

import pytest

from lmexp.__main__ import main
from lmexp.sweep import launchers, launching, planning

MISTAKES = {
    "a model": ("model=lstm,gruu", "there is no conf/model/gruu.yaml; did you mean 'gru'?"),
    "a data set": ("data=ptb,wikitext", "there is no conf/data/wikitext.yaml"),
    "a task": ("task=causal_lm,causal", "there is no conf/task/causal.yaml"),
    "a group": ("models=lstm,gru", "models"),
    "a key": ("optimizer.learning_rate=0.1,0.2", "AdamW takes no 'learning_rate'"),
    "a key of the model": ("model=gru,lstm model.num_heads=2", "Recurrent takes no 'num_heads'"),
    "a key that one model has": ("model=transformer,gru model.num_heads=2,4", "takes no"),
    "a value's kind": ("model.num_layers=1,two", "model.num_layers=two"),
    "a value's range": ("model.dropout=0.1,1.5", "model.dropout=1.5"),
    "a rate below nothing": ("optimizer.lr=0.1,-0.1", "optimizer.lr=-0.1"),
    "no layers": ("model.num_layers=1,0", "model.num_layers=0"),
    "half a layer": ("model.num_layers=1,1.5", "model.num_layers=1.5"),
    "heads of no equal width": ("model=transformer model.num_heads=4,3", "num_heads=3"),
    "a seed below nothing": ("seed=1,-1", "seed=-1"),
    "a seed that is none": ("seed=1,a", "seed=a"),
    "nothing chosen": ("model=gru,null", "a run needs one"),
    "a network that is not built": ("model=bert,gru task=causal_lm", "needs a decoder"),
    "text for pairs": ("task=translation data=ptb,wikitext2", "reads pairs"),
    "both lengths": ("trainer.max_epochs=1,2", "trainer.max_steps"),
    "both batches": ("data.batch_tokens=1000,2000", "data.batch_size"),
    "a time that is none": ("trainer.max_time='00:10:00','10m'", "trainer.max_time=10m"),
    "no rows for the micro-batches": ("trainer.micro_batches=1,1000", "trainer.micro_batches"),
    "a precision": ("trainer.precision=bf16-mixed,fp8", "fp8"),
    "an accelerator": ("trainer.accelerator=cpu,gpu9", "gpu9"),
    "no devices": ("trainer.devices=1,0", "trainer.devices=0"),
    "a name with a slash": ("name=a,b/c", "name=b/c"),
    "one run to go on with": ("seed=1,2 resume=logs/runs", "sweep resume"),
    "a launcher of Hydra": ("seed=1,2 hydra/launcher=submitit", "has no effect"),
    "a sweeper of Hydra": ("seed=1,2 hydra/sweeper=optuna", "has no effect"),
    "a launcher": ("seed=1,2 sweep.launcher=slurm", "sweep.launcher=slurm"),
    "no job at once": ("seed=1,2 sweep.parallel=0", "sweep.parallel=0"),
    "no time": ("seed=1,2 sweep.minutes=0", "sweep.minutes=0"),
    "a key of the sweep": ("seed=1,2 sweep.paralel=2", "did you mean 'parallel'?"),
    "how it is run": ("seed=1,2 sweep.parallel=1,2", "a sweep is run in one way"),
    "an interval": ("optimizer.lr=interval(0.1,0.2)", "add sweep=search"),
    "a list that is not closed": ("seed=1,2 data.files=[a,b", "cannot be read"),
    "a sweep of files": (
        "sweep=locall seed=1,2",
        "there is no conf/sweep/locall.yaml; did you mean 'local'?",
    ),
    "a class of another package": ("model._target_=os.system,shutil.rmtree", "os.system"),
    "a package that is not there": ("seed=1,2 --allow-targets nowhere_at_all", "nowhere_at_all"),
    "a budget": ("budget.parameters=1e6,-1", "budget.parameters=-1"),
    "two budgets of steps": ("seed=1,2 budget.flops=1e9 budget.tokens=1e6", "both say how many"),
    "a glob of no group": ("seed=glob(*)", "matches nothing"),
    "how a search is run": (
        "sweep=search optimizer.lr=interval(1,2) sweep.search.trials=1,2",
        "sweep.search.trials=2 beside sweep.search.trials=1: a sweep is run in one way",
    ),
    "a search that is none": ("seed=1,2 sweep.search.trials=5", "here: add sweep=search"),
    "a key twice": ("seed=1,2 seed=3,4", "seed is given 2 times"),
    "an empty range": ("model.d_model=range(64,8)", "holds no value"),
    "a comma too many": ("seed=1,2,", "nothing follows the last comma"),
    "options of no launcher": ("seed=1,2 sweep.options.foo=1", "sweep.launcher=local has no"),
    "an operation on one value": ("seed=1,2 trainer.max_steps=5 --cfg job", "leave -m out"),
}


def test_there_are_forty():
    assert len(MISTAKES) >= 40


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_refuses_the_whole_sweep(name, tmp_path, monkeypatch, capsys):
    typed, expected = MISTAKES[name]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LMEXP_CACHE", str(tmp_path / "cache"))

    assert main(["train", "-m", *shlex.split(typed)]) == 2

    errors = capsys.readouterr().err
    assert expected in errors
    assert errors.startswith("lmexp: ")
    assert errors.count("\n") == 1
    assert not list(tmp_path.glob("logs/sweeps/*/*"))


@pytest.mark.parametrize("action", ["status", "resume"])
@pytest.mark.parametrize(
    "typed",
    [
        ["--config-dir", "mine"],
        ["--allow-targets", "mine"],
        ["--file", "sweep.yaml"],
        ["--project", "lmexp"],
        ["--entity", "me"],
        ["--count", "0"],
    ],
)
def test_what_is_of_another_sweep_command_is_refused(action, typed, capsys):
    assert main(["sweep", action, "families", *typed]) == 2

    expected = f"lmexp: sweep {action} takes no {typed[0]}: a sweep goes on as it was launched"
    assert capsys.readouterr().err.startswith(expected)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_launch_that_ends_before_its_jobs_begin_leaves_nothing(number, tmp_path, monkeypatch):
    def interrupted(folder, *_):
        (folder / "code").mkdir()
        signal.raise_signal(number)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(planning, "_build_sizes", lambda _: None)  # which takes seconds
    monkeypatch.setattr(launching, "freeze_code", interrupted)
    # A shell ignores it for what it runs in the background, and the sweep would then train.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    try:
        status = main(["train", "-m", "seed=1,2"])
    except SystemExit as ended:
        status = ended.code
    finally:
        signal.signal(signal.SIGINT, before)

    assert status == 128 + number
    assert not list(tmp_path.glob("logs/sweeps/*/*"))
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_sweep_that_is_run_by_another_process_is_not_resumed_beside_it(tmp_path, capsys):
    (tmp_path / "manifest.json").write_text("{}")
    holds = (
        "import sys, pathlib; from lmexp.run_folder import held\n"
        "with held(pathlib.Path(sys.argv[1])): print(flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holds, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        process.stdout.readline()
        status = main(["sweep", "resume", str(tmp_path)])
        process.communicate("\n")

    assert status == 2
    said = f"lmexp: {tmp_path} is being run by another process: see how it stands by python -m lme"
    assert capsys.readouterr().err.startswith(said)


def test_a_launcher_without_its_package_is_refused_before_there_is_a_sweep(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(launchers, "find_spec", lambda name: None)

    assert main(["train", "-m", "seed=1,2", "sweep.launcher=submitit"]) == 2

    said = "sweep.launcher=submitit needs the package submitit: pip install submitit"
    assert capsys.readouterr().err == f"lmexp: {said}\n"
    assert not (tmp_path / "logs").exists()
