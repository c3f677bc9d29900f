"""The signature of a run's figures: all that they depend on beside the model.

A test leaves it in scores/test.json. Of validations, and of tests by an lmexp that left none, it
is put together from what the run's record has.
"""

from typing import Any, NamedTuple

from lmexp.compare.guard import SEARCH, WHY
from lmexp.compare.runs import Run, environment_of
from lmexp.example_scores import ExampleScores, read_scores

NO_EXAMPLES = "W&B has no scores of examples, the folders of the runs do"


class Scored(NamedTuple):
    """What is known of a run's figures."""

    signature: dict[str, Any]
    examples: ExampleScores | None
    trouble: str | None  # why there are no examples, where there should be


def scored(run: Run, part: str) -> Scored:
    """Signature and scores of examples.

    Args:
        run: finished.
        part: test, or best: of the best validation, whose examples are not kept.

    Raises:
        ValueError: environment.json is damaged.
    """
    if run.remote is not None and part == "test" and run.remote.signature:
        told = {**run.remote.signature, **_candidates(run, part)}
        return Scored(told, None, NO_EXAMPLES)
    if part != "test" or run.remote is not None:
        return Scored(_recorded(run, part), None, None)
    try:
        found = read_scores(run.folder)
    except FileNotFoundError:
        return Scored(_recorded(run, part), None, None)
    except ValueError as error:
        return Scored(_recorded(run, part), None, str(error))
    signature = {**found.signature, **_candidates(run, part)}
    return Scored(signature, found.scores, None)


def _recorded(run: Run, part: str) -> dict[str, Any]:
    data = environment_of(run).get("data") or {}
    flat = {
        f"{section}.{key}": value
        for section in ("data", "eval")
        for key, value in (run.recipe.get(section) or {}).items()
        if f"{section}.{key}" in WHY
    }
    if "eval.context" in flat:  # as data.EvalWindows.resolve has it
        flat["eval.context"] = flat["eval.context"] or flat.get("data.max_length")
        flat["eval.stride"] = flat["eval.stride"] or flat["eval.context"]
    if part == "test":
        flat.pop("eval.sample_pairs", None)
    elif SEARCH[0] in flat:  # validations put out some pairs, greedily
        flat |= {"eval.beam_size": 1, "eval.coverage_penalty": 0.0}
    versions = {
        name.partition("/")[2]: value
        for name, value in run.summary.items()
        if name.startswith(f"{part}/") and name.endswith("_signature")
    }
    return {
        "data_hash": data.get("data_hash"),
        "tokenizer_hash": data.get("tokenizer_hash"),
        **flat,
        "split": "test" if part == "test" else "val",
        **versions,
        **_candidates(run, part),
    }


def _candidates(run: Run, part: str) -> dict[str, Any]:
    """Among how many texts the right one was looked for, of models that match texts."""
    names = ("candidates", "candidates_of_all")
    found = {name: run.summary.get(f"{part}/{name}") for name in names}
    return {name: value for name, value in found.items() if value is not None}
