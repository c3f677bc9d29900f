"""What a corpus yields."""

from typing import Literal, NamedTuple

Split = Literal["train", "val", "test"]


class Piece(NamedTuple):
    r"""Some text of one document: a line with its "\n", or so.

    Pieces of a document follow each other, and together they are its text.
    """

    text: str
    document: int  # from 0, rising


class Pair(NamedTuple):
    r"""A text and what it is to become, such as its translation; lines without their "\n"."""

    source: str
    target: str
    references: tuple[str, ...] = ()  # right answers beside the target

    @property
    def tests(self) -> tuple[str, ...]:
        """None: see PairWithTests."""
        return ()


class PairWithTests(NamedTuple):
    """A pair of which the target is a program."""

    source: str
    target: str
    references: tuple[str, ...]
    tests: tuple[str, ...]  # Python to run after the program
