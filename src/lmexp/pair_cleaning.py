"""Rules that change or drop pairs of texts; what is dropped is counted by reason."""

import dataclasses
import difflib
import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, NamedTuple, Protocol, Self, TypeVar

from annotated_types import Ge, Gt

from lmexp.cleaning import Cleaning

# Scripts of Unicode, and how the names of their letters begin.
SCRIPTS = {
    "Arabic": ("ARABIC ",),
    "Armenian": ("ARMENIAN ",),
    "Bengali": ("BENGALI ",),
    "Cyrillic": ("CYRILLIC ",),
    "Devanagari": ("DEVANAGARI ",),
    "Georgian": ("GEORGIAN ",),
    "Greek": ("GREEK ",),
    "Han": ("CJK UNIFIED ", "CJK COMPATIBILITY IDEOGRAPH"),
    "Hangul": ("HANGUL ",),
    "Hebrew": ("HEBREW ",),
    "Hiragana": ("HIRAGANA ",),
    "Katakana": ("KATAKANA ",),
    "Latin": ("LATIN ", "FULLWIDTH LATIN "),
    "Tamil": ("TAMIL ",),
    "Telugu": ("TELUGU ",),
    "Thai": ("THAI ",),
}


class Pair(Protocol):
    """A source, its target, and further references."""

    @property
    def source(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def references(self) -> tuple[str, ...]: ...
    def _replace(self, *, source: str, target: str, references: tuple[str, ...]) -> Self: ...


P = TypeVar("P", bound=Pair)


class _Line(NamedTuple):
    text: str


@dataclasses.dataclass(frozen=True)
class PairCleaning:
    r"""Each rule is optional; they apply in this order, and a pair is dropped for the first.

    Args:
        unescape_html: as in lmexp.cleaning.Cleaning, to both sides and to references.
        strip_control: likewise; "\r" at the end of a side goes. The count is of characters.
        nfc: likewise.
        drop_empty: drop pairs with a side of nothing but white space, and such references.
        drop_identical: drop pairs of which both sides are the same.
        max_chars: drop pairs with a longer side; None keeps them.
        max_ratio: drop pairs of which one side has more than so many times the characters of the
            other; None keeps them.
        scripts: of source and target, such as [Latin, Han]; drop pairs with a side that has
            letters, but not one of its script. None, for both or for one, asks for no script.
        drop_duplicates: drop a pair that was there before in the same split. Pairs are compared by
            64-bit hashes, which are kept in memory: 100 bytes a pair or so, whatever its length.

    Raises:
        ValueError: a script has no such name.
    """

    unescape_html: bool
    strip_control: bool
    nfc: bool
    drop_empty: bool
    drop_identical: bool
    max_chars: Annotated[int, Gt(0)] | None
    max_ratio: Annotated[float, Ge(1)] | None
    scripts: tuple[str | None, str | None] | None
    drop_duplicates: bool

    def __post_init__(self) -> None:
        for name in self.scripts or ():
            if name is not None and name not in SCRIPTS:
                near = difflib.get_close_matches(name.title(), SCRIPTS, n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise ValueError(
                    f"data.cleaning.scripts: there is no script {name}{hint} Write two of "
                    f"{', '.join(SCRIPTS)}, source first, or null"
                )

    def clean(self, pairs: Iterator[P], counts: Counter[str]) -> Iterator[P]:
        """The pairs that stay, changed where a rule says so.

        Args:
            pairs: of one split.
            counts: of what is dropped, by reason; added to.
        """
        lines = Cleaning(
            self.unescape_html,
            self.strip_control,
            self.nfc,
            drop_blank=False,
            max_bytes=None,
            drop_duplicates=False,
        )
        seen: set[int] = set()
        for pair in pairs:
            pair = self._changed(pair, lines, counts)
            reason = self._reason(pair.source, pair.target)
            if reason is None and self.drop_duplicates:
                number = _hash(pair.source, pair.target)
                reason = "duplicate" if number in seen else None
                seen.add(number)
            if reason is None:
                yield pair
            else:
                counts[reason] += 1

    def _changed(self, pair: P, lines: Cleaning, counts: Counter[str]) -> P:
        sides = (pair.source, pair.target, *pair.references)
        if self.unescape_html or self.strip_control or self.nfc:
            whole = (_Line(side + "\n") for side in sides)  # a line is never empty, so none goes
            sides = tuple(line.text.removesuffix("\n") for line in lines.clean(whole, counts))
        source, target, *references = sides
        kept = [text for text in references if _has_text(text) or not self.drop_empty]
        if len(kept) < len(references):
            counts["empty reference"] += len(references) - len(kept)
        if sides == (pair.source, pair.target, *kept):
            return pair
        return pair._replace(source=source, target=target, references=tuple(kept))

    def _reason(self, source: str, target: str) -> str | None:
        """Why a pair has to go, or None."""
        if self.drop_empty and not (_has_text(source) and _has_text(target)):
            return "empty side"
        if self.drop_identical and source == target:
            return "identical sides"
        shorter, longer = sorted((len(source), len(target)))
        if self.max_chars is not None and longer > self.max_chars:
            return f"longer than {self.max_chars} characters"
        if self.max_ratio is not None and longer > self.max_ratio * shorter:
            return f"length ratio over {self.max_ratio:g}"
        for text, script in zip((source, target), self.scripts or (), strict=False):
            if script is not None and not _may_be(text, script):
                return "wrong script"
        return None


def _has_text(text: str) -> bool:
    return bool(text) and not text.isspace()


def _may_be(text: str, script: str) -> bool:
    """Whether a text has a letter of a script, or no letter at all."""
    has_letters = False
    for char in text:
        if char.isalpha():
            has_letters = True
            if unicodedata.name(char, "").startswith(SCRIPTS[script]):
                return True
    return not has_letters


def _hash(source: str, target: str) -> int:
    text = f"{len(source)} {source}{target}"  # the length, so that the border counts
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
