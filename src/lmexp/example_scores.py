"""What a run scored of each example of its test: the files scores/test.npz and scores/test.json.

A figure of a test set is a function of sums over its examples: of nats and tokens, of the n-grams
of an output that its references have. The statistics of each example, kept by name, are enough to
compute the figure again, of all examples or of a sample of them; so paired tests need no second
run. All metrics and the signature stand in the JSON file, the numbers in the other.

Shapes: N examples, K columns of a statistic.
"""

import hashlib
import io
import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from lmexp.atomic import fill_atomically, write_atomically

FORMAT = 1  # of both files
FOLDER = "scores"
WIDTHS = {  # formula -> columns, side by side, of the statistics that it is computed of
    "mean": 1,
    "ratio": 2,  # numerator, denominator
    "perplexity": 2,  # nats, tokens
    "bits_per_byte": 2,  # nats, bytes
    "f1": 3,  # right, given, wanted
    "bleu": 10,  # sacrebleu's: lengths of output and reference, 4 times correct, 4 times total
    "chrf": 18,  # sacrebleu's: of 6 orders output, reference, match
    "ter": 2,  # edits, length of the reference
}


class Metric(TypedDict):
    """How a figure is computed of sums of statistics."""

    formula: str  # one of WIDTHS
    of: Sequence[str]  # names of statistics


@dataclass(frozen=True)
class ExampleScores:
    """Sufficient statistics of the examples of a split, in its order.

    Args:
        keys: (N,) uint64, a hash of what each example is: of its text, whatever the tokenizer and
            the model. Equal examples have equal keys.
        statistics: (N,) or (N, K) float64 each, by name.
        metrics: of the figures that can be computed of them, by the name that the run gives them.
        unit: what an example is: a document, a line, a pair.

    Raises:
        ValueError: statistics are of other numbers of examples, or a metric of none of them.
    """

    keys: NDArray[np.uint64]
    statistics: Mapping[str, NDArray[np.float64]]
    metrics: Mapping[str, Metric]
    unit: str

    def __post_init__(self) -> None:
        """Check what belongs together."""
        if self.keys.ndim != 1 or self.keys.dtype != np.uint64:
            raise ValueError(f"keys are {_kind(self.keys)} instead of uint64 (N,)")
        for name, own in self.statistics.items():
            if own.dtype != np.float64 or own.ndim not in (1, 2) or len(own) != len(self.keys):
                raise ValueError(
                    f"statistic {name} is {_kind(own)} instead of float64 ({len(self.keys)},) or "
                    f"({len(self.keys)}, K): one row for each key"
                )
        for name, metric in self.metrics.items():
            self._check(name, metric)

    def _check(self, name: str, metric: Metric) -> None:
        formula, of = metric["formula"], list(metric["of"])
        if formula not in WIDTHS:
            raise ValueError(
                f"metric {name} has formula {formula!r}; there are {', '.join(WIDTHS)}"
            )
        if missing := [part for part in of if part not in self.statistics]:
            raise ValueError(
                f"metric {name} is computed of {', '.join(missing)}, and the statistics are "
                f"{', '.join(self.statistics) or 'none'}"
            )
        width = sum(math.prod(self.statistics[part].shape[1:]) for part in of)
        if width != WIDTHS[formula]:
            raise ValueError(
                f"metric {name}: formula {formula} takes {WIDTHS[formula]} columns, and "
                f"{', '.join(of)} have {width}"
            )


class RunScores(NamedTuple):
    """What is read back."""

    scores: ExampleScores
    signature: Mapping[str, Any]  # all that its figures depend on, as of `lmexp evaluate`


def write_scores(
    run: Path, scores: ExampleScores, signature: Mapping[str, Any], split: str = "test"
) -> None:
    """Write both files into a run folder, each whole or not at all.

    Raises:
        OSError: they could not be written.
    """
    folder = run / FOLDER
    folder.mkdir(exist_ok=True)
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {f"statistics/{name}": own for name, own in scores.statistics.items()}
    np.savez(buffer, keys=scores.keys, **arrays)
    numbers = buffer.getbuffer()
    facts = {
        "format": FORMAT,
        "unit": scores.unit,
        "examples": len(scores.keys),
        "sha256": hashlib.sha256(numbers).hexdigest(),  # of the other file
        "metrics": scores.metrics,
        "signature": signature,
    }
    fill_atomically(folder / f"{split}.npz", lambda file: file.write_bytes(numbers))
    text = json.dumps(facts, indent=2, ensure_ascii=False)
    write_atomically(folder / f"{split}.json", text + "\n")


def read_scores(run: Path, split: str = "test") -> RunScores:
    """What write_scores has written.

    Args:
        run: its folder.
        split: that was scored.

    Raises:
        FileNotFoundError: there are no such files.
        ValueError: they are damaged, or of another version of lmexp.
    """
    told, numbers = (run / FOLDER / f"{split}.{ending}" for ending in ("json", "npz"))
    for file in (told, numbers):
        if not file.is_file():
            raise FileNotFoundError(
                f"{run} has no {FOLDER}/{file.name}: it was not tested, or by a version of lmexp "
                "that kept no scores of examples"
            )
    facts, content = _facts(told), numbers.read_bytes()
    if hashlib.sha256(content).hexdigest() != facts["sha256"]:
        raise ValueError(
            f"{numbers} is damaged, or not of the same test as {told.name} beside it: copy both "
            "again"
        )
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            named = {name: arrays[name] for name in arrays.files}
        statistics = {
            name.removeprefix("statistics/"): own for name, own in named.items() if name != "keys"
        }
        scores = ExampleScores(named["keys"], statistics, facts["metrics"], facts["unit"])
    except (ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{told} and {numbers.name} do not go together: {error}") from None
    return RunScores(scores, facts["signature"])


def _facts(file: Path) -> dict[str, Any]:
    """The JSON file, with all that has to be in it."""
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:  # of JSON or of UTF-8
        raise ValueError(f"{file} is damaged: {error}") from None
    wanted = {"format", "unit", "examples", "sha256", "metrics", "signature"}
    if not isinstance(facts, dict) or (missing := sorted(wanted - facts.keys())):
        lacks = ", ".join(missing) if isinstance(facts, dict) else "everything"
        raise ValueError(f"{file} is damaged: it lacks {lacks}")
    if facts["format"] != FORMAT:
        raise ValueError(
            f"{file} has format {facts['format']}, and this version of lmexp reads {FORMAT}: test "
            "the run with this one"
        )
    return facts


def _kind(array: NDArray[Any]) -> str:
    return f"{array.dtype} {array.shape}"
