"""All checks by name, in the order in which they are shown."""

import math
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from lmexp.checks import alignment, decoding, invariance, learning, saving, text_checks
from lmexp.checks.outcome import Outcome, failed
from lmexp.checks.subject import Subject
from lmexp.errors import one_line

Check = Callable[[Subject], Outcome]

CHECKS: Mapping[str, Check] = {
    "tokenizer round trip": text_checks.round_trip,
    "tokens of the text": text_checks.tokens_of_the_text,
    "train/test overlap": text_checks.train_test_overlap,
    "label alignment": alignment.label_alignment,
    "padding in the loss": alignment.padding_in_the_loss,
    "initial loss": learning.initial_loss,
    "eight examples": learning.eight_examples,
    "gradients": learning.gradients,
    "learning rate": learning.learning_rate,
    "evaluation": invariance.evaluation,
    "causality": invariance.causality,
    "document borders": invariance.document_borders,
    "padding": invariance.padding,
    "batch mates": invariance.batch_mates,
    "empty row": invariance.empty_row,
    "one network": decoding.one_network,
    "incremental decoding": decoding.incremental,
    "save and load": saving.save_and_load,
    "compile": saving.compiled,
}

# What a network or data of the user's own may raise; that of one check hides no other.
RAISED = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError),
    *(RuntimeError, TypeError, ValueError),
)
LIBRARIES = Path(torch.__file__).parent.parent


class Result(NamedTuple):
    """A check that was made."""

    name: str
    outcome: Outcome
    seconds: float

    def record(self) -> dict[str, Any]:
        """As plain values."""
        figures = {
            name: value if not isinstance(value, float) or math.isfinite(value) else str(value)
            for name, value in self.outcome.figures.items()
        }
        fields = self.outcome._replace(figures=figures)._asdict()
        return {"name": self.name, **fields, "seconds": round(self.seconds, 3)}


def results(subject: Subject) -> Iterator[Result]:
    """Each check as it is done."""
    for name, check in CHECKS.items():
        began = time.perf_counter()
        try:
            outcome = check(subject)
        except RAISED as error:
            outcome = _raised(error)
        yield Result(name, outcome, time.perf_counter() - began)


def _raised(error: Exception) -> Outcome:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not Path(frame.filename).is_relative_to(LIBRARIES)]
    last = (own or frames)[-1]
    place = f"{Path(last.filename).name}, line {last.lineno}, in {last.name}()"
    return failed(
        f"{type(error).__name__}: {one_line(error)}",
        f"Something cannot take what it is given: {place}.",
    )
