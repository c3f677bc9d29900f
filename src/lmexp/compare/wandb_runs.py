"""Runs that a Weights & Biases server has. Nothing else of lmexp asks wandb.Api."""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from lmexp import wandb_facts
from lmexp.compare.runs import FINISHED, WANDB, Remote, Run
from lmexp.record_files import restore
from lmexp.secret_values import hidden
from lmexp.wandb_sessions import has_account, how_to_log_in

TIMEOUT_SECONDS = 30  # of a question
POINTS = 10_000  # of a curve, at most: of a longer one the server takes a sample
COMPARISON = "compare"  # job type of what `compare --wandb` has written
FOREIGN = "not of lmexp"  # status of a run whose configuration is no recipe
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_SHAPE = f"{WANDB}<entity>/<project> or {WANDB}<entity>/<project>/<group>"


class _Asked(NamedTuple):
    entity: str
    project: str
    group: str | None


def wandb_runs(given: str) -> list[Run]:
    """All runs of a project, or of a group in it, oldest first; without comparisons of them.

    Args:
        given: wandb:<entity>/<project> or wandb:<entity>/<project>/<group>.

    Raises:
        ValueError: it is written otherwise, there is no such project or group, no account, or no
            answer.
    """
    asked = _parsed(given)
    if not has_account():
        raise ValueError(f"{given}: no account of Weights & Biases found: {how_to_log_in()}")
    found = _answer(given, partial(_all_runs, asked))
    runs = [_run(asked, own) for own in found if not _is_comparison(own)]
    if not runs:
        within = f"group {asked.group!r} of " if asked.group else ""
        raise ValueError(
            f"{given}: {within}project {asked.entity}/{asked.project} holds no run: `python "
            "train.py logger=wandb` sends one, `python -m lmexp sync` those written offline"
        )
    return runs


def _parsed(given: str) -> _Asked:
    parts = given.removeprefix(WANDB).strip("/").split("/", 2)
    if len(parts) < 2 or not all(parts):
        raise ValueError(f"{given} names no project of W&B: write {_SHAPE}")
    return _Asked(parts[0], parts[1], parts[2] if len(parts) == 3 else None)


def _all_runs(asked: _Asked) -> list[Any]:
    import wandb

    api = wandb.Api(overrides={"entity": asked.entity}, timeout=TIMEOUT_SECONDS)
    filters = {"group": asked.group} if asked.group else {}
    path = f"{asked.entity}/{asked.project}"
    return list(api.runs(path, filters=filters, order="+created_at", lazy=False))


def _answer(given: str, ask: Callable[[], Any]) -> Any:
    """What W&B says.

    Raises:
        ValueError: it does not, in one line and without secrets.
    """
    import wandb
    from wandb.apis.normalize import normalize_exceptions

    def asked() -> Any:
        wandb.setup(wandb.Settings(silent=True))  # it would print its own line too
        return ask()

    try:
        return normalize_exceptions(asked)()
    except wandb.errors.Error as error:
        told = hidden((str(error).strip().splitlines() or [type(error).__name__])[0])
        cause = getattr(error, "exc", None)
    if type(cause) is ValueError:  # raised by wandb.Api; not by the check of its settings
        raise ValueError(f"{given}: {told}, or your account may not see it: write {_SHAPE}")
    raise ValueError(
        f"{given}: W&B did not answer ({told}): look at the connection, WANDB_BASE_URL and the key "
        "(`wandb login`)"
    )


def _is_comparison(own: Any) -> bool:
    return own.job_type == COMPARISON and wandb_facts.recipe_of(own.config) is None


def _run(asked: _Asked, own: Any) -> Run:
    name = f"{WANDB}{asked.entity}/{asked.project}/{own.id}"
    config: Mapping[str, Any] = own.config
    recipe = wandb_facts.recipe_of(config, is_typed=own.sweep_name is not None)
    overrides = config.get(wandb_facts.OVERRIDES)
    summary = _summary(own.summary_metrics)
    return Run(
        folder=Path(name),
        recipe=recipe or {},
        overrides=None if overrides is None else tuple(overrides),
        status=FOREIGN if recipe is None else _status(own.state, summary),
        cause=None,
        error=None,
        summary=summary,
        remote=Remote(
            entity=asked.entity,
            project=asked.project,
            data=wandb_facts.hashes_of(config),
            signature=wandb_facts.signature_of(config),
            history=partial(_history, name, own),
        ),
    )


def _summary(told: Mapping[str, Any]) -> dict[str, Any]:
    """summary.json again, without what W&B itself keeps there and without tables."""
    return {
        key: _number(value)
        for key, value in restore(told).items()
        if not key.startswith("_") and not isinstance(value, Mapping)
    }


def _number(value: Any) -> Any:
    return _NOT_FINITE.get(value, value) if isinstance(value, str) else value


def _status(state: str, summary: Mapping[str, Any]) -> str:
    """Finished, if the server and the run's own end both say so; else what is known of why not.

    A summary without a status is that of a process that ended before its run did.
    """
    own = str(summary.get("status", "interrupted"))
    if state == FINISHED or (state == "failed" and "status" in summary and own != FINISHED):
        return own
    return state


def _history(name: str, own: Any, figure: str) -> Iterator[tuple[int, float]]:
    rows = _answer(name, partial(own.history, samples=POINTS, keys=[figure], pandas=False))
    for row in rows:
        value = _number(row.get(figure))
        if isinstance(value, int | float):
            yield int(row["_step"]), float(value)
