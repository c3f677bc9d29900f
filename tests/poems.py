"""A corpus and a cleaning as small as can be, for tests of the data modules."""

import dataclasses
from collections import Counter
from typing import NamedTuple


class Line(NamedTuple):
    text: str
    document: int


class Poems:
    """Documents of four lines, all different but between train and test."""

    is_stream = False
    source = "a test"

    def __init__(self, train=60, val=6, test=6):
        self.documents = {"train": train, "val": val, "test": test}
        self.counts = Counter()
        self.readings = Counter()

    def fingerprint(self):
        return str(self.documents)

    def pieces(self, split):
        self.readings[split] += 1
        self.counts = Counter(binary=1)
        for document in range(self.documents[split]):
            for line in range(4):
                yield Line(f"{split[0]}{document * 7919 + line}\n", document)


class Plain(Poems):
    """One continuous text."""

    is_stream = True

    def pieces(self, split):
        return (Line(line.text, 0) for line in super().pieces(split))


@dataclasses.dataclass(frozen=True)
class DropThirds:
    """Drops the third line of every poem."""

    def clean(self, pieces, counts):
        for number, piece in enumerate(pieces):
            if number % 4 == 2:
                counts["third"] += 1
            else:
                yield piece
