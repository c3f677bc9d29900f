"""Settings of a search (sweep=search), and how its trials become recipes."""

import difflib
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import yaml
from annotated_types import Ge

from lmexp.sweep import code
from lmexp.sweep.manifest import Manifest
from lmexp.targets import as_flags

COSTS = {  # of a summary -> whether more is better
    **dict.fromkeys(("parameters", "flops_per_token", "tokens", "seconds"), False),
    "tokens_per_second": True,
}
Direction = Literal["minimize", "maximize"]


@dataclass(frozen=True)
class Search:
    """What Optuna does in a sweep.

    Args:
        trials: of each study; what else is swept forms a grid of studies.
        sampler: tpe (Bergstra et al. 2011), gp (a Gaussian process), random or nsgaii (Deb et al.
            2002, for several objectives).
        pruner: median ends a trial whose live figure is worse than the median of the others at
            that step, halving the worse three quarters at each rung (Li et al. 2020), none
            nothing; several objectives cannot be pruned.
        startup_trials: that are drawn at random before the sampler models anything (the first
            generation of nsgaii, and so the size of all), and run to their ends before the median
            is one.
        objectives: figures of summary.json, such as best/loss or one of COSTS; None: the one that
            chooses the task's checkpoint.
        directions: of each objective; None: the task's for its own, and what is known of others.
        seed: of the sampler.
        space: key -> interval(low,high), range(start,stop,step) or choice(one,another), as Hydra
            writes them; tag(log,…) and int(…) around an interval. Typed ones replace them.

    Raises:
        ValueError: what does not go together.
    """

    trials: Annotated[int, Ge(1)]
    sampler: Literal["tpe", "gp", "random", "nsgaii"]
    pruner: Literal["median", "halving", "none"]
    startup_trials: Annotated[int, Ge(1)]
    objectives: list[str] | None
    directions: list[Direction] | None
    seed: Annotated[int, Ge(0)]
    space: Mapping[str, str]

    def __post_init__(self) -> None:
        objectives, directions = self.objectives, self.directions
        if objectives is not None and not objectives:
            raise ValueError("sweep.search.objectives=[]: name one, or leave it null")
        if len(set(objectives or ())) < len(objectives or ()):
            raise ValueError(f"sweep.search.objectives={objectives}: name each once")
        for name in objectives or ():
            if name not in COSTS and not name.startswith(("best/", "test/")):
                # check.nearest asks for more likeness, and finds no flops_per_token in flops
                near = difflib.get_close_matches(name, COSTS, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]}? " if near else ""
                raise ValueError(
                    f"sweep.search.objectives: a summary has no {name!r}; {hint}It has best/… and "
                    f"test/…, and {', '.join(COSTS)}"
                )
        if directions is not None and len(directions) != len(objectives or [""]):
            raise ValueError(
                f"sweep.search.directions={directions} are {len(directions)}, of "
                f"{len(objectives or [''])} objectives: give one each"
            )
        if len(objectives or ()) > 1 and self.pruner != "none":
            raise ValueError(
                f"sweep.search.pruner={self.pruner} cannot weigh {len(objectives or ())} "
                "objectives: write sweep.search.pruner=none"
            )


def frozen_recipe(
    manifest: Manifest, overrides: Sequence[str], allow_targets: Sequence[str]
) -> dict[str, Any]:
    """The recipe of some overrides, composed by the frozen code from frozen configuration files.

    Args:
        manifest: of the sweep.
        overrides: as they would be typed.
        allow_targets: packages of the user's own.

    Raises:
        ValueError: they are refused.
    """
    sweep = manifest.folder.resolve()
    command = [*code.python(sweep), "-m", "lmexp", "train", "--cfg", "job", *overrides]
    command += as_flags(allow_targets)
    own = sweep / code.CODE / code.CONFIG
    if own.is_dir():
        command += ["--config-dir", str(own)]
    done = subprocess.run(
        command,
        env=code.environment(sweep, manifest.directory),
        cwd=manifest.directory,
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,  # else Ctrl-C would make this a trial that cannot be composed
    )
    if done.returncode:
        raise ValueError(done.stderr.strip().removeprefix("lmexp: "))
    recipe: dict[str, Any] = yaml.safe_load(done.stdout)
    return recipe
