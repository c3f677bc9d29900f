"""Ways to write entities as tags of words, read into one: IOB2.

Ramshaw & Marcus 1995 (IOB1), Tjong Kim Sang & Veenstra 1999 (IOB2), Sekine et al. 1998 (a tag for
the end and one for the whole).
"""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

Scheme = Literal["bio", "iob1", "bioes", "bmes"]

_LETTERS = {"bio": "BI", "iob1": "BI", "bioes": "BIES", "bmes": "BMES"}
_OTHERS = {"bio": "iob1", "iob1": "bio", "bioes": "bmes", "bmes": "bioes"}


class Read(NamedTuple):
    """The tag of a word, read."""

    tag: str  # IOB2
    wrong: str | None  # why its scheme forbids it here, if so; the tag is then a repaired one
    remedy: str = ""  # another scheme under which it may be right


def parts(tag: str) -> tuple[str, str]:
    """The letter of a tag, and its type: B and MISC of B-MISC; O and "" of O."""
    letter, _, type_ = tag.partition("-")
    return letter, type_


def to_iob2(tags: Sequence[str], scheme: Scheme) -> Iterator[Read]:
    """Tags of one sentence as IOB2, one for each.

    A tag that its scheme forbids is read by the rule of conlleval (Tjong Kim Sang & Buchholz 2000):
    what goes on with nothing before it to go on with begins an entity.

    Args:
        tags: of all words of a sentence.
        scheme: they are written in.

    Raises:
        ValueError: a tag is none at all, such as I or X-PER under bio.
    """
    before = ("O", "")
    for place, tag in enumerate(tags):
        now = parts(tag)
        _check(tag, now, scheme)
        after = parts(tags[place + 1]) if place + 1 < len(tags) else ("O", "")
        yield (_of_begins if scheme in ("bio", "iob1") else _of_ends)(before, now, after, scheme)
        before = now


def _check(tag: str, now: tuple[str, str], scheme: Scheme) -> None:
    letter, type_ = now
    if tag == "O" or (letter in _LETTERS[scheme] and len(letter) == 1 and type_):
        return
    forms = ", ".join(f"{letter}-TYPE" for letter in _LETTERS[scheme])
    fitting = [other for other, letters in _LETTERS.items() if letter and letter in letters]
    hint = f", or data.scheme={fitting[0]}, which has {letter}-TYPE" if fitting and type_ else ""
    raise ValueError(f"'{tag}' is no tag of scheme {scheme}: write O, {forms}{hint}")


def _of_begins(
    before: tuple[str, str], now: tuple[str, str], after: tuple[str, str], scheme: Scheme
) -> Read:
    letter, type_ = now
    goes_on = before[0] != "O" and before[1] == type_
    if letter == "O":
        return Read("O", None)
    if letter == "I" and not goes_on:
        wrong = None if scheme == "iob1" else f"nothing of type {type_} stands before it"
        return Read(f"B-{type_}", wrong, _OTHERS[scheme])
    if letter == "B" and scheme == "iob1" and not goes_on:
        wrong = f"iob1 writes B only straight after an entity of the same type, here {type_}"
        return Read(f"B-{type_}", wrong, _OTHERS[scheme])
    return Read(f"{letter}-{type_}", None)


def _of_ends(
    before: tuple[str, str], now: tuple[str, str], after: tuple[str, str], scheme: Scheme
) -> Read:
    letter, type_ = now
    if letter == "O":
        return Read("O", None)
    inside = _LETTERS[scheme][1]
    is_open = before[0] in ("B", inside)  # an entity that this word has to go on with
    wrong = None
    if letter in (inside, "E") and not (is_open and before[1] == type_):
        wrong = f"no B-{type_} or {inside}-{type_} stands before it"
    elif letter in ("B", inside) and not (after[0] in (inside, "E") and after[1] == type_):
        wrong = f"no {inside}-{type_} or E-{type_} follows it"
    begins = letter in ("B", "S") or not (before[0] in ("B", inside) and before[1] == type_)
    return Read(f"{'B' if begins else 'I'}-{type_}", wrong, "bio" if inside == "I" else "")
