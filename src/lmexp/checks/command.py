"""Command `check`: the test-suite for a model or data of the user's own."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmexp.launch import add_overrides

if TYPE_CHECKING:
    from lmexp.checks.suite import Result

SECONDS = 25.0
COLOURS = {"passed": "green", "failed": "bold red", "not applicable": "dim"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command: those of train, and what is checked beyond the usual."""
    add_overrides(parser)
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the results there too")
    parser.add_argument("--compile", action="store_true", help="try torch.compile, which is slow")
    parser.add_argument(
        "--seconds",
        type=float,
        default=SECONDS,
        help=f"that learning eight examples may take (default: {SECONDS:.0f})",
    )


def main(args: argparse.Namespace) -> int:
    """Make all checks; 0 if none failed, else 1.

    Raises:
        ValueError: the recipe is wrong, or its parts cannot be built.
    """
    from lmexp.check import check
    from lmexp.output_files import check_output
    from lmexp.recipe import composition
    from lmexp.trial import build_sizes

    if not args.seconds > 0:
        raise ValueError(f"--seconds {args.seconds:g}: more than 0, {SECONDS:.0f} for example")
    if args.json is not None:
        check_output("--json", args.json, suffix=".json")
    composed = composition(args.overrides, args.config_dir, args.allow_targets)
    recipe, allowed = composed.recipe, composed.allow_targets
    if recipe.get("resume") is not None:
        raise ValueError(
            f"resume={recipe['resume']}: check is of a run that has not begun; write the overrides "
            "that it was begun with, or init_from= for its weights"
        )
    check(recipe, allowed, composed.origins)
    build_sizes(recipe, allowed, composed.origins)
    found = _checked(recipe, allowed, args.seconds, compiles=args.compile)
    if args.json is not None:
        _write(args.json, recipe, found)
    return int(any(result.outcome.verdict == "failed" for result in found))


def _checked(
    recipe: dict[str, Any], allow_targets: Sequence[str], seconds: float, *, compiles: bool
) -> "list[Result]":
    from lmexp.checks.subject import Subject
    from lmexp.checks.suite import results
    from lmexp.errors import say

    subject = Subject(recipe, allow_targets, seconds=seconds, compiles=compiles, announce=say)
    found = list(results(subject))
    _print(recipe, found)
    return found


def _print(recipe: dict[str, Any], found: "Sequence[Result]") -> None:
    from rich.table import Table
    from rich.text import Text

    from lmexp.report import Screen

    table = Table(title=f"lmexp check: {recipe['name']}", title_justify="left", box=None)
    table.add_column("check", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("what was seen", overflow="fold")
    for name, outcome, _ in found:
        seen = Text(outcome.says)
        if outcome.means:
            seen.append(f"\n→ {outcome.means}")
        verdict = outcome.verdict.replace("not applicable", "n/a")
        table.add_row(Text(name), Text(verdict, style=COLOURS[outcome.verdict]), seen)
    screen = Screen()
    screen.print(table)
    verdicts: list[str] = [result.outcome.verdict for result in found]
    counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in COLOURS)
    seconds = sum(result.seconds for result in found)
    screen.print(Text(f"{counts}; {seconds:.0f} s"), soft_wrap=True)


def _write(path: Path, recipe: dict[str, Any], found: "Sequence[Result]") -> None:
    from lmexp.atomic import write_atomically

    verdicts = [result.outcome.verdict for result in found]
    content = {
        "name": recipe["name"],
        "failed": verdicts.count("failed"),
        "checks": [result.record() for result in found],
    }
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    write_atomically(path, f"{text}\n")
