"""Sequences of one or two segments, cut out of documents: a pure function of (seed, epoch, number).

Shapes: N tokens of a chunk.
"""

import hashlib
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from lmexp.masking import Ids, WordEdges

Pairs = Literal["next_sentence", "sentence_order"]
OF_EVALUATION = 2**32  # in the place of an epoch: the same draws in every run

MIN_DONORS = 64  # chunks of about the same length that another segment is drawn from
TRIES = 32  # at a donor of another document that has a word where one is needed


class Tokens(Protocol):
    """What is asked of a packing.TokenStore."""

    tokens: NDArray[np.integer]  # (N,)
    num_tokens: int
    document_starts: NDArray[np.int64]


class Chunks(NamedTuple):
    """Stretches of documents: parallel arrays."""

    starts: NDArray[np.int64]  # in the stream of tokens
    lengths: NDArray[np.int64]
    documents: NDArray[np.int64]


class SegmentPair(NamedTuple):
    """What a model reads, without the reserved ids around it."""

    first: Ids
    second: Ids | None
    belongs: bool | None  # the second goes on where the first ends, in this order; None: no second


def cut(store: Tokens, longest: int, *, has_ends: bool, least: int) -> tuple[Chunks, int]:
    """Cut each document into as few chunks as fit, as even as possible.

    Args:
        store: documents that begin with a reserved id.
        longest: tokens of a chunk, at most.
        has_ends: documents end with a reserved id too.
        least: tokens of a document, which is left out if it has fewer.

    Returns:
        The chunks, and how many documents were left out.
    """
    begins, ends = extents(store, has_ends=has_ends)
    return cut_extents(begins, ends, longest, least=least)


def extents(store: Tokens, *, has_ends: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the ordinary tokens of each document begin and end in the stream."""
    begins = np.asarray(store.document_starts) + 1
    return begins, np.append(store.document_starts[1:], store.num_tokens) - has_ends


def cut_extents(
    begins: NDArray[np.int64], ends: NDArray[np.int64], longest: int, *, least: int
) -> tuple[Chunks, int]:
    """As `cut`, of documents that begin and end there."""
    sizes = ends - begins
    kept = np.flatnonzero(sizes >= least)
    counts = -(-sizes[kept] // longest)
    documents = np.repeat(kept, counts)
    places = np.arange(len(documents)) - np.repeat(np.cumsum(counts) - counts, counts)
    parts = np.repeat(counts, counts)
    edges = [
        begins[documents] + sizes[documents] * place // parts for place in (places, places + 1)
    ]
    return Chunks(edges[0], edges[1] - edges[0], documents), len(sizes) - len(kept)


class Segments:
    """Draws the segments of each chunk.

    Nothing but their content tells whether two segments belong together: in either case the first
    is the beginning of a chunk, the second the end of one, about as long a chunk, that begins with
    a word; and their lengths are those of the two parts of the first one's chunk. Where no other
    document has such an end, they belong together.

    Args:
        store: of the tokens.
        chunks: of its documents.
        edges: of words.
        pairs: next_sentence: half of the second segments are from another document (Devlin et al.
            2019, section 3.1); sentence_order: half of the pairs are swapped (Lan et al. 2020,
            section 3.1); None: there is one segment, the whole chunk.
        seed: of the draws.
    """

    def __init__(
        self, store: Tokens, chunks: Chunks, edges: WordEdges, pairs: Pairs | None, seed: int
    ) -> None:
        self._tokens, self._chunks, self._edges = store.tokens, chunks, edges
        self._pairs, self._seed = pairs, seed
        self._by_length = np.argsort(chunks.lengths, kind="stable")
        self._sorted_lengths = chunks.lengths[self._by_length]

    def generator(self, epoch: int, number: int) -> np.random.Generator:
        """Where all that is drawn of a sequence in an epoch comes from."""
        return np.random.default_rng([self._seed, epoch, number])

    def sequence(self, number: int, draw: np.random.Generator) -> SegmentPair:
        """The segments of a chunk."""
        ids = self.chunk(number)
        if self._pairs is None:
            return SegmentPair(ids, None, None)
        at = self._cut(ids, draw)
        first, second = ids[:at], ids[at:]
        if draw.random() < 0.5:
            return SegmentPair(first, second, True)
        if self._pairs == "sentence_order":
            return SegmentPair(second, first, False)
        other = self._other(number, len(second), draw)
        return (
            SegmentPair(first, second, True) if other is None else SegmentPair(first, other, False)
        )

    def chunk(self, number: int) -> Ids:
        """Its ids."""
        start, length = self._chunks.starts[number], self._chunks.lengths[number]
        return self._tokens[start : start + length].astype(np.int64)

    def keys(self, store: Any, tokenizer_hash: str) -> NDArray[np.uint64]:
        """(chunks,) a hash of each: of its document's text, its place there, and the tokenizer.

        Args:
            store: the packing.TokenStore of the tokens.
            tokenizer_hash: which decides what is cut and hidden.
        """
        documents = self._chunks.documents
        places = self._chunks.starts - np.asarray(store.document_starts)[documents]
        hashes = np.asarray(store.document_hashes)[documents]
        rows = zip(hashes.tolist(), places.tolist(), self._chunks.lengths.tolist(), strict=True)
        digests = (
            hashlib.blake2b(f"{tokenizer_hash} {row}".encode(), digest_size=8).digest()
            for row in rows
        )
        return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)

    def _cut(self, ids: Ids, draw: np.random.Generator) -> int:
        """Where the second segment begins: with a word, if there are two."""
        places = np.flatnonzero(self._edges.starts(ids)[1:]) + 1
        if not len(places):
            return int(draw.integers(1, len(ids)))
        return int(places[draw.integers(len(places))])

    def _other(self, number: int, length: int, draw: np.random.Generator) -> Ids | None:
        """The last tokens of a chunk of another document; None where none was found."""
        own = self._chunks.lengths[number]
        low, high = np.searchsorted(self._sorted_lengths, [own, own + 1])
        spare = max(0, MIN_DONORS - (high - low))
        low, high = max(0, low - spare), min(len(self._by_length), high + spare)
        for donor in self._by_length[draw.integers(low, high, TRIES)].tolist():
            is_other = self._chunks.documents[donor] != self._chunks.documents[number]
            if is_other and self._chunks.lengths[donor] > length:
                ids = self.chunk(donor)
                if self._begins_with_a_word(ids[-length - 1 :]):
                    return ids[-length:]
        return None

    def _begins_with_a_word(self, ids: Ids) -> bool:
        """Whether one begins at the second of some ids."""
        return bool(self._edges.starts(ids)[1])
