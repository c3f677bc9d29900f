import csv
import json
import math
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lmexp.mirrors import CSV, Nothing, TensorBoard, WandB
from lmexp.record import Record


class Listener:
    """Keeps what it is told."""

    def __init__(self, after=-1):
        self.after = after
        self.calls = []

    def start(self, folder, recipe, step):
        self.calls.append(("start", step))
        return self.after

    def log(self, step, values):
        self.calls.append(("log", step, values))

    def sample(self, step, text):
        self.calls.append(("sample", step, text))

    def finish(self, summary, status):
        self.calls.append(("finish", summary["step"], status))

    def steps(self):
        return [call[1] for call in self.calls if call[0] == "log"]


class Raising(Listener):
    def log(self, step, values):
        raise ConnectionError("the server is gone\nsecond line")


class Exiting(Listener):
    def start(self, folder, recipe, step):
        sys.exit(3)


class Hanging(Listener):
    def log(self, step, values):
        self.never = threading.Event()
        self.never.wait()


def write_and_close(folder, mirrors, steps, *, cut_back=None, timeout=30.0, recipe=None):
    record = Record(folder, mirrors, recipe, finish_timeout_seconds=timeout)
    if cut_back is not None:
        record.cut_back(cut_back)
    for step in steps:
        record.write(step, {"epoch": 0, "train/loss": 1.0 / step, "tokens": step * 64})
    record.sample(steps[-1], f"sample at {steps[-1]}")
    return record.close("finished")


def test_a_mirror_gets_everything_in_order_and_the_end(tmp_path):
    mirror = Listener()

    write_and_close(tmp_path, [mirror], [1, 2, 3])

    assert mirror.steps() == [1, 2, 3]
    assert mirror.calls[0] == ("start", -1)
    assert ("sample", 3, "sample at 3") in mirror.calls
    assert mirror.calls[-1] == ("finish", 3, "finished")


def test_lines_of_one_step_come_together_with_numbers_restored(tmp_path):
    mirror = Listener()
    record = Record(tmp_path, [mirror])

    record.write(5, {"train/loss": math.inf})
    record.write(5, {"val/loss": 2.0})
    record.close("finished")

    (call,) = [call for call in mirror.calls if call[0] == "log"]
    assert call[1] == 5
    assert call[2].items() >= {"train/loss": math.inf, "val/loss": 2.0}.items()


def test_after_a_resume_a_mirror_gets_only_the_steps_it_lacks(tmp_path):
    write_and_close(tmp_path, [Nothing()], [10, 20, 30, 40])
    mirror = Listener(after=20)

    write_and_close(tmp_path, [mirror], [40, 50], cut_back=30)

    assert mirror.steps() == [30, 40, 50]


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (Raising, "logger Raising failed (ConnectionError: the server is gone): left behind"),
        (Exiting, "logger Exiting failed (SystemExit: 3): left behind"),
        (Hanging, "logger Hanging did not finish in time: left behind"),
    ],
)
def test_a_broken_mirror_is_reported_once_and_left_behind(tmp_path, capsys, broken, told):
    healthy = Listener()
    record = Record(tmp_path, [broken(), healthy], finish_timeout_seconds=2.0)

    for step in range(1, 4):
        record.write(step, {"train/loss": 1.0})
        time.sleep(0.3)
    began = time.monotonic()
    record.close("finished")

    assert time.monotonic() - began < 10
    assert capsys.readouterr().err.count(told) == 1
    assert healthy.steps() == [1, 2, 3]
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 3


def test_csv_has_a_row_a_step_and_grows_columns(tmp_path):
    record = Record(tmp_path, [CSV()])
    record.write(1, {"train/loss": 3.0})
    record.write(2, {"train/loss": 2.0})
    record.write(2, {"val/loss": 2.5})
    record.write(3, {"train/loss": math.nan})
    record.close("finished")

    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))

    assert [(row["step"], row["train/loss"], row["val/loss"]) for row in rows] == [
        ("1", "3.0", ""),
        ("2", "2.0", "2.5"),
        ("3", "nan", ""),
    ]


def test_csv_agrees_with_the_record_after_a_resume(tmp_path):
    write_and_close(tmp_path, [CSV()], [10, 20, 30])

    write_and_close(tmp_path, [CSV()], [20, 30, 40], cut_back=10)

    text = (tmp_path / "metrics.csv").read_text()
    assert [line.split(",")[0] for line in text.splitlines()] == ["step", "10", "20", "30", "40"]


def test_tensorboard_shows_scalars_and_samples_once_after_a_resume(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    write_and_close(tmp_path, [TensorBoard()], [10, 20, 30], recipe={"name": "a"})
    write_and_close(tmp_path, [TensorBoard()], [20, 30, 40], cut_back=10)

    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    scalars = events.Scalars("train/loss")
    assert [event.step for event in scalars] == [10, 20, 30, 40]
    assert [event.value for event in scalars] == pytest.approx([0.1, 1 / 20, 1 / 30, 1 / 40])
    assert [event.step for event in events.Scalars("tokens")] == [10, 20, 30, 40]
    samples = [event.tensor_proto.string_val[0] for event in events.Tensors("sample")]
    assert samples == [b"sample at 40"]


def test_tensorboard_needs_no_torch(tmp_path):
    code = (
        "import sys; from pathlib import Path; from lmexp.mirrors import TensorBoard\n"
        f"TensorBoard().start(Path({str(tmp_path)!r}), {{}}, -1); sys.exit('torch' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def wandb_mirror(mode="auto"):
    return WandB("tests", None, None, ["a"], "train", mode, 5.0)


@pytest.fixture
def no_account(tmp_path, monkeypatch):
    for name in list(os.environ):
        if name.startswith("WANDB_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "wandb"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "wandb-config"))


def stored_records(folder):
    """What W&B's own reader finds in the offline files of a run, in the order they were written."""
    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        yield from (json.loads(line) for line in done.stdout.splitlines())


def known_id(folder):
    return json.loads((folder / "wandb.json").read_text())["id"]


@pytest.mark.timeout(120)
def test_wandb_without_an_account_is_one_run_offline_over_a_resume(tmp_path, capsys, no_account):
    recipe = {"name": "lstm-text", "model": {"cell": "lstm"}}
    write_and_close(tmp_path, [wandb_mirror()], [10, 20, 30], recipe=recipe)
    said = capsys.readouterr().err
    time.sleep(1.1)  # the offline folder is named after the second
    write_and_close(tmp_path, [wandb_mirror()], [20, 30, 40, 50], cut_back=10, recipe=recipe)

    records = list(stored_records(tmp_path))
    runs = [record["run"] for record in records if record["type"] == "run"]
    rows = [record["history"]["item"] for record in records if record["type"] == "history"]
    summary = {}
    for record in records:
        summary |= record["summary"]["update"] if record["type"] == "summary" else {}

    assert "no account found" in said
    assert "writing offline; to upload: python -m lmexp sync" in said
    assert [row["_step"] for row in rows] == [10, 20, 30, 40, 50]
    assert [row["train/loss"] for row in rows] == [1 / row["_step"] for row in rows]
    assert [row["samples.nrows"] for row in rows if "samples.nrows" in row] == [1, 1]
    assert {run["run_id"] for run in runs} == {known_id(tmp_path)}
    assert (runs[0]["run_group"], runs[0]["tags"]) == ("lstm-text", ["a"])
    assert runs[0]["config"]["update"]["model.cell"] == "lstm"
    assert (summary["step"], summary["status"]) == (50, "finished")


def test_wandb_gets_the_steps_of_a_killed_offline_session_again(tmp_path, no_account):
    write_and_close(tmp_path, [wandb_mirror()], [10, 20])
    (killed,) = tmp_path.glob("wandb/offline-run-*")
    state = {"id": known_id(tmp_path), "last_step": 20}
    (tmp_path / "wandb.json").write_text(
        json.dumps({**state, "session": killed.name, "session_after": -1})
    )
    time.sleep(1.1)

    write_and_close(tmp_path, [wandb_mirror()], [20, 30], cut_back=10)

    rows = [r["history"]["item"] for r in stored_records(tmp_path) if r["type"] == "history"]
    assert [row["_step"] for row in rows] == [10, 20, 30]
    assert not killed.exists()


@pytest.mark.timeout(120)
def test_wandb_that_cannot_connect_goes_offline_and_says_so(
    tmp_path, capsys, no_account, monkeypatch
):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")

    write_and_close(tmp_path, [wandb_mirror()], [1, 2], timeout=60)

    assert "W&B: cannot go online" in capsys.readouterr().err
    assert len(list(tmp_path.glob("wandb/offline-run-*"))) == 1


class Unreachable(WandB):
    def _init(self, folder, recipe, mode):
        import wandb

        if mode == "online":
            raise wandb.errors.CommError("")
        return super()._init(folder, recipe, mode)


def test_an_error_of_wandb_without_a_message_is_named(tmp_path, capsys, no_account):
    mirror = Unreachable("tests", None, None, [], "train", "online", 5.0)

    write_and_close(tmp_path, [mirror], [1, 2])

    assert "W&B: cannot go online (CommError)" in capsys.readouterr().err
    assert len(list(tmp_path.glob("wandb/offline-run-*"))) == 1


def test_wandb_gets_the_steps_of_a_disabled_session_later(tmp_path, no_account):
    write_and_close(tmp_path, [wandb_mirror("disabled")], [1, 2])
    write_and_close(tmp_path, [wandb_mirror("offline")], [3])

    rows = [r["history"]["item"] for r in stored_records(tmp_path) if r["type"] == "history"]
    assert [row["_step"] for row in rows] == [1, 2, 3]


def test_wandb_follows_its_mode(tmp_path, no_account):
    write_and_close(tmp_path, [wandb_mirror("disabled")], [1, 2])

    assert not (tmp_path / "wandb").exists()


@pytest.mark.parametrize("name", ["csv", "tensorboard", "wandb", "none"])
def test_the_logger_files_build_mirrors(name):
    import yaml

    import lmexp.mirrors

    path = Path(__file__).parents[1] / "conf" / "logger" / f"{name}.yaml"
    section = yaml.safe_load(path.read_text())
    target = section.pop("_target_").removeprefix("lmexp.mirrors.")

    assert getattr(lmexp.mirrors, target)(**section) is not None
