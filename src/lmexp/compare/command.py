"""Command `compare`: groups of runs beside each other, with tests and what they cost."""

import argparse
from pathlib import Path

from lmexp.compare.comparing import compared
from lmexp.compare.files import as_csv, as_json, as_latex
from lmexp.compare.picture import draw
from lmexp.compare.runs import find_runs
from lmexp.compare.table import print_result
from lmexp.errors import say
from lmexp.output_files import check_apart, check_output

OUTPUTS = {"csv": ".csv", "json": ".json", "latex": ".tex", "png": ".png"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `compare`."""
    add = parser.add_argument
    add("runs", nargs="+", help="sweeps by name or folder, run folders, folders above runs")
    add("--metric", help="such as test/bleu (default: the task's own, of the test)")
    add("--baseline", metavar="GROUP", help="that others are compared with (default: the first)")
    add("--better", choices=("greater", "less"), help="of a metric of your own")
    add("--csv", type=Path, metavar="OUT", help="a row a group")
    add("--json", type=Path, metavar="OUT", help="everything, with signatures")
    add("--latex", type=Path, metavar="OUT", help="the table, for booktabs")
    add("--png", type=Path, metavar="OUT", help="learning curves by group")


def main(args: argparse.Namespace) -> int:
    """Runs `compare`; returns the exit status.

    Raises:
        FileNotFoundError: a path holds no run, or there is no folder for an output.
        ValueError: runs do not go together, or there is no such metric or baseline.
    """
    outputs = {f"--{name}": path for name in OUTPUTS if (path := getattr(args, name)) is not None}
    for option, path in outputs.items():
        check_output(option, path, suffix=OUTPUTS[option.removeprefix("--")])
    check_apart(outputs, {})
    result = compared(
        find_runs(args.runs), metric=args.metric, baseline=args.baseline, better=args.better
    )
    for name, written in (("csv", as_csv), ("json", as_json), ("latex", as_latex)):
        path = getattr(args, name)
        if path is not None:
            path.write_text(written(result), encoding="utf-8", newline="")
    if args.png is not None and not draw(result, args.png):
        say(f"--png {args.png}: no run has recorded {result.live}, so nothing was drawn")
    print_result(result)
    return 0
