"""Benchmarks of several classification tasks, each in files of its own form."""

import inspect
from collections.abc import Mapping
from typing import Annotated, Any

from annotated_types import Ge, Lt

from lmexp.corpora.labelled import LabelledRecords
from lmexp.corpora.reading import OnInvalid

Value = str | float | list[str] | dict[str, str] | list[dict[str, str]] | None

_COMMON: dict[str, Value] = {
    "val": None,
    "test": None,
    "columns": None,
    "separator": None,
    "encoding": "utf-8",
    "second": None,
    "label_separator": None,
    "label_names": {},
    "drop_labels": [],
}


class LabelledTasks(LabelledRecords):
    """One task of a benchmark such as CLUE, by name.

    Args:
        task: which one.
        tasks: for each, arguments of LabelledRecords: train, text and label, and of the others
            those that are not null or empty; `folder` and `download` may be among them.
        val_fraction: of the training records, where the task has no files of its own for val.
        test_fraction: likewise.
        drop_seen: as of LabelledRecords.
        on_invalid: likewise.
        root: data.root: where the files are looked for first.

    `labelled(split)` streams; see lmexp.corpora for `splits`, `counts`, `fingerprint()` and
    `source`.

    Raises:
        ValueError: there is no such task, or arguments do not go together.
    """

    def __init__(
        self,
        task: str,
        tasks: dict[str, dict[str, Value]],
        val_fraction: Annotated[float, Ge(0), Lt(1)],
        test_fraction: Annotated[float, Ge(0), Lt(1)],
        drop_seen: bool,
        on_invalid: OnInvalid,
        root: str | None = None,
    ) -> None:
        if task not in tasks:
            raise ValueError(f"data.task={task}: there are {', '.join(tasks)}: write one of them")
        own: dict[str, Any] = _COMMON | tasks[task]
        shared: dict[str, Any] = {
            "val_fraction": val_fraction,
            "test_fraction": test_fraction,
            "drop_seen": drop_seen,
            "on_invalid": on_invalid,
            "root": root,
        }
        _check(task, own, shared)
        super().__init__(**shared, **own)


def _check(task: str, own: Mapping[str, Any], shared: Mapping[str, Any]) -> None:
    """The settings of a task are those that LabelledRecords takes, beside those of all tasks."""
    takes = {
        name: parameter.default is inspect.Parameter.empty
        for name, parameter in inspect.signature(LabelledRecords).parameters.items()
        if name not in shared
    }
    wrong = [f"it does not take {name}" for name in own if name not in takes]
    wrong += [f"{name} is missing" for name, needed in takes.items() if needed and name not in own]
    if wrong:
        raise ValueError(
            f"data.corpus.tasks.{task}: {', '.join(wrong)}: write some of {', '.join(takes)}"
        )
