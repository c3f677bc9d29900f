"""Runs all checks on a recipe, in this process."""

from pathlib import Path

from lmexp.checks.subject import Subject
from lmexp.checks.suite import Result, results
from lmexp.recipe import composition

OWN = "# @package model\n_target_: misbuilt.OwnSizes\nwidth: 32\nfault: sound\n"
ALLOWED = ["misbuilt", "misread"]
TRANSFORMER = ["model=transformer", "model.d_model=32", "model.num_layers=1", "model.d_ff=64"]
TRANSFORMER += ["model.num_heads=2", "model.num_kv_heads=2"]


def checked(overrides: list[str], folder: Path) -> list[Result]:
    """All results; the folder gets the configuration of a user's own."""
    conf = folder / "conf" / "model"
    conf.mkdir(parents=True, exist_ok=True)
    (conf / "own.yaml").write_text(OWN)
    composed = composition(overrides, str(folder / "conf"), ALLOWED)
    return list(results(Subject(composed.recipe, composed.allow_targets, seconds=60)))


def failing(overrides: list[str], folder: Path) -> dict[str, str]:
    """Names of the checks that fail, with what they say."""
    return {
        result.name: f"{result.outcome.says} {result.outcome.means}"
        for result in checked(overrides, folder)
        if result.outcome.verdict == "failed"
    }
