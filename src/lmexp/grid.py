"""What the overrides of a sweep stand for: a grid of combinations, and a space to search.

The syntax is Hydra's: `seed=1,2` and `glob(*)` make a grid, `interval(1e-4,1e-2)` a dimension.
`range(…)` and `choice(…)` are dimensions where something is searched, and else parts of the grid.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lmexp.recipe import conf_folders, hydra_over, plain_errors
from lmexp.values import written


class Dimension(NamedTuple):
    """One key of a space."""

    key: str
    low: float | None = None  # of numbers, both ends included
    high: float | None = None
    step: int | None = None  # of whole numbers
    is_log: bool = False
    choices: tuple[str, ...] = ()  # as they are typed

    @property
    def ends(self) -> list[str]:
        """Overrides for its extremes, or for each choice: what a check has to try."""
        found = self.choices or (self.written(self.low), self.written(self.high))
        return [f"{self.key}={value}" for value in found]

    def written(self, value: Any) -> str:
        """A value as an override has it."""
        return str(int(value)) if self.step is not None else str(value)


class Grid(NamedTuple):
    """Combinations, each of which is searched in the space, if there is one."""

    combinations: list[list[str]]  # in the order as typed, without the keys of the space
    space: list[Dimension]


def grid(
    overrides: Sequence[str],
    config_dir: str | None = None,
    *,
    searches: bool = False,
    space: Mapping[str, str] | None = None,
) -> Grid:
    """Every combination that overrides stand for, in the order as typed.

    Args:
        overrides: as typed.
        config_dir: a folder with more configuration files.
        searches: whether ranges and choices are to be searched.
        space: further dimensions by key, which typed ones replace.

    Raises:
        ValueError: an override cannot be read, or nothing searches its interval.
    """
    folders = conf_folders(config_dir)
    with plain_errors(folders), hydra_over(folders) as loader:
        from hydra.core.override_parser.overrides_parser import OverridesParser

        parser = OverridesParser.create(config_loader=loader)
        found: dict[str, Dimension] = {}
        for key, text in (space or {}).items():
            found[key] = _searched(key, text, parser)
        values = []
        parsed = parser.parse_overrides(list(overrides))
        _refuse_repeated(parsed)
        for override in parsed:
            key = override.get_key_element()
            _check_ends(override)
            if searches and _is_dimension(override):
                found[key] = _dimension(key, override)
            elif not override.is_sweep_override():
                values.append([str(override.input_line)])
                found.pop(key, None)
            elif override.is_discrete_sweep():
                values.append([f"{key}={value}" for value in override.sweep_string_iterator()])
                if not values[-1]:
                    raise ValueError(
                        f"{override.input_line} matches nothing: glob(…) is of the files of a "
                        f"folder in conf, such as 'model=glob(*)', and {key} has none of that name"
                    )
                found.pop(key, None)
            else:
                raise ValueError(
                    f"{override.input_line}: an interval has no end of values: add sweep=search "
                    "to search in it"
                )
        combinations = [list(combination) for combination in itertools.product(*values)]
        return Grid(combinations, list(found.values()))


def check_space(space: Any) -> None:
    """Refuse a value of sweep.search.space that is no text, with the form of one that is.

    Raises:
        ValueError: there is one.
    """
    for key, value in space.items() if isinstance(space, Mapping) else ():
        if not isinstance(value, str):
            whole = f"{key}.…" if isinstance(value, Mapping) else key
            raise ValueError(
                f"sweep.search.space: {written(value)} of {key} is no text: write the whole key, "
                f"and what is searched in quotes: {{{whole}: 'interval(low,high)'}}"
            )


def _searched(key: str, text: str, parser: Any) -> Dimension:
    """A dimension of sweep.search.space."""
    from hydra.errors import OverrideParseException

    try:
        (override,) = parser.parse_overrides([f"{key}={text}"])
        problem = "" if override.is_sweep_override() else "is one value"
    except OverrideParseException:
        problem = "cannot be read"
    if problem:
        raise ValueError(
            f"sweep.search.space: {text!r} of {key} {problem}: write interval(low,high), "
            "range(start,stop,step) or choice(one,another)"
        )
    _check_ends(override)
    return _dimension(key, override)


def _refuse_repeated(parsed: Sequence[Any]) -> None:
    """Of a key that is given twice, one list would win without a word."""
    lines: dict[str, list[Any]] = {}
    for override in parsed:
        lines.setdefault(override.get_key_element().lstrip("+"), []).append(override)
    for key, own in lines.items():
        if len(own) > 1 and any(override.is_sweep_override() for override in own):
            typed = " and ".join(str(override.input_line) for override in own)
            raise ValueError(
                f"{typed}: {key} is given {len(own)} times: write it once, with all its values"
            )


def _is_dimension(override: Any) -> bool:
    """Whether it is one where something is searched: all but lists with commas and globs."""
    if not override.is_sweep_override():
        return False
    is_list = getattr(override.value(), "simple_form", True)
    return override.is_interval_sweep() or override.is_range_sweep() or not is_list


def _check_ends(override: Any) -> None:
    """Refuse ranges and intervals that hold no value, one alone, or none that has a logarithm."""
    sweep, typed = override.value(), override.input_line
    if override.is_range_sweep():
        if not sweep.step or not len(list(sweep.range())):
            raise ValueError(
                f"{typed} holds no value: write range(start,stop) with a stop above the start, or "
                "range(start,stop,step) with a step towards it"
            )
        ends = list(sweep.range())
    elif override.is_interval_sweep():
        ends = [sweep.start, sweep.end]
        if not all(map(math.isfinite, ends)) or sweep.start >= sweep.end:
            raise ValueError(
                f"{typed} is no interval: write interval(low,high), two finite numbers, low below "
                "high"
            )
    else:
        return
    if "log" in sweep.tags and override.is_range_sweep() and ends[1:2] != [ends[0] + 1]:
        raise ValueError(
            f"{typed}: steps that are equal are not so in the logarithm: write "
            "tag(log,interval(low,high)), of whole numbers tag(log,int(interval(low,high)))"
        )
    if "log" in sweep.tags and min(ends) <= 0:
        raise ValueError(f"{typed}: only what is above 0 has a logarithm: leave tag(log,…) out")


def _dimension(key: str, override: Any) -> Dimension:
    sweep = override.value()
    if override.is_interval_sweep():
        is_whole = isinstance(sweep.start, int) and isinstance(sweep.end, int)
        step = 1 if is_whole else None
        return Dimension(key, sweep.start, sweep.end, step, is_log="log" in sweep.tags)
    if override.is_range_sweep():
        numbers = list(sweep.range())
        if all(float(number).is_integer() for number in numbers) and len(numbers) > 1:
            step = int(numbers[1] - numbers[0])
            low, high = sorted((int(numbers[0]), int(numbers[-1])))
            return Dimension(key, low, high, abs(step), is_log="log" in sweep.tags)
    return Dimension(key, choices=tuple(override.sweep_string_iterator()))
