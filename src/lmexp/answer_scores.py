"""Exact match and F1 of answers to questions about a text.

The rules of SQuAD (Rajpurkar et al. 2016; 2018 for questions without an answer) and, by character,
of CMRC 2018 (Cui et al. 2019). Figures lie in [0, 1].
"""

import functools
import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

_ARTICLES = re.compile(r"\b(a|an|the)\b", re.UNICODE)
_ASCII_SIGNS = frozenset(string.punctuation)
# What CMRC 2018 leaves out. Its script has "……" there as one sign, which equals no character, so
# that … stays; so do ‘ and all others.
_CHINESE_SIGNS = frozenset("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
# The range of CMRC 2018's script, which takes characters of the extensions for none.
_HAN = re.compile("[\u4e00-\u9fa5]")
_PARTS = re.compile("[\u4e00-\u9fa5]|[^\u4e00-\u9fa5]+")


class AnswerScores(NamedTuple):
    """Sums over questions; those of parts can be added."""

    exact: float = 0.0
    f1: float = 0.0
    questions: int = 0

    def plus(self, other: "AnswerScores") -> "AnswerScores":
        """Those of both parts together."""
        exact, f1 = self.exact + other.exact, self.f1 + other.f1
        return AnswerScores(exact, f1, self.questions + other.questions)

    @property
    def exact_match(self) -> float:
        """Share of the questions whose answer is right as a whole."""
        return self.exact / self.questions if self.questions else 0.0

    @property
    def mean_f1(self) -> float:
        """Mean over the questions."""
        return self.f1 / self.questions if self.questions else 0.0


def score_answer(given: str, answers: Sequence[str], *, by_character: bool) -> AnswerScores:
    """Exact match and F1 of one answer, each against whichever right answer it fits best.

    Args:
        given: the answer; empty where the text is said to have none.
        answers: right ones; none, or empty, where the text has none.
        by_character: as CMRC 2018 compares: F1 of the longest common part, in Han characters and
            other words; else as SQuAD does, F1 of the bag of words, without English articles.
    """
    if by_character:
        right = [answer for answer in answers if answer] or [""]
        exact = max(_bare(given) == _bare(answer) for answer in right)
        return AnswerScores(float(exact), max(_f1_han(given, answer) for answer in right), 1)
    right = [answer for answer in answers if normalise(answer)] or [""]
    exact = max(normalise(given) == normalise(answer) for answer in right)
    return AnswerScores(float(exact), max(_f1_words(given, answer) for answer in right), 1)


def normalise(text: str) -> str:
    """A text without case, ASCII punctuation, English articles and superfluous space.

    In this order, as in SQuAD's evaluation script.
    """
    plain = "".join(char for char in text.lower() if char not in _ASCII_SIGNS)
    return " ".join(_ARTICLES.sub(" ", plain).split())


def _f1_words(given: str, answer: str) -> float:
    words, right = normalise(given).split(), normalise(answer).split()
    if not words or not right:
        return float(words == right)  # nothing is right where nothing is to be said
    common = sum((Counter(words) & Counter(right)).values())
    return _f1(common, len(words), len(right))


def segments(text: str) -> list[str]:
    """Han characters, each by itself, and what stands between them, cut into words as nltk does.

    Case and punctuation are left out first. One sentence at a time is assumed of nltk's
    word_tokenize, whose model of sentences CMRC 2018 needs beside; answers are shorter than one.
    """
    found: list[str] = []
    for part in _PARTS.findall(_bare(text)):
        found += [part] if _HAN.match(part) else _words().tokenize(part)
    return found


def _f1_han(given: str, answer: str) -> float:
    words, right = segments(given), segments(answer)
    if not answer:
        return float(not words)
    common = _longest_common_part(words, right)
    return _f1(common, len(words), len(right))


def _longest_common_part(first: Sequence[str], second: Sequence[str]) -> int:
    """Words, at most, that follow each other in both."""
    best = 0
    ending = [0] * (len(second) + 1)  # common part that ends with each word of the second
    for word in first:
        before = 0
        for place, other in enumerate(second, start=1):
            before, ending[place] = ending[place], before + 1 if word == other else 0
            best = max(best, ending[place])
    return best


def _f1(common: int, given: int, right: int) -> float:
    return 2 * common / (given + right) if common else 0.0


def _bare(text: str) -> str:
    return "".join(char for char in text.lower().strip() if char not in _CHINESE_SIGNS)


@functools.cache
def _words() -> Any:
    from nltk.tokenize.destructive import NLTKWordTokenizer

    return NLTKWordTokenizer()


def mostly_han(answers: list[str]) -> bool:
    """Whether most answers hold a Han character, and are to be compared by characters."""
    with_han = sum(_HAN.search(answer) is not None for answer in answers)
    return 2 * with_han > len(answers)
