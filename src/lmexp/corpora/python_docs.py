"""The language reference that every Python carries, in pydoc_data.topics."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from typing import Annotated

from annotated_types import Ge, Lt

from lmexp.corpora.piece import Piece, Split
from lmexp.corpora.splitting import Fractions

# Topics are drawn by their names. Of the first 40 seeds the one whose parts come closest to a tenth
# of the text each (Python 3.11: 79% train, 10% val, 11% test).
_SEED = 25


class PythonDocs:
    """Topics of Python's `help()`, each a document.

    Many topics repeat parts of others ("with" is also in "compound"). From the longest topic to the
    shortest, a paragraph that was there before is dropped and counted, so that nothing longer than
    a line is both trained on and tested on.

    Args:
        val_fraction: of the topics.
        test_fraction: of the topics.
        root: data.root, which has to be None: there are no files to look for.

    Raises:
        ValueError: a root is given, or the fractions leave nothing to train on.
    """

    is_stream = False

    def __init__(
        self,
        val_fraction: Annotated[float, Ge(0), Lt(1)],
        test_fraction: Annotated[float, Ge(0), Lt(1)],
        root: str | None = None,
    ) -> None:
        if root is not None:
            raise ValueError(
                f"data.root={root}: data=python_docs comes with Python and has no files: leave "
                "data.root out, or write data=text data.files=…"
            )
        self._fractions = Fractions(val_fraction, test_fraction)
        self._fractions.check()
        self.counts: Counter[str] = Counter()

    @property
    def source(self) -> str:
        """The module that holds the text."""
        return "pydoc_data.topics of this Python"

    @property
    def splits(self) -> tuple[Split, ...]:
        """Those that have text."""
        names: tuple[Split, ...] = ("train", "val", "test")
        return tuple(name for name in names if getattr(self._fractions, name, 1))

    def fingerprint(self) -> str:
        """Hash of all topics and of the fractions."""
        text = json.dumps([_SEED, self._fractions, _topics()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def pieces(self, split: Split) -> Iterator[Piece]:
        """The topics of a split, by name, line by line."""
        self.counts = Counter()
        kept = self._without_repetitions(split)
        for number, name in enumerate(sorted(kept)):
            for line in "\n\n".join(kept[name]).split("\n"):
                yield Piece(line + "\n", number)

    def _without_repetitions(self, split: Split) -> dict[str, list[str]]:
        topics = _topics()
        seen: set[str] = set()
        kept: dict[str, list[str]] = {}
        for name in sorted(topics, key=lambda name: (-len(topics[name]), name)):
            is_ours = self._fractions.of_key(f"{_SEED}:{name}".encode()) == split
            for paragraph in topics[name].strip("\n").split("\n\n"):
                if paragraph.strip() in seen:
                    self.counts["repeated paragraph"] += is_ours
                elif is_ours:
                    kept.setdefault(name, []).append(paragraph)
                seen.add(paragraph.strip())
        return kept


def _topics() -> dict[str, str]:
    from pydoc_data.topics import topics

    return dict(topics)
