"""Budgets, which size or stop a run so that a comparison is fair.

A budget of parameters changes the widths of the architecture, in proportion; those of operations
and tokens decide the number of steps, with which the schedule ends; that of minutes stops training
where the clock says so, in the middle of a schedule if need be. What was asked stands in the
summary beside what became of it.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, NamedTuple

from annotated_types import Gt, Lt

Recipe = Mapping[str, Any]
LENGTHS = ("tokens", "flops")  # the budgets that decide the number of steps
MULTIPLE = 8  # of widths: what matrix units like
MOST_OFF = 2.0  # times too many parameters, or too few: above that a budget means nothing
MOST_PARAMETERS = 1e12  # more is a slip of the keyboard, and would take minutes to be sized


@dataclass(frozen=True)
class Budget:
    """What a run may be, and may cost; None leaves the recipe as it is.

    Args:
        parameters: of the network in all, as near as widths allow.
        flops: operations of training in all, forward and backward (networks.flops).
        tokens: read in training, those that are read again counted again; of pairs the target's,
            of pairs that are matched both sides'.
        minutes: of training.

    Raises:
        ValueError: both flops and tokens, which each decide the number of steps.
    """

    parameters: Annotated[float, Gt(0)] | None = None
    flops: Annotated[float, Gt(0), Lt(1e30)] | None = None
    tokens: Annotated[float, Gt(0), Lt(1e30)] | None = None
    minutes: Annotated[float, Gt(0)] | None = None

    def __post_init__(self) -> None:
        if self.flops is not None and self.tokens is not None:
            raise ValueError(
                f"budget.flops={self.flops:g} and budget.tokens={self.tokens:g} both say how many "
                "steps there are: give one of them"
            )


class Budgeted(NamedTuple):
    """A recipe with the widths, and the steps, that budgets allow."""

    recipe: Recipe
    total_steps: int


def keep(recipe: Recipe, data: Any, total_steps: int, allow_targets: tuple[str, ...]) -> Budgeted:
    """Size the architecture, and count the steps.

    The result depends on recipe and data alone: every rank and every resume finds the same.

    Args:
        recipe: frozen and checked.
        data: the data module, prepared.
        total_steps: without a budget.
        allow_targets: packages of the user's own.

    Raises:
        ValueError: the architecture has no width that could be changed, or what is asked is less
            than a step.
    """
    asked = {key: value for key, value in recipe.get("budget", {}).items() if key != "_target_"}
    budget = Budget(**asked)
    if budget.parameters is not None:
        count = partial(_parameters, data=data, allow_targets=allow_targets)
        recipe = _sized(recipe, budget.parameters, count)
    if budget.tokens is None and budget.flops is None:
        return Budgeted(recipe, total_steps)
    step = data.tokens_per_step * getattr(data, "reads_per_label", 1.0)
    if budget.flops is not None:
        step *= _flops_per_token(recipe, data, allow_targets)
    length = budget.tokens or budget.flops
    assert length is not None
    steps = round(length / step)
    if steps < 1:
        raise ValueError(
            f"{_written(asked)} is less than half of a step, which takes {step:,.0f}: write more, "
            "or smaller steps by data.batch_size or data.batch_tokens"
        )
    return Budgeted(recipe, steps)


def asked_of(recipe: Recipe) -> dict[str, float]:
    """The budgets that a recipe sets, as figures of its summary."""
    budgets = recipe.get("budget", {})
    return {
        f"budget/{key}": value
        for key, value in budgets.items()
        if key != "_target_" and value is not None
    }


def in_words(recipe: Recipe, cost: Mapping[str, float]) -> str | None:
    """What was asked beside what the network has; None without a budget.

    Args:
        recipe: sized.
        cost: `parameters` among it.
    """
    told = {name.removeprefix("budget/"): value for name, value in asked_of(recipe).items()}
    if not told:
        return None
    lines = {name: f"{name} {value:,.12g}" for name, value in told.items()}
    if "parameters" in told:
        share = cost["parameters"] / told["parameters"]
        lines["parameters"] += f", of which the network has {share:.1%} in steps of model.d_model"
    return "; ".join(lines.values())


def _written(asked: Mapping[str, Any]) -> str:
    """The one of the two budgets that decides the steps."""
    name = next(name for name in LENGTHS if asked.get(name) is not None)
    return f"budget.{name}={asked[name]:g}"


def _sized(recipe: Recipe, wanted: float, count: Callable[[Recipe], int]) -> Recipe:
    """The recipe whose width makes the number of parameters come nearest."""
    model = recipe["model"]
    if not isinstance(model.get("d_model"), int):
        raise ValueError(
            f"budget.parameters={wanted:g}: {model['_target_']} has no d_model to change: leave "
            "the budget out, or choose a model= that is sized by its recipe"
        )
    if wanted > MOST_PARAMETERS:
        raise ValueError(
            f"budget.parameters={wanted:g} is more than any memory holds: write at most "
            f"{MOST_PARAMETERS:g}"
        )
    step = math.lcm(MULTIPLE, 2 * model.get("num_heads", 1))  # rotary positions take pairs
    low, high = 1, 2
    while count(_widened(recipe, high * step)) < wanted:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if count(_widened(recipe, middle * step)) < wanted:
            low = middle
        else:
            high = middle
    near = [recipe, _widened(recipe, low * step), _widened(recipe, high * step)]
    best = min(near, key=lambda own: abs(count(own) - wanted))
    found = count(best)
    if not wanted / MOST_OFF <= found <= wanted * MOST_OFF:
        raise ValueError(
            f"budget.parameters={wanted:g}: what comes nearest is model.d_model="
            f"{best['model']['d_model']} with {found:,} parameters, for widths go in steps of "
            f"{step}, and the vocabulary needs its own: write a budget near that, a tokenizer with "
            "fewer ids, or another model.num_layers"
        )
    return best


def _widened(recipe: Recipe, d_model: int) -> Recipe:
    """The same shape, with another width."""
    model = dict(recipe["model"])
    if isinstance(model.get("d_ff"), int):
        ratio = model["d_ff"] / model["d_model"]
        model["d_ff"] = max(MULTIPLE, round(ratio * d_model / MULTIPLE) * MULTIPLE)
    model["d_model"] = d_model
    return {**recipe, "model": model}


def _network(recipe: Recipe, data: Any, allow_targets: tuple[str, ...]) -> Any:
    import torch

    from lmexp.build import build_task

    with torch.device("meta"):
        task = build_task(recipe, data.vocab, None, allow_targets)
    task.network.reads_per_label = getattr(data, "reads_per_label", task.reads_per_label)
    return task.network


def _parameters(recipe: Recipe, data: Any, allow_targets: tuple[str, ...]) -> int:
    return sum(own.numel() for own in _network(recipe, data, allow_targets).parameters())


def _flops_per_token(recipe: Recipe, data: Any, allow_targets: tuple[str, ...]) -> int:
    from lmexp.networks.flops import flops_per_token

    return flops_per_token(_network(recipe, data, allow_targets), data.row_length)
