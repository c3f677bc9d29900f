"""The figure that runs are compared by, and whether more of it is better."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lmexp import signatures
from lmexp.compare.runs import Run

LESS_IS_BETTER = ("loss", "perplexity", "bits_per_byte", "bits_per_char", "ter")
MORE_IS_BETTER = (
    *("accuracy", "f1", "precision", "recall", "mcc", "exact_match", "pass_at_1"),
    *("bleu", "chrf", "rouge1", "rouge2", "rougeL", "mrr", "recall_at_1", "recall_at_10"),
)
_MARKS = ("_of_all", "_with_answer", "_without_answer")  # of whom a figure is; no other figure


class Chosen(NamedTuple):
    """The figure of a comparison."""

    name: str  # test/… or best/…
    greater_is_better: bool

    @property
    def part(self) -> str:
        """test or best (validation)."""
        return self.name.partition("/")[0]

    @property
    def bare(self) -> str:
        """Without test/ or best/."""
        return self.name.partition("/")[2]


def choose(runs: Sequence[Run], asked: str | None, better: str | None) -> Chosen:
    """The figure that was asked for, or the task's own of the test, or else of the validation.

    Args:
        runs: finished, of one task.
        asked: by name, such as test/bleu.
        better: "greater" or "less", of figures of which it is not known.

    Raises:
        ValueError: no run has such a figure, or which way is better is not known.
    """
    there = list(dict.fromkeys(name for run in runs for name in run.figures))
    constants = task_constants(runs[0].task)
    monitor = str(runs[0].summary.get("monitor", constants.get("monitor", "loss")))
    monitor = monitor.removeprefix("val/")
    name = asked
    if name is None:
        usual = [f"test/{monitor}", f"best/{monitor}"]
        of_all = [own for own in usual if all(own in run.figures for run in runs)]
        name = (of_all or [own for own in usual if own in there] or usual)[0]
    if name not in there:
        near = difflib.get_close_matches(name, there, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}? " if near else ""
        listed = ", ".join(sorted(there)) or "none: no run was validated or tested"
        raise ValueError(f"no run has a figure {name}; {hint}There are: {listed}")
    bare = name.partition("/")[2]
    known = is_greater_better(bare)
    if constants.get("monitor") == f"val/{bare}" and "greater_is_better" in constants:
        known = bool(constants["greater_is_better"])
    if better is not None:
        if known not in (None, better == "greater"):
            raise ValueError(
                f"--better {better}: of {name} {'greater' if known else 'less'} is better: leave "
                "the option out, it is for figures of your own"
            )
        return Chosen(name, better == "greater")
    if known is None:
        raise ValueError(
            f"--metric {name}: lmexp does not know whether more of it is better: add --better "
            "greater or --better less"
        )
    return Chosen(name, known)


def is_greater_better(bare: str) -> bool | None:
    """By the name of a figure, or its end after an underscore; None: not known."""
    for mark in _MARKS:
        bare = bare.removesuffix(mark)
    for names, answer in ((MORE_IS_BETTER, True), (LESS_IS_BETTER, False)):
        if any(bare == name or bare.endswith(f"_{name}") for name in names):
            return answer
    return None


def task_constants(task: str) -> Mapping[str, Any]:
    """What the class of a task binds to literals, read from its source; none if that is not there.

    Nothing is imported, so that packages need not be allowed for it.
    """
    try:
        return signatures.find(task, (task.partition(".")[0],)).constants
    except (signatures.UnknownNameError, PermissionError):
        return {}
