"""Pairs of texts, tokenised once into memory-mapped files.

A store is a folder, named by the hash of everything that decides its content:

    source.bin    uint16 or uint32: `t1 … tn eos` of each source, one after the other; t1 is its tag
                  if sources have one
    target.bin    the same of the targets
    pairs.bin     _PAIR: where each begins, hashes of the source's text and of both
    texts.jsonl   [source, target, further references …] as they were read; of val and test alone
    tests.jsonl   [Python to run after the target, …] likewise; mostly []
    store.json    counts

Everything is streamed: memory does not grow with the number of pairs.
"""

import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from lmexp.packing import EmptyTextError, mapped, tells_a_full_disk
from lmexp.tokenizers import PairTokenizer

PAIR_FORMAT = 2  # of a store's files; part of its key
_BLOCK_PAIRS = 20_000  # tokenised at once
_PAIR = np.dtype([("source", "<i8"), ("target", "<i8"), ("text", "<u8"), ("both", "<u8")])


class Pair(Protocol):
    """What a corpus of pairs yields."""

    @property
    def source(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def references(self) -> tuple[str, ...]: ...
    @property
    def tests(self) -> tuple[str, ...]: ...


class PairFrame(NamedTuple):
    """What surrounds the tokens of a pair, and how many there may be."""

    eos_id: int
    unk_id: int  # counted
    max_length: int  # tokens of a source or target, its tag and end included
    drops_longer: bool  # pairs beyond max_length are left out; else they are cut, and counted
    keeps_texts: bool  # for scores against the raw references


class PairStore:
    """A store on disk, read by memory map; pickled as its path.

    Bytes, in UTF-8, and characters are of the targets, as far as they were not cut.

    Args:
        folder: written by write_pair_store.

    Raises:
        ValueError: the folder's files are not as long as its counts say.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.counts: dict[str, Any] = json.loads((folder / "store.json").read_text("utf-8"))
        self.num_pairs: int = self.counts["pairs"]
        self.num_bytes: int = self.counts["bytes"]
        self.num_chars: int = self.counts["chars"]
        self.num_unk: int = self.counts["unk"]
        self.source: NDArray[Any] = self._tokens("source")
        self.target: NDArray[Any] = self._tokens("target")
        pairs = mapped(folder / "pairs.bin", _PAIR, self.num_pairs)
        self.source_starts: NDArray[np.int64] = pairs["source"]
        self.target_starts: NDArray[np.int64] = pairs["target"]
        self.source_lengths = np.diff(self.source_starts, append=len(self.source))
        self.target_lengths = np.diff(self.target_starts, append=len(self.target))
        self.line_hashes: NDArray[np.uint64] = pairs["text"]  # of the sources
        self.document_hashes: NDArray[np.uint64] = pairs["both"]

    def __reduce__(self) -> tuple[type["PairStore"], tuple[Path]]:
        return PairStore, (self.folder,)

    def source_ids(self, row: int) -> list[int]:
        """Ids of a source, its tag first if sources have one, its end last."""
        start = int(self.source_starts[row])
        ids: list[int] = self.source[start : start + int(self.source_lengths[row])].tolist()
        return ids

    def texts(self) -> list[list[str]]:
        """Source, target and further references of each pair, as they were read; val and test."""
        return self._lines("texts.jsonl")

    def tests(self) -> list[list[str]]:
        """What the target of each pair has to pass, as it was read; val and test."""
        return self._lines("tests.jsonl")

    def _lines(self, name: str) -> list[list[str]]:
        lines = (self.folder / name).read_text(encoding="utf-8").split("\n")[:-1]
        return [json.loads(line) for line in lines]

    def _tokens(self, side: str) -> NDArray[Any]:
        return mapped(
            self.folder / f"{side}.bin", self.counts[f"{side}_dtype"], self.counts[f"{side}_tokens"]
        )


def target_bytes(store: PairStore, tokenizer: Any, max_length: int) -> NDArray[np.int64]:
    """(pairs,) UTF-8 bytes of each target, as far as it was not cut; of val and test.

    Args:
        store: its num_bytes are the sum of them.
        tokenizer: of the targets.
        max_length: of the store's frame.
    """
    targets = [texts[1] for texts in store.texts()]
    sizes = np.array([len(target.encode()) for target in targets], dtype=np.int64)
    longest = max_length - 1  # and the end
    full = np.flatnonzero(store.target_lengths == max_length).tolist()  # cut, or just fitting
    for row, ids in zip(full, tokenizer.encode_many([targets[row] for row in full]), strict=True):
        if len(ids) > longest:
            sizes[row] = len(tokenizer.decode(ids[:longest]).encode())
    return sizes


def write_pair_store(
    folder: Path,
    pairs: Callable[[Counter[str]], Iterable[Pair]],
    tokenizer: PairTokenizer,
    frame: PairFrame,
) -> PairStore:
    """Tokenise into a new folder, streamed.

    Args:
        folder: to be made.
        pairs: reads the text and counts by reason what it drops.
        tokenizer: fitted.
        frame: reserved ids and lengths.

    Raises:
        EmptyTextError: there is no pair.
        OSError: the disk is full or read-only.
    """
    dropped: Counter[str] = Counter()
    with tells_a_full_disk(folder):
        folder.mkdir(parents=True)
        with _Writer(folder, tokenizer, frame, dropped) as writer:
            for block in _blocks(pairs(dropped)):
                writer.add(block)
        if not writer.totals["pairs"]:
            raise EmptyTextError.of(dropped)
        counts = {**writer.counts(), "dropped": dict(sorted(dropped.items()))}
        (folder / "store.json").write_text(json.dumps(counts, indent=1) + "\n", encoding="utf-8")
    return PairStore(folder)


class _Writer:
    """Appends framed pairs to the files of a store."""

    def __init__(
        self,
        folder: Path,
        tokenizer: PairTokenizer,
        frame: PairFrame,
        dropped: Counter[str],
    ) -> None:
        self._tokenizer, self._frame, self._dropped = tokenizer, frame, dropped
        sizes = tokenizer.source.vocab_size, tokenizer.target.vocab_size
        self._dtypes = [np.dtype("<u2" if size <= 1 << 16 else "<u4") for size in sizes]
        self._files = contextlib.ExitStack()
        names = ("source.bin", "target.bin", "pairs.bin", "texts.jsonl", "tests.jsonl")
        self._source, self._target, self._pairs, self._texts, self._tests = (
            self._files.enter_context((folder / name).open("wb")) for name in names
        )
        self.totals: Counter[str] = Counter()

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def counts(self) -> dict[str, Any]:
        """Totals of what was written."""
        names = ("pairs", "source_tokens", "target_tokens", "bytes", "chars", "unk")
        source, target = (dtype.str for dtype in self._dtypes)
        totals = {name: self.totals[name] for name in names}
        dtypes = {"source_dtype": source, "target_dtype": target}
        return {"format": PAIR_FORMAT, **dtypes, **totals}

    def add(self, block: Sequence[Pair]) -> None:
        """Tokenise and append some pairs."""
        sources = self._tokenizer.encode_sources([pair.source for pair in block])
        targets = self._tokenizer.target.encode_many([pair.target for pair in block])
        for pair, source, target in zip(block, sources, targets, strict=True):
            longest = self._frame.max_length - 1  # and the end
            if max(len(source), len(target)) > longest:
                verb = "longer than" if self._frame.drops_longer else "cut at"
                self._dropped[f"{verb} {self._frame.max_length} tokens"] += 1
                if self._frame.drops_longer:
                    continue
            is_cut = len(target) > longest
            text = self._tokenizer.target.decode(target[:longest]) if is_cut else pair.target
            self._append(pair, source[:longest], target[:longest])
            self.totals["bytes"] += len(text.encode())
            self.totals["chars"] += len(text)

    def _append(self, pair: Pair, source: NDArray[Any], target: NDArray[Any]) -> None:
        starts = self.totals["source_tokens"], self.totals["target_tokens"]
        hashes = _hash(pair.source), _hash(f"{pair.source}\n{pair.target}")
        self._pairs.write(np.array((*starts, *hashes), dtype=_PAIR).tobytes())
        for side, ids, file, dtype in zip(
            ("source", "target"),
            (source, target),
            (self._source, self._target),
            self._dtypes,
            strict=True,
        ):
            file.write(np.append(ids, self._frame.eos_id).astype(dtype).tobytes())
            self.totals[f"{side}_tokens"] += len(ids) + 1
        if self._frame.keeps_texts:
            texts = [pair.source, pair.target, *pair.references]
            self._texts.write(json.dumps(texts, ensure_ascii=False).encode() + b"\n")
            self._tests.write(json.dumps(pair.tests, ensure_ascii=False).encode() + b"\n")
        self.totals["pairs"] += 1
        self.totals["unk"] += int(np.count_nonzero(target == self._frame.unk_id))


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _blocks(pairs: Iterable[Pair]) -> Iterator[list[Pair]]:
    block: list[Pair] = []
    for pair in pairs:
        block.append(pair)
        if len(block) == _BLOCK_PAIRS:
            yield block
            block = []
    if block:
        yield block
