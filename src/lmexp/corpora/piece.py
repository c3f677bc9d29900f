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


class Tagged(NamedTuple):
    """Words of a sentence, each with a tag.

    Tags are IOB2 whatever the files have: O, B-TYPE where an entity begins, I-TYPE within it
    (Tjong Kim Sang & Veenstra 1999).
    """

    words: tuple[str, ...]
    tags: tuple[str, ...]  # as many


class Labelled(NamedTuple):
    """A text or two, and what is said of them."""

    text: str
    second: str | None
    labels: tuple[str, ...]  # one; any number, none included, where several may hold


class Answer(NamedTuple):
    """A part of a context."""

    text: str
    start: int  # characters of the context before it


class Question(NamedTuple):
    """A question about a context, with the answers that count as right."""

    id: str
    question: str
    context: str
    answers: tuple[Answer, ...]  # none where the context does not answer it
