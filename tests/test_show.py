import argparse
import io
import json
import math
import os
import subprocess
import sys

import pytest
from rich.console import Console

from lmexp.__main__ import main as command
from lmexp.record import Record
from lmexp.run_folders import newest_run
from lmexp.show import add_arguments, draw, main, read_curves, show
from lmexp.text_plot import text_plot


@pytest.fixture
def run(tmp_path):
    """A finished run: loss 1/step at 1..40, validated twice."""
    folder = tmp_path / "runs" / "lstm-text" / "2026-01-02_03-04-05"
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text("name: lstm-text\n")
    data = {"tokens": 123456, "dropped": {"blank": 7}}
    (folder / "environment.json").write_text(json.dumps({"data": data}))
    record = Record(folder)
    for step in range(1, 41):
        record.write(step, {"epoch": 0, "train/loss": 1 / step, "tokens": step * 64})
        if step % 20 == 0:
            record.write(step, {"val/loss": 2 / step, "val/perplexity": math.exp(2 / step)})
            record.sample(step, f"[sample] {step}")
    record.close("finished")
    return folder


def shown(run, **options):
    console = Console(file=io.StringIO(), width=100)
    show(run, console=console, **options)
    return console.file.getvalue()


def test_show_prints_curves_figures_counts_and_samples(run):
    text = shown(run)

    assert "t = train/loss, v = val/loss" in text
    for row in (
        ["train/loss", "1", "0.025", "40", "1", "0.025"],
        ["val/loss", "0.1", "0.05", "40", "0.1", "0.05"],
        ["dropped/blank", "7"],
        ["tokens", "123,456"],
        ["status", "finished"],
    ):
        assert row in [line.split() for line in text.splitlines()]
    assert "[sample] 20" in text
    assert "[sample] 40" in text


def test_show_writes_a_picture_into_the_run(run):
    text = shown(run)

    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert "curves.png" in text


def test_show_takes_one_metric_and_the_newest_samples(run):
    text = shown(run, metric="val/perplexity", num_samples=1)

    assert "v = val/perplexity" in text
    assert "t = train/loss" not in text
    assert "[sample] 20" not in text
    assert "[sample] 40" in text


def test_an_unknown_metric_names_those_there_are(run):
    with pytest.raises(ValueError, match="records train/loss, val/loss, val/perplexity"):
        shown(run, metric="bleu")


def test_a_run_without_figures_says_so(run):
    (run / "metrics.jsonl").unlink()

    with pytest.raises(FileNotFoundError, match="has no figures: its metrics"):
        shown(run)


def test_the_command_takes_the_parent_of_runs(run, capsys, tmp_path):
    parser = argparse.ArgumentParser()
    add_arguments(parser)

    status = main(parser.parse_args([str(tmp_path), "--png", str(tmp_path / "a.png")]))

    assert status == 0
    assert "[sample] 40" in capsys.readouterr().out
    assert (tmp_path / "a.png").exists()


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("--png a.txt", "--png a.txt: PNG is written"),
        ("--png .", "--png . is a folder"),
        ("--png nowhere/a.png", "there is no folder nowhere"),
        ("--samples -1", "--samples -1: 0 or more"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_drawn(typed, told, run, capsys):
    assert command(["show", str(run), *typed.split()]) == 2

    captured = capsys.readouterr()
    assert told in captured.err
    assert not captured.out


def test_curves_hold_numbers_that_are_not_finite_and_no_strings(tmp_path):
    record = Record(tmp_path)
    record.write(1, {"train/loss": math.inf, "train/note": "text", "tokens": 3})
    record.close("failed")

    assert read_curves(tmp_path) == {"train/loss": ([1], [math.inf])}
    assert draw(read_curves(tmp_path), tmp_path / "a.png", title="a").exists()


def test_show_imports_no_torch_and_matplotlib_only_to_draw():
    code = "import sys, lmexp.show; sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_text_plot_puts_points_where_arithmetic_says():
    plot = text_plot({"train": ([0, 1, 2], [0, 1, 2])}, width=22, height=3)

    assert plot.splitlines() == [
        "t = train",
        "2 |                  t",
        "  |         t",
        "0 |t",
        "  +-------------------",
        "   0                 2",
    ]


def test_a_text_plot_leaves_out_what_is_not_finite():
    assert text_plot({"a": ([1], [math.nan])}) == "no finite point to plot"
    assert text_plot({"a": ([1, 2], [math.inf, 3.0])}, 20, 2).count("a") == 3  # legend 2, point 1


def test_curves_of_one_plot_have_marks_of_their_own():
    plot = text_plot({"train/loss": ([1], [1]), "test/loss": ([2], [2])})

    assert plot.startswith("t = train/loss, e = test/loss\n")


def test_a_run_is_found_from_inside_itself_and_above(run, tmp_path):
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "last.ckpt").write_text("")

    for path in (run, run / "checkpoints" / "last.ckpt", run / "checkpoints", run.parent, tmp_path):
        assert newest_run(path) == run


def test_the_newest_run_is_the_one_frozen_last(run):
    other = run.with_name("2025-01-01_00-00-00")
    other.mkdir()
    (other / "recipe.yaml").write_text("")
    os.utime(run / "recipe.yaml", (1, 1))

    assert newest_run(run.parent) == other


def test_a_missing_run_names_what_is_there_instead(run):
    with pytest.raises(FileNotFoundError, match=f"no such file.* holds {run.name}"):
        newest_run(run.with_name("2026"))


def test_a_folder_without_runs_says_what_was_looked_for(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"looked for recipe\.yaml"):
        newest_run(tmp_path)


def test_a_file_outside_a_run_says_what_to_name(tmp_path):
    (tmp_path / "a.ckpt").write_text("")

    with pytest.raises(FileNotFoundError, match=r"lies in no run.*name a run folder"):
        newest_run(tmp_path / "a.ckpt")
