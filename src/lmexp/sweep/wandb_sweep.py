"""A sweep that Weights & Biases runs: its configuration, and the agent that obeys it.

Each run is `lmexp train` with the agent's values as overrides, mirrored to W&B.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from lmexp.atomic import write_atomically
from lmexp.errors import say
from lmexp.grid import Dimension
from lmexp.sweep.planning import Plan, Planned, objectives_of
from lmexp.targets import as_flags
from lmexp.wandb_sessions import MIRROR as MIRRORED
from lmexp.wandb_sessions import account_mode

METHODS = {"tpe": "bayes", "gp": "bayes", "nsgaii": "bayes", "random": "random"}
MIRROR = "logger=wandb"


def configuration(
    planned: Plan, overrides: Sequence[str], config_dir: str | None
) -> dict[str, Any]:
    """What `wandb sweep` reads.

    Args:
        planned: checked; its combinations are a grid of all values of the swept keys.
        overrides: as typed, those that are swept among them.
        config_dir: a folder with configuration files of the user's.

    Raises:
        ValueError: several objectives, of which W&B takes one.
    """
    first = planned.combinations[0]
    figures = objectives_of(first.composed)
    if len(figures) > 1:
        raise ValueError(
            f"sweep.search.objectives are {len(figures)}: a sweep of W&B has one, or search "
            "without it: python train.py -m"
        )
    (objective,) = figures
    chosen = str(first.composed.recipe["logger"]["_target_"])
    if chosen != MIRRORED and any(line.startswith("logger=") for line in overrides):
        raise ValueError(
            f"logger={chosen}: W&B sees nothing of a sweep's runs that are not mirrored to it: "
            f"write {MIRROR}, or leave logger= out"
        )
    swept = {line.partition("=")[0] for line in first.overrides}
    swept |= {dimension.key for dimension in planned.space}
    fixed = [line for line in overrides if line.partition("=")[0] not in swept]
    own = ["--config-dir", str(Path(config_dir).resolve())] if config_dir is not None else []
    command = [sys.executable, "-m", "lmexp", "train", *own]
    command += [*as_flags(first.composed.allow_targets), *fixed]
    if not any(line.startswith("logger=") for line in fixed):
        command.append(MIRROR)
    search = first.settings.get("search")
    return {
        "program": "lmexp",
        "command": ["${env}", *command, "${args_no_hyphens}"],
        "method": METHODS[search["sampler"]] if search else "grid",
        "metric": {
            "name": objective.live or objective.figure,
            "goal": objective.direction,
        },
        "parameters": {
            **_lists(planned.combinations),
            **{dimension.key: _distribution(dimension) for dimension in planned.space},
        },
    }


def _lists(combinations: Sequence[Planned]) -> dict[str, Any]:
    """The values of each swept key, in their order."""
    values: dict[str, dict[str, None]] = {}
    for own in combinations:
        for line in own.overrides:
            key, _, value = line.partition("=")
            values.setdefault(key, {})[value] = None
    return {key: {"values": list(found)} for key, found in values.items()}


def _distribution(dimension: Dimension) -> dict[str, Any]:
    if dimension.choices:
        return {"values": list(dimension.choices)}
    ends = {"min": dimension.low, "max": dimension.high}
    if dimension.step is None:
        name = "log_uniform_values" if dimension.is_log else "uniform"
        return {"distribution": name, **ends}
    whole = {name: int(value or 0) for name, value in ends.items()}
    if dimension.is_log:
        return {"distribution": "q_log_uniform_values", "q": dimension.step, **whole}
    if dimension.step > 1:
        return {"values": list(range(whole["min"], whole["max"] + 1, dimension.step))}
    return {"distribution": "int_uniform", **whole}


def run(
    content: dict[str, Any], file: Path, project: str, entity: str | None, count: int | None
) -> int:
    """Write the configuration; with an account, make the sweep and obey its agent.

    Returns:
        The agent's exit status; 0 without an account, where it is said how to go on.

    Raises:
        ValueError: W&B makes no such sweep.
    """
    write_atomically(file, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    where = f"{f'{entity}/' if entity else ''}{project}"
    if account_mode() != "online":
        say(
            f"written to {file}; W&B is not online here: with an account, "
            f"`wandb sweep --project {project} {file}` makes the sweep and names its agent"
        )
        return 0
    import wandb

    try:
        sweep = wandb.sweep(content, project=project, entity=entity)
    except wandb.errors.Error as error:
        raise ValueError(
            f"W&B makes no sweep in {where} ({error}): --project {project} and --entity "
            f"{entity or '(the default of your account)'} have to be ones that your account may "
            f"write to; {file} is written, and `wandb sweep` takes it"
        ) from None
    command = [sys.executable, "-m", "wandb", "agent", f"{where}/{sweep}"]
    if count is not None:
        command += ["--count", str(count)]
    return subprocess.run(command, check=False).returncode
