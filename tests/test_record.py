import json
import math
import subprocess
import sys
import time

import numpy as np
import pytest

from lmexp.atomic import write_atomically
from lmexp.record import Record, read_metrics, read_samples, read_summary
from lmexp.record_files import read_figure


@pytest.fixture
def open_record(tmp_path):
    """Opens the record of tmp_path, any number of times; one left open is like a kill."""
    opened = []

    def open_one():
        opened.append(Record(tmp_path))
        return opened[-1]

    yield open_one
    for record in opened:
        record.close("stopped")


def lines_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def steps_of(folder):
    return [line["step"] for line in read_metrics(folder)]


def refuse_constant(name):
    raise AssertionError(f"{name} is not JSON")


def test_a_line_holds_step_values_and_seconds(tmp_path, open_record):
    record = open_record()

    record.write(10, {"epoch": 0, "train/loss": 2.5, "tokens": 640})

    (line,) = lines_of(tmp_path)
    assert 0 <= line.pop("seconds") < 10
    assert line == {"step": 10, "epoch": 0, "train/loss": 2.5, "tokens": 640}


def test_a_line_can_be_read_before_the_record_is_closed(tmp_path, open_record):
    record = open_record()

    record.write(1, {"train/loss": 1.0})
    record.sample(1, "text")

    assert steps_of(tmp_path) == [1]
    assert list(read_samples(tmp_path)) == [(1, "text")]


def test_figures_that_are_not_finite_stay_valid_json_and_come_back(tmp_path, open_record):
    record = open_record()

    record.write(1, {"train/loss": math.nan, "a/b": np.float32("inf"), "c/d": -math.inf})

    text = (tmp_path / "metrics.jsonl").read_text()
    assert json.loads(text, parse_constant=refuse_constant)["a/b"] == "inf"
    (line,) = read_metrics(tmp_path)
    assert math.isnan(line["train/loss"])
    assert line["a/b"] == math.inf
    assert line["c/d"] == -math.inf


def test_steps_never_decrease(open_record):
    record = open_record()
    record.write(5, {"train/loss": 1.0})
    record.write(5, {"val/loss": 1.0})

    with pytest.raises(ValueError, match=r"step 4 after step 5 .*cut_back"):
        record.write(4, {"train/loss": 1.0})


def test_a_tensor_is_refused_with_the_remedy(open_record):
    with pytest.raises(TypeError, match=r"not ndarray: .*tensor\.item\(\)"):
        open_record().write(1, {"train/loss": np.zeros(2)})


@pytest.mark.parametrize("key", ["step", "seconds"])
def test_the_keys_of_the_record_itself_are_refused(open_record, key):
    with pytest.raises(ValueError, match="the record writes both itself"):
        open_record().write(1, {key: 1})


def test_cut_back_leaves_what_the_checkpoint_had_seen(tmp_path, open_record):
    record = open_record()
    for step in range(10, 60, 10):
        record.write(step, {"train/loss": 1.0 / step})
        record.sample(step, f"at {step}")

    resumed = open_record()
    resumed.cut_back(30)
    resumed.write(40, {"train/loss": 7.0})

    assert steps_of(tmp_path) == [10, 20, 30, 40]
    assert lines_of(tmp_path)[-1]["train/loss"] == 7.0
    assert list(read_samples(tmp_path)) == [(10, "at 10"), (20, "at 20"), (30, "at 30")]


@pytest.mark.parametrize("half", [b'{"step": 30, "train/lo', b'{"step": 30}', b"\0\0\0\n", b"\xe2"])
def test_a_half_written_last_line_is_dropped_and_the_next_one_whole(tmp_path, open_record, half):
    open_record().write(20, {"train/loss": 1.0})
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(half)

    assert steps_of(tmp_path) == [20]
    open_record().write(30, {"train/loss": 1.0})

    assert [line["step"] for line in lines_of(tmp_path)] == [20, 30]


def test_a_broken_line_in_the_middle_is_named_and_nothing_is_cut(tmp_path, open_record):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"st\n{"step": 3}\n')

    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 2: not JSON"):
        open_record()

    assert path.read_text().count("\n") == 3


def test_cut_back_after_writing_is_refused(open_record):
    record = open_record()
    record.write(1, {"train/loss": 1.0})

    with pytest.raises(RuntimeError, match="before the first write"):
        record.cut_back(0)


def test_seconds_go_on_over_a_resume_from_the_last_line_kept(tmp_path, open_record):
    (tmp_path / "metrics.jsonl").write_text(
        '{"step": 10, "seconds": 100.0}\n{"step": 20, "seconds": 250.0}\n'
    )

    record = open_record()
    assert 250 <= record.seconds < 260
    record.cut_back(10)
    record.write(20, {"train/loss": 1.0})

    assert 100 <= lines_of(tmp_path)[-1]["seconds"] < 110


def test_the_summary_is_flat_and_holds_the_last_value_of_each_metric(tmp_path, open_record):
    record = open_record()
    record.write(1, {"epoch": 0, "train/loss": 3.0})
    record.write(2, {"epoch": 1, "train/loss": 2.0})
    record.summary({"parameters": 12, "best/val/loss": math.nan})

    record.close("finished")

    summary = read_summary(tmp_path)
    assert summary.pop("seconds") >= 0
    assert math.isnan(summary.pop("best/val/loss"))
    assert summary == {
        "epoch": 1, "train/loss": 2.0, "status": "finished", "parameters": 12, "step": 2
    }  # fmt: skip


def test_a_nested_summary_is_refused(open_record):
    with pytest.raises(TypeError, match=r"'test' is \{'loss': 1\}: write .* 'test/name'"):
        open_record().summary({"test": {"loss": 1}})


def test_a_run_is_running_until_it_is_closed_and_closes_once(tmp_path, open_record):
    record = open_record()
    assert read_summary(tmp_path)["status"] == "running"

    record.close("stopped")
    record.close("finished")

    assert read_summary(tmp_path)["status"] == "stopped"


def test_a_resume_keeps_no_figure_of_an_earlier_end(open_record):
    record = open_record()
    record.write(1, {"train/loss": 1.0})
    record.summary({"test/loss": 9.0})
    record.close("stopped")

    resumed = open_record()
    resumed.write(2, {"train/loss": 0.5})

    summary = resumed.close("stopped")
    assert "test/loss" not in summary
    assert (summary["step"], summary["train/loss"]) == (2, 0.5)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.json"
    write_atomically(path, "old")

    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "\ud800")

    assert path.read_text() == "old"


def test_a_lone_surrogate_in_a_sample_is_replaced(tmp_path, open_record):
    record = open_record()

    record.sample(1, "a\ud800\u2028b")

    assert list(read_samples(tmp_path)) == [(1, "a?\u2028b")]


def test_a_write_costs_microseconds(open_record):
    record = open_record()
    values = {f"train/figure_{i}": i / 7 for i in range(8)} | {"epoch": 0, "tokens": 123}
    best = math.inf

    for repeat in range(20):
        began = time.perf_counter()
        for step in range(50):
            record.write(repeat * 50 + step, values)
        best = min(best, (time.perf_counter() - began) / 50)

    assert best < 200e-6  # about 15e-6 on an idle machine


def test_the_record_imports_without_torch():
    code = "import sys, lmexp.record, lmexp.mirrors, lmexp.show; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_one_figure_is_read_without_the_lines_that_lack_it(tmp_path, open_record):
    record = open_record()
    record.write(1, {"train/loss": 3.0})
    record.write(1, {"val/loss": 2.0, "val/loss_of_words": 9.0})
    record.write(2, {"val/loss_of_words": 8.0})
    record.write(3, {"val/loss": math.inf})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "val/loss": 1.')  # a kill

    assert list(read_figure(tmp_path, "val/loss")) == [(1, 2.0), (3, math.inf)]
    assert list(read_figure(tmp_path / "elsewhere", "val/loss")) == []
