"""Numbers of a comparison as people read them."""

import math

from lmexp.compare.budgets import Met
from lmexp.compare.result import GroupResult
from lmexp.compare.runs import Cost
from lmexp.compare.seeds import Interval
from lmexp.report import duration

NONE = "–"
REFUSED = "†"  # beside a figure that must not be compared with the baseline's
BUDGET = ("budget", "asked", "met, mean", "met / asked")
COSTS = ("time", "steps", "tokens", "parameters", "FLOPs", "memory")


def figure(value: float) -> str:
    """With four decimals below 10, two below 1,000."""
    size = abs(value)
    if not math.isfinite(value) or size >= 1000:
        return f"{value:.4g}"
    return f"{value:.4f}" if size < 10 else f"{value:.2f}"


def signed(value: float | None) -> str:
    """A difference."""
    return NONE if value is None else f"{'+' if value >= 0 else ''}{figure(value)}"


def mean(group: GroupResult) -> str:
    """Of a group, marked where it must not be compared."""
    return f"{figure(group.aggregate.mean)}{REFUSED if group.mismatches else ''}"


def mean_and_deviation(group: GroupResult) -> str:
    """Both in one."""
    spread = group.aggregate.deviation
    return f"{mean(group)}{'' if spread is None else f' ± {figure(spread)}'}"


def reach(value: Interval | None) -> str:
    """Half of an interval around its middle."""
    return NONE if value is None else figure((value.high - value.low) / 2)


def interval(value: Interval | None) -> str:
    """From low to high."""
    return NONE if value is None else f"{figure(value.low)} to {figure(value.high)}"


def p_value(value: float | None) -> str:
    """Three decimals; below that it is said to be less."""
    if value is None:
        return NONE
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def effect(value: float | None) -> str:
    """In standard deviations."""
    return NONE if value is None else f"{value:+.1f}"


def verdict(group: GroupResult) -> str:
    """Over seeds, in words."""
    if group.mismatches:
        return "not compared"
    return "baseline" if group.row is None or group.row.verdict is None else group.row.verdict


def costs(own: Cost) -> list[str]:
    """One of COSTS each."""
    return [
        NONE if own.seconds is None else duration(own.seconds),
        NONE if own.steps is None else f"{own.steps:,.0f}",
        large(own.tokens),
        large(own.parameters),
        NONE if own.flops is None else f"{own.flops:.2e}",
        NONE if own.peak_memory_bytes is None else f"{own.peak_memory_bytes / 2**30:.2f} GiB",
    ]


def large(value: float | None) -> str:
    """In thousands, millions or billions."""
    if value is None:
        return NONE
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.1f} {letter}"
    return f"{value:.0f}"


def budget(met: Met) -> list[str]:
    """One of BUDGET each."""
    low, high = (None if own is None else f"{own:.1%}" for own in (met.low, met.high))
    return [
        met.budget,
        amount(met.asked),
        NONE if met.mean is None else amount(met.mean),
        NONE if low is None else low if low == high else f"{low} to {high}",
    ]


def amount(value: float) -> str:
    """Of a budget."""
    if value >= 1e12:
        return f"{value:.2e}"
    return large(value) if value >= 1000 else f"{value:.4g}"
