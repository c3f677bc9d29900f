"""Examples as rows of whole numbers of any length, written once and read by memory map.

A store is a folder, named by the hash of everything that decides its content:

    <column>.bin         the numbers of every example, one example after the other
    <column>.starts.bin  int64: where each example begins in it
    hashes.bin           uint64: a hash of each example's text, for the overlap between splits
    texts.jsonl          what of an example is kept as text, one JSON value a line
    store.json           columns, counts

Everything is streamed: memory does not grow with the number of examples.
"""

import contextlib
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmexp.packing import EmptyTextError, mapped, tells_a_full_disk

RAGGED_FORMAT = 1  # of a store's files; part of its key


class Row(NamedTuple):
    """An example to be written."""

    columns: Mapping[str, Sequence[int] | NDArray[Any]]
    text: str  # what it says: examples of equal texts overlap
    kept: Any = None  # any JSON value


class Column(NamedTuple):
    """The numbers of every example."""

    values: NDArray[Any]
    starts: NDArray[np.int64]  # (examples,)
    lengths: NDArray[np.int64]  # (examples,)

    def row(self, example: int) -> NDArray[Any]:
        """Those of one example: a view of the file."""
        start = int(self.starts[example])
        return self.values[start : start + int(self.lengths[example])]


class RaggedStore:
    """A store on disk; pickled as its path.

    Args:
        folder: written by write_ragged.

    Raises:
        ValueError: the folder's files are not as long as its counts say.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.counts: dict[str, Any] = json.loads((folder / "store.json").read_text("utf-8"))
        self.num_examples: int = self.counts["examples"]
        self.columns = {
            name: self._column(name, dtype, length)
            for name, (dtype, length) in self.counts["columns"].items()
        }
        self.hashes = mapped(folder / "hashes.bin", "<u8", self.num_examples)

    def __reduce__(self) -> tuple[type["RaggedStore"], tuple[Path]]:
        return RaggedStore, (self.folder,)

    @property
    def nbytes(self) -> int:
        """Of all columns."""
        return sum(column.values.nbytes + column.starts.nbytes for column in self.columns.values())

    def kept(self, count: int | None = None) -> list[Any]:
        """What of each example was kept as text; of the first ones, where a count is given."""
        with (self.folder / "texts.jsonl").open("rb") as lines:
            return [json.loads(line) for line in itertools.islice(lines, count)]

    def _column(self, name: str, dtype: str, length: int) -> Column:
        values = mapped(self.folder / f"{name}.bin", dtype, length)
        starts = mapped(self.folder / f"{name}.starts.bin", "<i8", self.num_examples)
        return Column(values, starts, np.diff(starts, append=length))


def write_ragged(
    folder: Path,
    rows: Callable[[Counter[str]], Iterable[Row]],
    dtypes: Mapping[str, str],
    facts: Callable[[], Mapping[str, Any]] = dict,
) -> RaggedStore:
    """Write examples into a new folder, streamed.

    Args:
        folder: to be made.
        rows: reads the examples and counts by reason what it drops.
        dtypes: of each column, in numpy's letters.
        facts: more of what is to be known of the store, asked for when all is written.

    Raises:
        EmptyTextError: there is no example.
        OSError: the disk is full or read-only.
    """
    dropped: Counter[str] = Counter()
    totals = dict.fromkeys(dtypes, 0)
    examples = 0
    with tells_a_full_disk(folder), contextlib.ExitStack() as files:
        folder.mkdir(parents=True)

        def opened(name: str) -> Any:
            return files.enter_context((folder / name).open("wb"))

        values = {name: opened(f"{name}.bin") for name in dtypes}
        starts = {name: opened(f"{name}.starts.bin") for name in dtypes}
        hashes, texts = opened("hashes.bin"), opened("texts.jsonl")
        for row in rows(dropped):
            examples += 1
            for name, dtype in dtypes.items():
                own = np.asarray(row.columns[name], dtype=dtype)
                starts[name].write(np.int64(totals[name]).tobytes())
                values[name].write(own.tobytes())
                totals[name] += len(own)
            hashes.write(hashlib.blake2b(row.text.encode(), digest_size=8).digest())
            texts.write(json.dumps(row.kept, ensure_ascii=False).encode() + b"\n")
    if not examples:
        raise EmptyTextError.of(dropped)
    counts = {
        "format": RAGGED_FORMAT,
        "examples": examples,
        "columns": {name: (dtype, totals[name]) for name, dtype in dtypes.items()},
        **facts(),
        "dropped": {reason: dropped[reason] for reason in sorted(dropped) if dropped[reason]},
    }
    with tells_a_full_disk(folder):
        (folder / "store.json").write_text(json.dumps(counts, indent=1) + "\n", encoding="utf-8")
    return RaggedStore(folder)
