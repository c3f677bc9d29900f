"""Feeds mirrors from the record, each in a daemon thread of its own that training never waits for.

The thread reads metrics.jsonl and samples.jsonl back as they grow. So the queue between training
and a mirror is the file itself: it takes no memory however slow the mirror is, nothing is dropped,
and a mirror that starts late or after a resume catches up in the same way as it follows.
"""

import json
import math
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from lmexp.record_files import METRICS, SAMPLES, restore
from lmexp.secret_values import hidden

POLL_SECONDS = 0.25  # four reads a second cost training nothing measurable


class Mirror(Protocol):
    """Shows the record somewhere else. Every method runs in the mirror's own thread."""

    def start(self, folder: Path, recipe: Mapping[str, Any], step: int) -> int:
        """Opens the mirror; `step` is the last one in the record.

        Returns:
            The last step that the mirror holds and keeps; it gets all later ones. -1: everything.
        """
        ...

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Takes all values of a step; steps strictly increase."""
        ...

    def sample(self, step: int, text: str) -> None:
        """Takes a sample, the ones from before a resume included."""
        ...

    def finish(self, summary: Mapping[str, Any], status: str) -> None:
        """Takes the summary and closes the mirror."""
        ...


class _Tail:
    """The whole lines that were added to a file since the last look, up to a step."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def lines(self, last_step: float) -> Iterator[dict[str, Any]]:
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                values = json.loads(line)
                if values["step"] > last_step:
                    return
                self._offset += len(line)
                yield values


class Feed:
    """One mirror and its thread.

    A point is sent once a checkpoint covers its step: what a kill takes back was never shown. A run
    that finishes shows all.

    A mirror that raises is reported on the console, once, and left behind; one that hangs is
    reported when the run ends.
    """

    def __init__(
        self,
        mirror: Mirror,
        folder: Path,
        recipe: Mapping[str, Any],
        step: int,
        covered: float,
    ) -> None:
        self._mirror = mirror
        self._folder = folder
        self._recipe = recipe
        self._step = step
        self._name = type(mirror).__name__
        self._ending = threading.Event()
        self._covered = covered
        self._summary: Mapping[str, Any] = {}
        self._status = ""
        self._is_reported = False
        self._thread = threading.Thread(target=self._run, name=f"mirror {self._name}", daemon=True)
        self._thread.start()

    def cover(self, step: int) -> None:
        """A checkpoint of that step is on the disk."""
        self._covered = step

    def end(self, summary: Mapping[str, Any], status: str) -> None:
        """Asks the mirror to take what is left and finish; returns at once."""
        self._summary, self._status = summary, status
        if status == "finished":
            self._covered = math.inf
        self._ending.set()

    def wait(self, deadline: float) -> None:
        """Waits for the end until a time of `time.monotonic`, then leaves the mirror behind."""
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            self._report("did not finish in time")

    def _report(self, what: str) -> None:
        if self._is_reported:
            return
        self._is_reported = True
        print(
            f"logger {self._name} {hidden(what)}: left behind. "
            f"The record in {self._folder} is complete.",
            file=sys.stderr,
            flush=True,
        )

    def __enter__(self) -> None:
        """The body may fail in any way: a mirror is third-party code and never ends a training."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if error is not None:
            first_line = (str(error).strip().splitlines() or ["no message"])[0]
            self._report(f"failed ({type(error).__name__}: {first_line})")
        return True

    def _run(self) -> None:
        with self:
            after = self._mirror.start(self._folder, self._recipe, self._step)
            metrics, samples = _Tail(self._folder / METRICS), _Tail(self._folder / SAMPLES)
            pending: dict[str, Any] = {}  # lines of one step come together, so that steps increase
            is_ending = False
            while not is_ending:
                is_ending = self._ending.wait(POLL_SECONDS)
                covered = self._covered  # before the lines are read: of a later step may be some
                for line in metrics.lines(covered):
                    if pending and line["step"] != pending["step"]:
                        self._log(pending)
                        pending = {}
                    if line["step"] > after:
                        pending.update(line)
                for line in samples.lines(covered):
                    self._mirror.sample(line["step"], line["text"])
            if pending:
                self._log(pending)
            self._mirror.finish(self._summary, self._status)

    def _log(self, line: Mapping[str, Any]) -> None:
        values = restore(line)
        self._mirror.log(values.pop("step"), values)
