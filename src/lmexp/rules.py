"""Rules between the sections of a recipe, which no single annotation can say."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from lmexp.networks.pretrained_config import kind_of, longest, wrong_kind
from lmexp.run_folder import safe
from lmexp.signatures import Target
from lmexp.values import written
from lmexp.wandb_names import (
    LONGEST_GROUP,
    LONGEST_JOB_TYPE,
    LONGEST_TAG,
    OF_PROJECT,
    is_project,
    wrong_tags,
)
from lmexp.wandb_sessions import MIRROR, chosen_mode

Refuse = Callable[[str, str], NoReturn]  # the key, the message without the place
LONGEST_NAME = 255  # bytes: what file systems take
# Optimizers whose update of an element reads nothing of the others: they work on parts.
ELEMENTWISE = ("torch.optim.AdamW", "torch.optim.Adam", "torch.optim.SGD")


def carries_state(model: Target) -> bool:
    """Whether networks of this architecture carry state from window to window."""
    return bool(model.constants.get("carries_state"))


def check_rules(recipe: Mapping[str, Any], model: Target, task: Target, refuse: Refuse) -> None:
    """Refuse sections that are right alone and wrong together."""
    _check_pretrained(recipe, model, task, refuse)
    _check_names(recipe["name"], recipe.get("sweep", {}).get("name"), refuse)
    _check_mirror(recipe["logger"], refuse)
    _check_length(recipe["trainer"], refuse)
    _check_batch(recipe["data"], recipe["trainer"], refuse)
    _check_sharding(recipe["trainer"], recipe["optimizer"], refuse)
    _check_state(recipe, model, refuse)
    _check_windows(recipe, refuse)


def _check_names(name: str | None, sweep: str | None, refuse: Refuse) -> None:
    for key, own in (("name", name), ("sweep.name", sweep)):
        size = len((own or "").encode())
        if size > LONGEST_NAME:
            refuse(
                key,
                f"{key} has {size} bytes, and a folder's name at most {LONGEST_NAME}: shorten it",
            )
    if name and ("/" in name or name.startswith(".") or "\0" in name or "\n" in name):
        refuse(
            "name",
            f"name={json.dumps(name, ensure_ascii=False)[1:-1]}: it names a folder under "
            "logs/runs: no '/', no '.' first, no end of a line and no NUL",
        )
    if sweep is not None and (not sweep or safe(sweep) != sweep):
        other = f": write sweep.name={safe(sweep)}" if safe(sweep) else ""
        refuse(
            "sweep.name",
            f"sweep.name={json.dumps(sweep, ensure_ascii=False)[1:-1]} names a folder under "
            f"logs/sweeps, of letters, digits, '_', '.' and '-' alone{other}",
        )


def _check_mirror(logger: Mapping[str, Any], refuse: Refuse) -> None:
    if logger["_target_"] != MIRROR:
        return
    project = logger["project"]
    if not is_project(project):
        refuse("logger.project", f"logger.project={project}: a project of W&B has {OF_PROJECT}")
    if wrong := wrong_tags(logger["tags"]):
        refuse(
            "logger.tags",
            f"logger.tags has {wrong[0]!r} of {len(wrong[0])} characters: a tag of W&B has 1 to "
            f"{LONGEST_TAG}",
        )
    for key, most in (("group", LONGEST_GROUP), ("job_type", LONGEST_JOB_TYPE)):
        if len(logger[key] or "") > most:
            refuse(
                f"logger.{key}",
                f"logger.{key}={logger[key]} has {len(logger[key])} characters: W&B takes {most}",
            )
    chosen_mode()  # whatever `mode` is: W&B reads the variable too


def _check_length(trainer: Mapping[str, Any], refuse: Refuse) -> None:
    steps, epochs, time = (trainer.get(f"max_{unit}") for unit in ("steps", "epochs", "time"))
    if (steps is None) == (epochs is None):
        key, other = "max_epochs", "max_steps"
        refuse(
            f"trainer.{key if epochs is not None else other}",
            f"trainer.max_steps={written(steps)} and trainer.max_epochs={written(epochs)}: "
            "exactly one of them says where the schedule ends; "
            + (f"also write trainer.{other}=null" if steps is not None else "give one of them"),
        )
    if time is not None and not re.fullmatch(r"(\d+:)?\d+:\d+:\d+", time):
        refuse(
            "trainer.max_time",
            f"trainer.max_time={time}: write '00:10:00' for ten minutes, '01:00:00:00' for a day",
        )


def _check_batch(data: Mapping[str, Any], trainer: Mapping[str, Any], refuse: Refuse) -> None:
    sequences, tokens = data.get("batch_size"), data.get("batch_tokens")
    if (sequences is None) == (tokens is None):
        which = (
            "write data.batch_tokens=null beside the one, or data.batch_size=null beside the other"
            if tokens is not None
            else "give one of them"
        )
        refuse(
            "data.batch_tokens" if tokens is not None else "data.batch_size",
            f"data.batch_size={written(sequences)} and data.batch_tokens={written(tokens)}: "
            f"exactly one of them says how much an optimizer step reads; {which}",
        )
    length, parts = data["max_length"], trainer["micro_batches"]
    if tokens is not None and tokens < length:
        refuse(
            "data.batch_tokens",
            f"data.batch_tokens={tokens} holds no sequence of data.max_length={length} tokens: "
            f"try data.batch_tokens={length}",
        )
    rows = _rows(data)
    if parts != "auto" and rows < parts:
        refuse(
            "trainer.micro_batches",
            f"trainer.micro_batches={parts}: a step of {rows} sequences cannot be cut into "
            f"{parts} parts; at most {rows}",
        )


def share_out(recipe: Mapping[str, Any], ranks: int) -> None:
    """Resolve trainer.micro_batches=auto, in place: one a rank.

    Raises:
        ValueError: a step has fewer sequences.
    """
    trainer, rows = recipe["trainer"], _rows(recipe["data"])
    if trainer["micro_batches"] != "auto":
        return
    if rows < ranks:
        raise ValueError(
            f"{ranks} devices cannot share the {rows} sequences of a step: train on {rows}, or "
            "write a larger data.batch_size or data.batch_tokens"
        )
    trainer["micro_batches"] = ranks


def _check_sharding(
    trainer: Mapping[str, Any], optimizer: Mapping[str, Any], refuse: Refuse
) -> None:
    if trainer["strategy"] != "fsdp":
        if trainer["sharded_checkpoints"]:
            refuse(
                "trainer.sharded_checkpoints",
                f"trainer.sharded_checkpoints=true: with trainer.strategy={trainer['strategy']} "
                "nothing is sharded: write trainer.sharded_checkpoints=false, or trainer=fsdp",
            )
        return
    kind = optimizer["_target_"]
    if kind not in ELEMENTWISE:
        refuse(
            "optimizer._target_",
            f"optimizer._target_={kind}: with trainer.strategy=fsdp a rank has a part of each "
            f"matrix, on which only {', '.join(ELEMENTWISE)} do what they do on the whole: write "
            "optimizer=adamw or sgd, or trainer=ddp",
        )
    if trainer["precision"] == "16-mixed":
        refuse(
            "trainer.precision",
            "trainer.precision=16-mixed: whether a scaled gradient overflows is not agreed on by "
            "the ranks of trainer.strategy=fsdp: write bf16-mixed or 32-true, or trainer=ddp",
        )


def _rows(data: Mapping[str, Any]) -> int:
    """Sequences that an optimizer step reads."""
    return int(data["batch_size"] or data["batch_tokens"] // data["max_length"])


def _check_state(recipe: Mapping[str, Any], model: Target, refuse: Refuse) -> None:
    lanes = recipe["data"].get("lanes")
    if lanes is not None and not carries_state(model):
        refuse(
            "data.lanes",
            f"data.lanes={lanes}: lanes carry state from window to window, and {model.name} has "
            "none to carry: write data.lanes=null",
        )
    rows = _rows(recipe["data"])
    if lanes is not None and lanes != rows:
        refuse(
            "data.lanes",
            f"data.lanes={lanes}, but a step has {rows} rows, one a lane: write data.lanes={rows}, "
            "or data.lanes=null for shuffled windows",
        )
    if recipe["eval"].get("carry") and not carries_state(model):
        refuse(
            "eval.carry",
            f"eval.carry=true: {model.name} has no state to carry: write eval.carry=false",
        )


def _check_windows(recipe: Mapping[str, Any], refuse: Refuse) -> None:
    context = recipe["eval"].get("context") or recipe["data"]["max_length"]
    stride = recipe["eval"].get("stride")
    if stride is not None and stride > context:
        refuse(
            "eval.stride",
            f"eval.stride={stride} is longer than eval.context={context}: tokens between two "
            f"windows would never be scored; at most {context}",
        )
    model = recipe["model"]
    if model.get("positions") == "learned":
        what = "model.max_length={reach} learned positions"
        reach, remedy = model.get("max_length"), "model.max_length={length}, or positions=rotary"
        if recipe["init_from"] is not None:  # of which the positions are a part
            remedy = "{key}={reach}: they come with the weights of init_from"
    elif isinstance(model.get("config"), Mapping):
        reach, remedy = longest(model["config"]), "{key}={reach}"
        what = "the pretrained model's {reach} positions"
    else:
        return
    for key, length in (
        ("data.max_length", recipe["data"]["max_length"]),
        ("eval.context", context),
    ):
        if reach is not None and length > reach:
            hint = remedy.format(key=key, length=length, reach=reach)
            refuse(
                key,
                f"{key}={length}: {what.format(reach=reach)} do not reach that far: write {hint}",
            )


def _check_pretrained(
    recipe: Mapping[str, Any], model: Target, task: Target, refuse: Refuse
) -> None:
    """What a pretrained model builds is known from its configuration alone."""
    config, kind = recipe["model"].get("config"), task.constants.get("network_kind")
    if model.constants.get("brings_vocabulary") and isinstance(config, Mapping):
        path = recipe["model"]["path"]
        if kind_of(config, path) != kind:
            refuse("model.path", wrong_kind(config, path, str(kind)))
