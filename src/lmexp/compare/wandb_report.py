"""A comparison as a run of its own on Weights & Biases, beside the runs that it is of."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lmexp.compare.page_tables import Cell, tables
from lmexp.compare.result import Result
from lmexp.compare.runs import Run
from lmexp.compare.wandb_runs import COMPARISON
from lmexp.errors import one_line
from lmexp.run_folder import claim
from lmexp.wandb_names import OF_PROJECT, is_project
from lmexp.wandb_sessions import MIRROR, Mode, account_mode, say_of_wandb

FOLDER = Path("logs") / "comparisons"
CONNECT_SECONDS = 30.0
_WRITE = "write --wandb <entity>/<project>"


class Target(NamedTuple):
    """A project of W&B."""

    entity: str | None  # None: the account's default
    project: str

    def __str__(self) -> str:
        return self.project if self.entity is None else f"{self.entity}/{self.project}"


def asked_target(asked: str) -> Target | None:
    """The project that the option names; None: that of the runs.

    Raises:
        ValueError: it names none.
    """
    if not asked:
        return None
    entity, _, project = asked.partition("/")
    if not entity or not is_project(project):
        raise ValueError(
            f"--wandb {asked} names no project of W&B: {_WRITE}, the project with {OF_PROJECT}; or "
            "--wandb alone, behind all runs, for the project that they come from"
        )
    return Target(entity, project)


def target_of(runs: Sequence[Run]) -> Target:
    """The one project that runs come from, or that their recipes mirror them to.

    Raises:
        ValueError: there is none, or several.
    """
    found = dict.fromkeys(own for run in runs if (own := _target(run)) is not None)
    projects = {own.project for own in found}
    entities = {own.entity for own in found if own.entity is not None}
    if not found:
        raise ValueError(f"--wandb: none of these runs was mirrored to W&B: {_WRITE}")
    if len(projects) > 1 or len(entities) > 1:
        listed = " and ".join(map(str, found))
        raise ValueError(f"--wandb: the runs are of several projects, {listed}: {_WRITE}")
    return Target(next(iter(entities), None), projects.pop())


def _target(run: Run) -> Target | None:
    if run.remote is not None:
        return Target(run.remote.entity, run.remote.project)
    logger = run.recipe.get("logger") or {}
    if logger.get("_target_") != MIRROR:
        return None
    return Target(logger.get("entity"), logger["project"])


def send(result: Result, page: str, command: str, target: Target) -> None:
    """Write tables, remarks and page as one run, offline where runs would be.

    Args:
        result: the comparison.
        page: of it, as HTML.
        command: that made it.
        target: where to.
    """
    import wandb

    mode = account_mode()
    if mode == "disabled":
        say_of_wandb("disabled by WANDB_MODE: the comparison is not written there")
        return
    folder = claim(FOLDER)
    os.environ.setdefault("WANDB_DATA_DIR", str((folder / "wandb").absolute()))
    config: dict[str, Any] = {"figure": result.figure, "baseline": result.baseline}
    config |= {"command": command, "runs": [run.folder for run in result.runs]}
    try:
        run = _begin(mode, target, folder, config)
    except wandb.errors.Error as error:
        if mode != "online":
            raise
        say_of_wandb(f"cannot go online ({one_line(error)})")
        mode = "offline"
        run = _begin(mode, target, folder, config)
    shown: dict[str, Any] = {
        name: wandb.Table(columns=list(columns), data=rows)
        for name, columns, rows in _shown(result)
    }
    run.log({**shown, "report": wandb.Html(page, inject=False, data_is_not_path=True)})
    where = run.url if mode == "online" else folder / "wandb"
    run.finish()
    if mode == "offline":
        say_of_wandb(f"written offline, for {target}; to upload: wandb sync {where}/offline-run-*")
    else:
        say_of_wandb(f"online at {where}")


def _begin(mode: Mode, target: Target, folder: Path, config: dict[str, Any]) -> Any:
    import wandb

    return wandb.init(
        project=target.project,
        entity=target.entity,
        job_type=COMPARISON,
        name=f"{COMPARISON} {folder.name}",
        dir=str(folder),
        mode=mode,
        config=config,
        reinit="create_new",
        settings=wandb.Settings(
            console="off",
            silent=True,
            disable_git=True,
            disable_code=True,
            x_disable_meta=True,  # command line and paths, as of runs
            init_timeout=CONNECT_SECONDS,
        ),
    )


def _shown(result: Result) -> Iterator[tuple[str, list[str], list[list[Any]]]]:
    """Name, columns and rows of the page's tables, and of the remarks."""
    for table in tables(result):
        columns = [_column(cells) for cells in zip(*table.rows, strict=True)]
        yield table.name, table.columns, [list(row) for row in zip(*columns, strict=True)]
    if result.remarks:
        yield "remarks", ["remark"], [[remark] for remark in result.remarks]


def _column(cells: Sequence[Cell]) -> list[Any]:
    """Numbers where all cells are numbers or empty, so that W&B can draw them; else words."""
    is_range = any(" to " in cell.text for cell in cells)
    kinds = {isinstance(cell.value, str) for cell in cells if cell.value is not None}
    if is_range or len(kinds) > 1:
        return [cell.text for cell in cells]
    return [cell.value for cell in cells]
