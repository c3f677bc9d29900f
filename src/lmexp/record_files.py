"""The files of a record: JSON lines that survive a kill, and whole files written atomically.

A number that is not finite is written as the string "nan", "inf" or "-inf", because JSON has no
word for it and a reader in another language must not choke; `restore` makes floats of them again.
"""

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

METRICS, SAMPLES, SUMMARY = "metrics.jsonl", "samples.jsonl", "summary.json"
NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def _plain(value: object) -> Any:
    """What stands in JSON for a value that the encoder does not know: NumPy's numbers only."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(
        f"a record holds numbers and strings, not {type(value).__name__}: "
        "write a tensor as tensor.item(), a list or dict as several keys"
    )


def _finite(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


_LINE = json.JSONEncoder(allow_nan=False, ensure_ascii=False, default=_plain)  # built once: speed


def encode(values: Mapping[str, Any]) -> str:
    """A flat mapping as one line of valid JSON, without the line end."""
    try:
        return _LINE.encode(values)
    except ValueError:  # a number that is not finite; rare, so tested by trying
        return _LINE.encode({key: _finite(value) for key, value in values.items()})


def restore(values: Mapping[str, Any]) -> dict[str, Any]:
    """The mapping with "nan", "inf" and "-inf" as floats again."""
    return {
        key: NOT_FINITE.get(value, value) if isinstance(value, str) else value
        for key, value in values.items()
    }


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each whole line with the offset of its end; a last line cut short by a kill is left out."""
    end = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                values = json.loads(line)
            except ValueError as error:  # JSON and UTF-8 errors both
                if file.read(1):
                    raise ValueError(
                        f"{path}, line {number}: not JSON: {line[:80]!r}; only the last line of a "
                        "record may be half-written: take that line out to read the rest"
                    ) from error
                return
            if not line.endswith(b"\n"):
                return
            end += len(line)
            yield end, values


def read_metrics(folder: Path) -> Iterator[dict[str, Any]]:
    """The lines of metrics.jsonl in a run folder, in order; none if there is no such file.

    Raises:
        ValueError: a line other than the last is not JSON.
    """
    path = folder / METRICS
    if path.exists():
        for _, values in _lines(path):
            yield restore(values)


def read_figure(folder: Path, name: str) -> Iterator[tuple[int, float]]:
    """(step, value) of one figure in metrics.jsonl, in order; lines without it are not decoded.

    Raises:
        ValueError: a line with it, other than the last, is not JSON.
    """
    path, mark = folder / METRICS, f"{json.dumps(name)}:".encode()
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            if mark not in line or not line.endswith(b"\n"):
                continue
            try:
                values = restore(json.loads(line))
            except ValueError as error:
                raise ValueError(f"{path}: not JSON: {line[:80]!r}: {error}") from error
            if isinstance(values.get(name), int | float):
                yield values["step"], values[name]


def read_samples(folder: Path) -> Iterator[tuple[int, str]]:
    """(step, text) of the samples in a run folder, in order; none if there are none."""
    path = folder / SAMPLES
    if path.exists():
        for _, values in _lines(path):
            yield values["step"], values["text"]


def read_summary(folder: Path) -> dict[str, Any]:
    """summary.json of a run folder, empty if it is not there yet."""
    path = folder / SUMMARY
    return restore(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def cut_after(path: Path, step: float = math.inf) -> dict[str, Any]:
    """Drops the lines after a step and a half-written last line.

    Steps never decrease in a file, so what stays is a prefix and one truncation removes the rest:
    a kill leaves the file either whole or cut.

    Returns:
        What stays, merged, later lines over earlier: the last step and the last value of each key.
    """
    kept_until, latest = 0, dict[str, Any]()
    if not path.exists():
        return latest
    for end, values in _lines(path):
        if values["step"] > step:
            break
        kept_until = end
        latest.update(values)
    if path.stat().st_size != kept_until:
        with path.open("rb+") as file:
            file.truncate(kept_until)
            os.fsync(file.fileno())
    return restore(latest)
