"""Where the record can be seen besides its own files: CSV, TensorBoard, Weights & Biases.

A mirror sees what feed.py reads back from the record, in a thread of its own (see feed.Mirror).
"""

import csv
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TextIO
from uuid import uuid4

from lmexp.errors import one_line
from lmexp.nested import flat
from lmexp.wandb_facts import facts_at_start, facts_of_test
from lmexp.wandb_names import LONGEST_GROUP, run_name
from lmexp.wandb_sessions import (
    STATE,
    Mode,
    account_mode,
    forget_killed_session,
    id_of_agent,
    say_of_wandb,
)

TABLE_SAMPLES = 50  # newest samples in W&B's table, which is sent whole each time


class Nothing:
    """No mirror: the record's own files alone."""

    def start(self, folder: Path, recipe: Mapping[str, Any], step: int) -> int:
        return step

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        pass

    def sample(self, step: int, text: str) -> None:
        pass

    def finish(self, summary: Mapping[str, Any], status: str) -> None:
        pass


class CSV:
    """metrics.csv: one row a step, one column a metric, empty where a step has no value.

    Written anew from the record at every start, so that it never disagrees after a resume.
    A metric seen for the first time adds a column: the file is then rewritten and replaced.
    """

    def start(self, folder: Path, recipe: Mapping[str, Any], step: int) -> int:
        self._path = folder / "metrics.csv"
        self._path.unlink(missing_ok=True)
        self._columns = ["step"]
        self._file: TextIO | None = None
        return -1

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        added = [name for name in values if name not in self._columns]
        if added or self._file is None:
            self._columns += added
            self._file = self._reopen(self._file)
        csv.DictWriter(self._file, self._columns).writerow({"step": step, **values})
        self._file.flush()

    def _reopen(self, file: TextIO | None) -> TextIO:
        """Puts a file with the present columns and all rows so far in the place of the old one."""
        rows: list[dict[str, str]] = []
        if file is not None:
            file.close()
            with self._path.open(newline="", encoding="utf-8") as old:
                rows = list(csv.DictReader(old))
        temporary = self._path.with_name(".metrics.csv.tmp")
        with temporary.open("w", newline="", encoding="utf-8") as new:
            writer = csv.DictWriter(new, self._columns)
            writer.writeheader()
            writer.writerows(rows)
        temporary.replace(self._path)
        return self._path.open("a", newline="", encoding="utf-8")

    def sample(self, step: int, text: str) -> None:
        """Samples stay in samples.jsonl."""

    def finish(self, summary: Mapping[str, Any], status: str) -> None:
        if self._file is not None:
            self._file.close()


class TensorBoard:
    """Event files in the folder `tensorboard` of the run, without importing torch or TensorFlow.

    Written anew from the record at every start: the old event files go, and the new one tells an
    open TensorBoard to forget what it read, so that no curve shows steps twice after a resume.
    """

    def start(self, folder: Path, recipe: Mapping[str, Any], step: int) -> int:
        from lmexp import tensorboard_events as events

        target = folder / "tensorboard"
        target.mkdir(exist_ok=True)
        for old in target.glob("events.out.tfevents.*"):
            old.unlink()
        self._events = events
        self._began: float | None = None  # wall time of second 0 of the run
        self._now = time.time()
        self._writer = events.EventFileWriter(str(target))
        self._writer.add_event(events.start(self._now))
        self._writer.add_event(events.hparams(self._now, flat(recipe)))
        self._shown: set[str] = set()  # scalars
        indented = json.dumps(recipe, indent=2).replace("\n", "\n    ")  # Markdown's code block
        self._writer.add_event(events.text(self._now, 0, "recipe", "    " + indented))
        return -1

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        if self._began is None:
            self._began = time.time() - values["seconds"]
        self._now = self._began + values["seconds"]
        self._add_scalars(step, {key: value for key, value in values.items() if key != "seconds"})
        self._writer.flush()

    def _add_scalars(self, step: int, values: Mapping[str, Any]) -> None:
        figures = {
            name: value
            for name, value in values.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
        self._writer.add_event(self._events.scalars(self._now, step, figures))
        self._shown |= figures.keys()

    def sample(self, step: int, text: str) -> None:
        self._writer.add_event(self._events.text(self._now, step, "sample", text))

    def finish(self, summary: Mapping[str, Any], status: str) -> None:
        rows = "".join(f"| {key} | {value} |\n" for key, value in summary.items())
        table = f"| figure | value |\n|---|---|\n{rows}"
        step = summary.get("step", 0)
        self._writer.add_event(self._events.text(self._now, step, "summary", table))
        rest = {key: value for key, value in summary.items() if key not in self._shown | {"step"}}
        self._add_scalars(step, rest)  # of the others the last value is the summary's
        ended = self._events.hparams_end(self._now, is_finished=status == "finished")
        self._writer.add_event(ended)
        self._writer.close()


class WandB:
    """Weights & Biases (https://docs.wandb.ai): one run for one run folder, over all its resumes.

    The id and the last step sent stand in wandb.json of the run folder; a resume goes on under
    that id with the steps after it. Online the server knows the last step better. Offline a kill
    loses what W&B held in memory: the folder of a killed session that was not uploaded goes, and
    its steps come again from the record.

    Args:
        project: in which the run appears.
        entity: user or team; null: the account's default.
        group: shown together; null: the recipe's name.
        tags: to filter by.
        job_type: to filter by.
        mode: auto: what WANDB_MODE says, else online with an account, offline without one; or
            online, offline, disabled. Online without a connection goes offline and says so.
        connect_seconds: how long to try to go online.
    """

    def __init__(
        self,
        project: str,
        entity: str | None,
        group: str | None,
        tags: Sequence[str],
        job_type: str,
        mode: Literal["auto", "online", "offline", "disabled"],
        connect_seconds: float,
    ) -> None:
        self._project = project
        self._entity = entity
        self._group = group
        self._tags = list(tags)
        self._job_type = job_type
        self._mode = mode
        self._connect_seconds = connect_seconds

    def start(self, folder: Path, recipe: Mapping[str, Any], step: int) -> int:
        import wandb

        self._path = folder / STATE
        known = json.loads(self._path.read_text()) if self._path.exists() else {}
        self._id: str = known.get("id") or id_of_agent() or uuid4().hex[:8]
        self._samples: list[tuple[int, str]] = []
        # Tables wait for their upload there; W&B's default is outside the run, in the home folder.
        os.environ.setdefault("WANDB_DATA_DIR", str((folder / "wandb").absolute()))
        last_step = forget_killed_session(folder / "wandb", known)
        mode = account_mode() if self._mode == "auto" else self._mode
        self._is_sent = mode != "disabled"  # else the state stays that of an earlier session
        try:
            self._run = self._init(folder, recipe, mode)
        except wandb.errors.Error as error:
            if mode != "online":
                raise
            say_of_wandb(f"cannot go online ({one_line(error)})")
            mode = "offline"
            self._run = self._init(folder, recipe, mode)
        if mode == "offline":
            say_of_wandb(f"writing offline; to upload: python -m lmexp sync {folder}")
        elif mode == "online":
            say_of_wandb(f"online at {self._run.url}")
            last_step = int(self._run.step) - 1 if self._run.resumed else -1
        self._state: dict[str, Any] = {"id": self._id, "last_step": last_step}
        self._state |= {"session": Path(self._run.dir).parent.name, "session_after": last_step}
        self._sampled = last_step  # the last step whose sample is in the table sent
        self._keep_state()
        return last_step

    def _init(self, folder: Path, recipe: Mapping[str, Any], mode: Mode) -> Any:
        import wandb

        name = recipe.get("name", folder.parent.name)
        settings = wandb.Settings(
            console="off",  # the console is the progress bar's
            silent=True,
            disable_git=True,  # environment.json has the commit
            disable_code=True,
            x_disable_meta=True,  # command line and paths, which may be nobody else's business
            init_timeout=self._connect_seconds,
        )
        return wandb.init(
            project=self._project,
            entity=self._entity,
            group=self._group or name[:LONGEST_GROUP],
            tags=self._tags,
            job_type=self._job_type,
            name=run_name(name, folder.name),
            id=self._id,
            resume="allow",
            dir=str(folder),
            mode=mode,
            config={**flat(recipe), **facts_at_start(folder)},
            reinit="create_new",  # a second run in this process does not share the first one's
            settings=settings,
        )

    def _keep_state(self) -> None:
        if not self._is_sent:
            return
        temporary = self._path.with_name(".wandb.json.tmp")  # not synced: it is written every line
        temporary.write_text(json.dumps(self._state) + "\n")
        temporary.replace(self._path)

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        self._state["last_step"] = step
        self._keep_state()
        self._run.log(dict(values), step=step)
        self._send_samples(step)

    def sample(self, step: int, text: str) -> None:
        self._samples = [*self._samples, (step, text)][-TABLE_SAMPLES:]

    def _send_samples(self, step: int) -> None:
        """Sends new samples with the figures of a step: a step of their own could be too early."""
        import wandb

        if self._samples and self._samples[-1][0] > self._sampled:
            rows = [list(row) for row in self._samples]
            table = wandb.Table(columns=["step", "text"], data=rows)
            self._run.log({"samples": table}, step=step)
            self._sampled = self._samples[-1][0]

    def finish(self, summary: Mapping[str, Any], status: str) -> None:
        last_step = int(self._state["last_step"])
        self._send_samples(max(summary["step"], last_step))
        if last_step > int(self._state["session_after"]):
            # W&B holds the last row open. If it came after the summary, its seconds would win.
            self._run.log({}, step=max(summary["step"], last_step), commit=True)
        if facts := facts_of_test(self._path.parent):
            self._run.config.update(facts, allow_val_change=True)  # a resume has tested again
        self._run.summary.update(dict(summary))
        self._run.finish(exit_code=0 if status == "finished" else 1)
        del self._state["session"]
        self._keep_state()
