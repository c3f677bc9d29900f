"""The record of a run: what was measured, when, and in what environment.

The files in the run folder are the truth (docs/record.md lists them); TensorBoard, Weights & Biases
and CSV are mirrors fed from them. Only rank 0 keeps a record.
"""

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from lmexp.atomic import write_atomically
from lmexp.environment import environment, write_environment
from lmexp.feed import Feed, Mirror
from lmexp.record_files import (
    METRICS,
    SAMPLES,
    SUMMARY,
    cut_after,
    encode,
    read_metrics,
    read_samples,
    read_summary,
)

__all__ = [
    "Record",
    "environment",
    "read_metrics",
    "read_samples",
    "read_summary",
    "write_environment",
]


class Record:
    """Writes the files of a run and feeds the mirrors.

    A folder that already holds a record is continued: a half-written last line goes, steps and
    seconds go on. After `cut_back` they go on from the checkpoint. The mirrors start with the
    first line or sample, in threads of their own.

    Args:
        folder: the run folder; must exist.
        mirrors: what `logger=` chose.
        recipe: the frozen recipe, which mirrors show beside the figures.
        finish_timeout_seconds: how long `close` waits, over all mirrors, before it leaves those
            that hang behind.

    Raises:
        ValueError: a line of the existing record other than the last is not JSON.
    """

    def __init__(
        self,
        folder: Path,
        mirrors: Sequence[Mirror] = (),
        recipe: Mapping[str, Any] | None = None,
        *,
        finish_timeout_seconds: float = 60.0,
    ) -> None:
        self.folder = folder
        self._mirrors = mirrors
        self._recipe = recipe or {}
        self._timeout = finish_timeout_seconds
        self._feeds: list[Feed] | None = None
        self._samples: TextIO | None = None
        self._is_open = True
        self._covered = -1  # the step of the newest checkpoint
        self._continue_after(float("inf"))
        self._lines = _append(folder / METRICS)
        self._summary: dict[str, Any] = {}  # anew: figures of an earlier session may not hold now
        self.summary({"status": "running"})

    @property
    def seconds(self) -> float:
        """Since the start of the run: the time of all sessions, without work lost to a kill."""
        return self._seconds_before + time.monotonic() - self._began

    @property
    def step(self) -> int:
        """Of the last line; -1 before the first."""
        return self._step

    def cut_back(self, step: int) -> None:
        """Drops what came after a checkpoint's step; for a resume, before anything is written.

        Raises:
            RuntimeError: lines or samples were written already.
        """
        if self._feeds is not None:
            raise RuntimeError("cut_back must come before the first write of a session")
        self._continue_after(step)
        self._covered = step

    def cover(self, step: int) -> None:
        """A checkpoint of that step is on the disk: what was recorded up to it may be shown."""
        self._covered = step
        for feed in self._feeds or []:
            feed.cover(step)

    def _continue_after(self, step: float) -> None:
        self._latest = cut_after(self.folder / METRICS, step)
        cut_after(self.folder / SAMPLES, step)
        self._step: int = self._latest.pop("step", -1)
        self._seconds_before: float = self._latest.pop("seconds", 0.0)
        self._began = time.monotonic()

    def write(self, step: int, values: Mapping[str, float | int | str]) -> None:
        """Appends one line to metrics.jsonl: step, the values, seconds.

        Takes about ten microseconds; a kill right after it loses nothing, a kill within it leaves
        a half line that the next session removes.

        Args:
            step: optimizer steps so far; never less than in the line before.
            values: `epoch`, `tokens` and `split/name` figures. Figures that are not finite are
                written as "nan", "inf" and "-inf".

        Raises:
            ValueError: the step decreases, or `step` or `seconds` is among the values.
            TypeError: a value is neither number nor string.
            OSError: the disk is full.
        """
        if step < self._step:
            raise ValueError(
                f"step {step} after step {self._step} in {self.folder / METRICS}: steps never "
                "decrease; after loading a checkpoint call cut_back first"
            )
        if "step" in values or "seconds" in values:
            raise ValueError(
                f"values hold 'step' or 'seconds': {sorted(values)}; the record writes both itself"
            )
        if self._feeds is None:
            self._start_mirrors()
        line = {"step": step, **values, "seconds": round(self.seconds, 3)}
        self._append(self._lines, line)
        self._step = step
        self._latest.update(values)

    def sample(self, step: int, text: str) -> None:
        """Appends a generated text to samples.jsonl."""
        if self._feeds is None:
            self._start_mirrors()
        if self._samples is None:
            self._samples = _append(self.folder / SAMPLES)
        text = text.encode(errors="replace").decode()  # lone surrogates are no UTF-8
        self._append(self._samples, {"step": step, "text": text})

    def _append(self, file: TextIO, line: Mapping[str, Any]) -> None:
        try:
            file.write(encode(line) + "\n")
        except OSError as error:
            raise OSError(
                error.errno,
                f"{file.name} could not be written ({error.strerror}): the checkpoints are "
                f"untouched; make room and go on with resume={self.folder}",
            ) from error

    def summary(self, update: Mapping[str, float | int | str | bool | None]) -> None:
        """Merges figures into summary.json, atomically.

        Raises:
            TypeError: a value is neither number, string nor null: a summary is flat.
        """
        nested = [
            key for key, value in update.items() if isinstance(value, Mapping | list | tuple | set)
        ]
        if nested:
            raise TypeError(
                f"summary.json is flat, but {nested[0]!r} is {update[nested[0]]!r}: "
                f"write one key a value, such as '{nested[0]}/name'"
            )
        self._summary.update(update)
        self._write_summary()

    def _write_summary(self) -> None:
        one_line = encode(self._summary)  # checks the values; then laid out to be read
        text = json.dumps(json.loads(one_line), indent=2, ensure_ascii=False)
        write_atomically(self.folder / SUMMARY, text + "\n")

    def _start_mirrors(self) -> None:
        self._feeds = [
            Feed(mirror, self.folder, self._recipe, self._step, self._covered)
            for mirror in self._mirrors
        ]

    def close(self, status: str) -> dict[str, Any]:
        """Writes the last value of every metric, step, seconds and status; ends the mirrors.

        Figures that `summary` was given in this session stay as given. A second call does nothing.

        Args:
            status: `finished`, `stopped`, `failed`…; anything but `finished` shows as a failure.

        Returns:
            The summary as written.
        """
        if not self._is_open:
            return dict(self._summary)
        self._is_open = False
        ends = {"step": max(self._step, 0), "seconds": round(self.seconds, 3), "status": status}
        self._summary = {**self._latest, **self._summary, **ends}
        os.fsync(self._lines.fileno())
        self._lines.close()
        if self._samples is not None:
            self._samples.close()
        self._write_summary()
        deadline = time.monotonic() + self._timeout
        for feed in self._feeds or []:
            feed.end(self._summary, status)
        for feed in self._feeds or []:
            feed.wait(deadline)
        return dict(self._summary)


class NoRecord:
    """Of all ranks but the first."""

    step = -1

    def cut_back(self, step: int) -> None:
        pass

    def cover(self, step: int) -> None:
        pass

    def write(self, step: int, values: Mapping[str, float | int | str]) -> None:
        pass

    def sample(self, step: int, text: str) -> None:
        pass

    def summary(self, update: Mapping[str, float | int | str | bool | None]) -> None:
        pass

    def close(self, status: str) -> dict[str, Any]:
        return {}


def _append(path: Path) -> TextIO:
    """Opens for lines that reach the operating system one by one."""
    return path.open("a", buffering=1, encoding="utf-8", newline="\n")
