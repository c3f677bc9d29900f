"""What the console shows of a training: a summary at the start, progress, a summary at the end."""

import math
import os
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as RichProgress
from rich.table import Table
from rich.text import Text

from lmexp.breakdown import REMEDY, Breakdown
from lmexp.text_kinds import use_of

REFRESH_SECONDS = 0.5  # a refresh takes about a millisecond of the training thread
PLAIN_SECONDS = 15.0  # between lines where the console is no terminal, such as a log file


class Screen(Console):
    """A console whose reader may go: what is shown is in the record too, and training goes on."""

    def on_broken_pipe(self) -> None:
        """Show nothing from now on."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes at its end


def print_start(facts: Mapping[str, Any], *, console: Console | None = None) -> None:
    """Prints what the run is about to do, one row a fact.

    Args:
        facts: label -> value, in the order to show. A nested mapping is shown as `name value`
            pairs, a list with commas, a whole number with thousands separated.
        console: where to; stdout if None.
    """
    table = Table(title="lmexp", title_justify="left", show_header=False, box=None)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for label, value in facts.items():
        table.add_row(Text(label), Text(_shown(value)))
    (console or Screen()).print(table)


def _shown(value: Any) -> str:
    """A fact as text."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_shown(part)}" for name, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_shown(part) for part in value)
    return str(value)


def duration(seconds: float) -> str:
    """Seconds as `42 s`, `12:03` or `1:02:03`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}:{rest:02}"
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def expected_time(seconds: float, limit: float | None) -> str:
    """How long training will take.

    Args:
        seconds: that all steps are expected to take.
        limit: seconds after which it ends, of all sessions; None: after its steps alone.
    """
    if limit is None or limit >= seconds:
        return f"{duration(seconds)} of training, a rough estimate"
    return (
        f"{duration(limit)} of training, by trainer.max_time or budget.minutes; all steps would "
        f"take {duration(seconds)}, a rough estimate"
    )


class Progress:
    """Steps done, loss, tokens per second and time left: a bar in a terminal, else lines.

    Without a thread: `update` looks at the clock and mostly returns, so it may be called at
    every step. A bar is redrawn at most twice a second; elsewhere a line comes every 15 s.

    Args:
        total_steps: of the whole run.
        first_step: done before this session.
        console: where to; stdout if None.
    """

    def __init__(
        self, total_steps: int, *, first_step: int = 0, console: Console | None = None
    ) -> None:
        self._console = console or Screen()
        self._total = total_steps
        self._first = first_step
        self._began = time.monotonic()
        self._next = 0.0  # nothing is shown before this time
        self._seconds_left: Callable[[], float] = lambda: math.inf
        self._bar: RichProgress | None = None
        if self._console.is_terminal:
            self._bar = RichProgress(
                TextColumn("step"),
                MofNCompleteColumn(),
                BarColumn(),
                TextColumn("{task.description}"),
                console=self._console,
                auto_refresh=False,  # no thread beside the training
            )
            self._task = self._bar.add_task("", total=total_steps, completed=first_step)

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def end_after(self, seconds_left: Callable[[], float]) -> None:
        """Training may end before its last step: in so many seconds from the call."""
        self._seconds_left = seconds_left

    def update(self, step: int, loss: float, tokens_per_second: float) -> None:
        """Shows a step if it is time to.

        Args:
            step: optimizer steps done, those of earlier sessions included.
            loss: train/loss, nats per token.
            tokens_per_second: of training.
        """
        now = time.monotonic()
        if now < self._next and step != self._total:
            return
        done = step - self._first
        left = ""
        if done > 0:  # by this session's pace
            seconds = (now - self._began) / done * (self._total - step)
            left = f"  {duration(max(0.0, min(seconds, self._seconds_left())))} left"
        facts = f"loss {loss:.3f}  {tokens_per_second:,.0f} tokens/s{left}"
        if self._bar is not None:
            self._next = now + REFRESH_SECONDS
            self._bar.update(self._task, completed=step, description=facts, refresh=True)
        else:
            self._next = now + PLAIN_SECONDS
            self.note(f"step {step}/{self._total}  {facts}")

    def note(self, text: str) -> None:
        """Prints a line, above the bar if there is one: a validation, a checkpoint, a warning."""
        self._console.print(escape(text), highlight=False, soft_wrap=True)


class NoProgress:
    """Of all ranks but the first."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        pass

    def end_after(self, seconds_left: Callable[[], float]) -> None:
        pass

    def update(self, step: int, loss: float, tokens_per_second: float) -> None:
        pass


def print_end(summary: Mapping[str, Any], folder: Path, *, console: Console | None = None) -> None:
    """Prints how a run ended: best value, test figures, speed, a sample, where, what next.

    Args:
        summary: as in summary.json (docs/record.md). Shown are `status`, `step`, `best/…`,
            `test/…`, `tokens_per_second`, `seconds`, `breakdown/…` and `sample`, each where it is
            there.
        folder: the run folder.
        console: where to; stdout if None.
    """
    console = console or Screen()
    table = Table(show_header=False, box=None)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(
        "status", f"{summary.get('status', 'running')} at step {summary.get('step', 0):,}"
    )
    for part in ("best", "test"):
        figures = [
            f"{key.removeprefix(part + '/')} {_shown(value)}"
            for key, value in summary.items()
            if key.startswith(part + "/")
        ]
        if figures:
            table.add_row(part, Text(", ".join(figures)))
    if "tokens_per_second" in summary:
        table.add_row("speed", f"{summary['tokens_per_second']:,.0f} tokens/s")
    if "seconds" in summary:
        table.add_row("time", duration(summary["seconds"]))
    if found := Breakdown.of(summary):
        table.add_row("broke down", Text(f"{found.told()}; {REMEDY}"))
    if summary.get("sample"):
        table.add_row("sample", Text(str(summary["sample"])))
    table.add_row("run", Text(str(folder)))
    console.print(table)
    for command in next_commands(summary, folder):
        console.print(f"  {command}", markup=False, highlight=False, soft_wrap=True)


def next_commands(summary: Mapping[str, Any], folder: Path) -> list[str]:
    """What one would type next: use the run if it finished, continue it if not."""
    run = shlex.quote(str(folder))
    if summary.get("status") != "finished":
        return [f"python train.py resume={run}", f"python -m lmexp show {run}"]
    use = use_of(str(summary.get("text_kind")), run)
    commands = [f"evaluate {run}", use, f"show {run}"]
    if summary.get("text_kind") == "sentences":
        commands.insert(2, f'interpolate {run} "one sentence" "another one"')
    return [f"python -m lmexp {command}" for command in commands]
