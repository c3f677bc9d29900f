"""Command `compare`: groups of runs beside each other, with tests and what they cost."""

import argparse
import shlex
from collections.abc import Callable
from pathlib import Path

from lmexp.compare.comparing import compared
from lmexp.compare.files import as_csv, as_json, as_latex
from lmexp.compare.page import as_html
from lmexp.compare.picture import draw
from lmexp.compare.result import Result
from lmexp.compare.runs import find_runs
from lmexp.compare.table import print_result
from lmexp.compare.wandb_report import asked_target, send, target_of
from lmexp.errors import say
from lmexp.output_files import check_apart, check_output

OUTPUTS = {"csv": ".csv", "json": ".json", "latex": ".tex", "png": ".png", "html": ".html"}
TYPED = ("metric", "baseline", "better", *OUTPUTS)  # options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `compare`."""
    add = parser.add_argument
    add(
        "runs",
        nargs="+",
        help="sweeps by name or folder, run folders, folders above runs, or of W&B "
        "wandb:ENTITY/PROJECT[/GROUP]",
    )
    add("--metric", help="such as test/bleu (default: the task's own, of the test)")
    add("--baseline", metavar="GROUP", help="that others are compared with (default: the first)")
    add("--better", choices=("greater", "less"), help="of a metric of your own")
    add("--csv", type=Path, metavar="OUT", help="a row a group")
    add("--json", type=Path, metavar="OUT", help="everything, with signatures")
    add("--latex", type=Path, metavar="OUT", help="the table, for booktabs")
    add("--html", type=Path, metavar="OUT", help="a page with all of it, in one file")
    add("--png", type=Path, metavar="OUT", help="learning curves by group")
    add(
        "--wandb",
        nargs="?",
        const="",
        metavar="ENTITY/PROJECT",
        help="tables and page as a run of W&B (default: in the project of the runs)",
    )


def main(args: argparse.Namespace) -> int:
    """Runs `compare`; returns the exit status.

    Raises:
        FileNotFoundError: a path holds no run, or there is no folder for an output.
        ValueError: runs do not go together, there is no such metric or baseline, or no such
            project of W&B.
    """
    outputs = {f"--{name}": path for name in OUTPUTS if (path := getattr(args, name)) is not None}
    for option, path in outputs.items():
        check_output(option, path, suffix=OUTPUTS[option.removeprefix("--")])
    check_apart(outputs, {})
    target = None if args.wandb is None else asked_target(args.wandb)
    runs = find_runs(args.runs)
    if args.wandb is not None and target is None:
        target = target_of(runs)
    result = compared(runs, metric=args.metric, baseline=args.baseline, better=args.better)
    typed = _typed(args)
    page = as_html(result, typed) if args.html is not None or target is not None else ""
    writers: dict[str, Callable[[Result], str]]
    writers = {"csv": as_csv, "json": as_json, "latex": as_latex, "html": lambda _: page}
    for name, written in writers.items():
        path = getattr(args, name)
        if path is not None:
            path.write_text(written(result), encoding="utf-8", newline="")
    if args.png is not None and not draw(result, args.png):
        say(f"--png {args.png}: no run has recorded {result.live}, so nothing was drawn")
        del outputs["--png"]
    print_result(result)
    if outputs:
        say(f"written to {', '.join(map(str, outputs.values()))}")
    if target is not None:
        send(result, page, shlex.join(["python", "-m", "lmexp", *typed]), target)
    return 0


def _typed(args: argparse.Namespace) -> list[str]:
    """The words that mean the same command."""
    given = {name: getattr(args, name) for name in TYPED}
    options = [[f"--{name}", str(value)] for name, value in given.items() if value is not None]
    if args.wandb is not None:
        options.append(["--wandb", *([args.wandb] if args.wandb else [])])
    return ["compare", *args.runs, *(word for option in options for word in option)]
