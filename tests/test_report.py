import io
import re
import time
from pathlib import Path

import pytest
from rich.console import Console

from lmexp import report
from lmexp.report import Progress, duration, expected_time, print_end, print_start


def console(*, is_terminal=False):
    return Console(file=io.StringIO(), width=100, force_terminal=is_terminal)


def printed(console):
    return console.file.getvalue()


def test_the_start_shows_each_fact_in_a_row():
    out = console()

    print_start(
        {
            "model": "transformer [6 layers]",
            "parameters": 3_123_456,
            "data": {"tokens": 12_345_678, "dropped": {"blank": 3}, "source": "cache"},
            "learning rate": 1e-3,
            "compile": False,
            "devices": ["cpu", "cpu"],
        },
        console=out,
    )

    lines = [re.split(r"\s{2,}", line.strip()) for line in printed(out).splitlines()[1:]]
    assert lines == [
        ["model", "transformer [6 layers]"],
        ["parameters", "3,123,456"],
        ["data", "tokens 12,345,678, dropped blank 3, source cache"],
        ["learning rate", "0.001"],
        ["compile", "no"],
        ["devices", "cpu, cpu"],
    ]


def test_the_end_of_a_finished_run_names_best_test_speed_sample_and_what_next():
    out = console()
    summary = {
        "status": "finished", "step": 2000, "best/val/loss": 2.34567, "best/step": 1750,
        "test/perplexity": 10.5, "train/loss": 2.0, "tokens_per_second": 12_345.6,
        "seconds": 3723.4, "sample": "The [import] statement\nis",
    }  # fmt: skip

    print_end(summary, Path("logs/runs/my run"), console=out)

    text = printed(out)
    for part in (
        "finished at step 2,000",
        "val/loss 2.346, step 1,750",
        "perplexity 10.5",
        "12,346 tokens/s",
        "1:02:03",
        "The [import] statement",
        "python -m lmexp evaluate 'logs/runs/my run'\n",
        "python -m lmexp generate 'logs/runs/my run' --prompt",
    ):
        assert part in text
    assert "train/loss" not in text


def test_the_end_of_a_run_that_broke_down_says_so_and_what_to_try():
    out = console()
    found = {"breakdown/step": 1400, "breakdown/lowest": 0.45, "breakdown/highest": 0.674}

    print_end({"status": "finished", **found}, Path("logs/runs/a"), console=out)

    text = " ".join(printed(out).split())
    assert "broke down the training loss rose from 0.45 to 0.674 after step 1,400; try" in text


def test_the_end_of_a_run_on_pairs_names_translate():
    out = console()

    print_end({"status": "finished", "text_kind": "pairs"}, Path("logs/runs/a"), console=out)

    assert "python -m lmexp translate logs/runs/a < input.txt" in printed(out)
    assert "generate" not in printed(out)


def test_a_long_sample_is_folded_and_a_command_is_not():
    out = console()
    folder = Path("logs") / ("x" * 150)

    print_end({"status": "finished", "sample": "word " * 60}, folder, console=out)

    lines = printed(out).splitlines()
    commands = [line for line in lines if "python -m" in line]
    assert all(
        line.endswith("x" * 150 + end)
        for line, end in zip(commands, ["", ' --prompt "The"', ""], strict=True)
    )
    assert all(len(line) <= 100 for line in lines if line not in commands)


def test_the_end_of_a_stopped_run_says_how_to_go_on():
    out = console()

    print_end({"status": "stopped", "step": 20}, Path("logs/runs/a"), console=out)

    assert "stopped at step 20" in printed(out)
    assert "python train.py resume=logs/runs/a" in printed(out)
    assert "generate" not in printed(out)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1:00"), (723, "12:03"), (3723, "1:02:03")],
)
def test_duration_is_in_hours_minutes_and_seconds(seconds, shown):
    assert duration(seconds) == shown


def test_a_terminal_gets_a_bar_with_loss_speed_and_time_left(monkeypatch):
    now = 1000.0
    monkeypatch.setattr(report.time, "monotonic", lambda: now)
    out = console(is_terminal=True)

    with Progress(2000, console=out) as progress:
        now += 30.0
        progress.update(500, 2.5, 12_345.6)

    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", printed(out))
    assert "500/2000" in text
    assert "loss 2.500  12,346 tokens/s  1:30 left" in text


def test_a_bar_is_redrawn_at_most_twice_a_second_but_for_the_last_step(monkeypatch):
    now = 1000.0
    monkeypatch.setattr(report.time, "monotonic", lambda: now)
    out = console(is_terminal=True)
    shown = []

    with Progress(400, console=out) as progress:
        monkeypatch.setattr(
            progress._bar, "update", lambda *a, completed, **k: shown.append(completed)
        )
        for step in range(1, 401):  # 10 ms a step, 4 s in all
            now += 0.01
            progress.update(step, 1.0, 1.0)

    assert len(shown) in (8, 9)
    assert shown[-1] == 400


def test_a_log_file_gets_plain_lines_now_and_then(monkeypatch):
    now = 1000.0
    monkeypatch.setattr(report.time, "monotonic", lambda: now)
    out = console()

    with Progress(1000, first_step=40, console=out) as progress:
        for step in range(41, 101):  # a second a step
            now += 1.0
            progress.update(step, 3.0, 100.0)

    lines = printed(out).splitlines()
    assert lines[0] == "step 41/1000  loss 3.000  100 tokens/s  15:59 left"
    assert len(lines) == 4
    assert "\x1b" not in printed(out)


def test_the_time_left_is_no_longer_than_the_time_that_training_has(monkeypatch):
    now = 5000.0
    monkeypatch.setattr("lmexp.report.time.monotonic", lambda: now)
    out = console()

    with Progress(1000, console=out) as progress:
        progress.end_after(lambda: 5090.0 - now)
        now += 20.0  # two steps of ten seconds: 9,980 s are left of all steps, 70 s of the time
        progress.update(2, 3.0, 100.0)

    assert printed(out).splitlines()[0].endswith("1:10 left")


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (None, "16:40 of training, a rough estimate"),
        (2000.0, "16:40 of training, a rough estimate"),
        (
            180.0,
            "3:00 of training, by trainer.max_time or budget.minutes; all steps would take 16:40, "
            "a rough estimate",
        ),
    ],
)
def test_the_time_expected_is_that_of_the_steps_or_the_limit(limit, expected):
    assert expected_time(1000.0, limit) == expected


def test_a_note_is_printed_as_it_stands():
    out = console(is_terminal=True)

    with Progress(10, console=out) as progress:
        progress.note("val/loss 2.1 [best]")

    assert "val/loss 2.1 [best]" in printed(out)


def test_progress_costs_a_step_of_two_milliseconds_nothing_measurable():
    progress = Progress(10**9, console=console(is_terminal=True))
    best = 1.0

    with progress:
        for repeat in range(10):
            began = time.perf_counter()
            for step in range(1000):
                progress.update(repeat * 1000 + step, 2.0, 1e4)
            best = min(best, (time.perf_counter() - began) / 1000)

    assert best < 10e-6  # about 0.15e-6 on an idle machine
