"""What the programs of benchmarks/translation.py share. They run in environments of their own,
which know nothing of lmexp.

Once it is ready a program says so in a line; then each line of standard input asks for one
measurement, and each answer is one JSON line.

Ids are lmexp's: 0 pad, 1 unk, 2 bos, 3 eos. Shapes: D model width, V vocabulary, L positions.
"""

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

PAD, UNK, BOS, EOS = range(4)
LAYERS, D_MODEL, HEADS, D_FF = 3, 256, 4, 1_024
DROPOUT, SMOOTHING, CLIP = 0.1, 0.1, 1.0
BETAS = (0.9, 0.98)  # of Adam; Vaswani et al. 2017, section 5.3
BEAM = 5
LONGER = 50  # tokens of an output, over those of its source, at most
PENALTY = 0.6  # alpha of Wu et al. 2016, equation 14: over ((5 + length) / 6) ** alpha
POWER = PENALTY * 16 / (5 + 16)  # of others, over length ** power: as steep at 16 tokens
SENTENCES = 64  # of a batch of a search by JoeyNMT and Marian, whom larger ones make slower
SEARCHED_TOKENS = 16_000 // BEAM  # of the sources of a batch of ours and of CTranslate2's
UNENDING = 10**9  # steps

Options = dict[str, Any]
Ids = list[int]
Weights = dict[str, NDArray[np.float32]]
Search = Callable[[Sequence[Ids]], list[Ids]]


class Questions:
    """Standard input and output; what a program prints itself goes to standard error."""

    def __init__(self) -> None:
        self._answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self._is_ready = False

    def wait(self) -> None:
        """Sleep until the next question; after the last one, end. The first time say ready."""
        if not self._is_ready:
            self._is_ready = True
            self.answer()
        if not sys.stdin.readline():
            sys.exit()

    def answer(self, **figures: Any) -> None:
        """Answer it."""
        print(json.dumps(figures), file=self._answers, flush=True)


class Steps:
    """Tokens a second of so many steps of training; it sleeps between two measurements.

    Args:
        questions: asked by the parent.
        warmup: steps before the first measurement.
        steps: of each.
    """

    def __init__(self, questions: Questions, warmup: int, steps: int) -> None:
        self._questions, self._steps, self._left = questions, steps, warmup
        self._began: tuple[float, int] | None = None

    def done(self, tokens: int) -> None:
        """A step is done; so many target tokens without padding were read in all steps."""
        self._left -= 1
        if self._left:
            return
        if self._began is not None:
            began, before = self._began
            self._questions.answer(per_second=(tokens - before) / (time.perf_counter() - began))
        self._questions.wait()
        self._left, self._began = self._steps, (time.perf_counter(), tokens)


def measure(search: Search, options: Options, questions: Questions) -> None:
    """Sentences a second of a search through every so-manieth source, and what it found.

    Args:
        search: one output for each source, without its end.
        options: `sources`, a JSON file of ids, and `every`.
        questions: asked by the parent.
    """
    sources = json.loads(Path(options["sources"]).read_text())[:: options["every"]]
    search(sources[:4])  # warms up
    while True:
        questions.wait()
        began = time.perf_counter()
        outputs = search(sources)
        seconds = time.perf_counter() - began
        questions.answer(per_second=len(sources) / seconds, outputs=outputs)


def in_batches(search: Search, sources: Sequence[Ids]) -> list[Ids]:
    """The outputs of a search that wants batches: sources of similar length, the longest first."""
    order = sorted(range(len(sources)), key=lambda row: -len(sources[row]))
    found: list[Ids] = [[] for _ in sources]
    for first in range(0, len(order), SENTENCES):
        rows = order[first : first + SENTENCES]
        for row, output in zip(rows, search([sources[row] for row in rows]), strict=True):
            found[row] = output
    return found


def without_end(ids: Ids) -> Ids:
    """What stands before the end of sequence."""
    return ids[: ids.index(EOS)] if EOS in ids else ids


def weights_of(options: Options) -> Weights:
    """Our weights under our names."""
    with np.load(options["weights"]) as arrays:
        return dict(arrays)


def renamed(weights: Weights, names: Sequence[tuple[str, str]]) -> Iterator[tuple[str, Any]]:
    """The layers' weights, queries, keys and values apart, with parts of names replaced in turn."""
    for name, array in weights.items():
        if "_layers." not in name:
            continue
        parts = {"qkv": ["query", "key", "value"], "key_value": ["key", "value"]}
        joined = next((part for part in parts if f".{part}." in name), None)
        split = parts[joined] if joined is not None else [""]
        for part, own in zip(split, np.split(array, len(split)), strict=True):
            new = name.replace(f".{joined}.", f".{part}.")
            for old, other in names:
                new = new.replace(old, other)
            yield new, own


def sinusoids(length: int) -> NDArray[np.float32]:
    """(L, D) positions as lmexp has them: sines first, cosines after them."""
    frequencies = np.exp(np.arange(0, D_MODEL, 2) * (-math.log(10_000) / D_MODEL))
    angles = np.arange(length)[:, None] * frequencies
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


def run(*programs: Callable[[Options, Questions], None]) -> None:
    """Run the one that the command line names, with the options in its JSON."""
    by_name = {program.__name__: program for program in programs}
    by_name[sys.argv[1]](json.loads(sys.argv[2]), Questions())
