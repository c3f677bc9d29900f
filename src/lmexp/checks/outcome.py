"""What a check says."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

Verdict = Literal["passed", "failed", "not applicable"]


class Outcome(NamedTuple):
    """Of one check."""

    verdict: Verdict
    says: str  # what was seen, one plain sentence
    means: str = ""  # of a failure: what it most likely is, and where to look
    figures: Mapping[str, Any] = {}  # plain values, for --json


def passed(says: str, **figures: Any) -> Outcome:
    """It holds."""
    return Outcome("passed", says, figures=figures)


def failed(says: str, means: str, **figures: Any) -> Outcome:
    """It does not."""
    return Outcome("failed", says, means, figures)


def not_applicable(says: str) -> Outcome:
    """There is nothing to check, or it cannot be told; the sentence says why."""
    return Outcome("not applicable", says)
