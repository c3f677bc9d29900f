"""What tasks, and those who train them, tell one another."""

from typing import Any, NamedTuple, Protocol


class Sums(NamedTuple):
    """A loss as sums over predicted tokens: tensors without dimensions, or their values."""

    objective: Any  # nats, what is minimised: with label smoothing, if any
    nll: Any  # nats, without smoothing: what is reported
    tokens: Any  # predicted


class Sample(NamedTuple):
    """What a network as it stands puts out, for people, and figures of it, if there are any."""

    text: str
    figures: dict[str, float]


class NonFiniteError(ArithmeticError):
    """The loss or the gradient is NaN or infinite.

    Args:
        what: says so, and where.
        is_of_a_step: False: a validation's.
    """

    def __init__(self, what: str, *, is_of_a_step: bool = True) -> None:
        super().__init__(what)
        self.is_of_a_step = is_of_a_step


def nobody(text: str) -> None:
    """Nobody listens to remarks."""


class Interrupted(Exception):
    """A signal came while outputs were searched for; all ranks have agreed to end."""


class Ballot(Protocol):
    """What a step's sums carry besides, so that all ranks do the same (stopping.Ballot)."""

    signal: int | None  # that all have agreed to obey
    time_is_over: bool

    def is_asked(self) -> bool:
        """Whether this rank has got a signal that the others may not know of."""
        ...

    def cast(self) -> list[float]:
        """What this rank has to say."""
        ...

    def count(self, votes: list[float]) -> None:
        """Take the sums over all ranks."""
        ...


class NoBallot:
    """Nothing to agree on."""

    signal: int | None = None
    time_is_over = False

    def is_asked(self) -> bool:
        return False

    def cast(self) -> list[float]:
        return []

    def count(self, votes: list[float]) -> None:
        pass
