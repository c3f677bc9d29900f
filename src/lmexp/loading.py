"""From a checkpoint to something that can be used: `lmexp.load`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lmexp import checkpoint as checkpoints
from lmexp import tokenizers
from lmexp.build import build_task, vocab_of
from lmexp.check import check
from lmexp.checkpoint_files import exists
from lmexp.networks.interface import Vocab
from lmexp.origins import of_file
from lmexp.run_folders import newest_run
from lmexp.text_kinds import TEXT_KINDS


class Loaded(NamedTuple):
    """A trained network with all that belongs to it."""

    recipe: dict[str, Any]
    tokenizer: Any
    vocab: Vocab
    task: Any  # in evaluation mode, on the CPU; holds the averaged weights if the run kept such
    network: Any  # the task's
    step: int  # optimizer steps that it was trained for
    path: Path  # the checkpoint's file


def find_checkpoint(path: str | Path) -> Path:
    """The checkpoint that a path stands for: itself, or a run's best, or its newest good one.

    Args:
        path: a checkpoint, a run folder, or a folder of runs (the newest in it counts).

    Raises:
        FileNotFoundError: there is none.
        ValueError: there are some and all are damaged.
    """
    path = Path(path)
    if path.suffix == ".ckpt" and exists(path):
        return path
    run = newest_run(path)
    best = run / "checkpoints" / "best.ckpt"
    if best.exists():
        return best
    newest = checkpoints.newest_good(run, warn=lambda text: print(text, file=sys.stderr))
    if newest is None:
        raise FileNotFoundError(
            f"{run} holds no checkpoint yet (looked for checkpoints/*.ckpt in it): "
            f"train it first, or go on with resume={run}"
        )
    return newest


def check_kind(loaded: Loaded, kind: str | tuple[str, ...], run: str | Path) -> None:
    """Refuse a model that a command can do nothing with.

    Args:
        loaded: the model.
        kind: of text that the command needs one for; any of several.
        run: as it was named.

    Raises:
        ValueError: it is of another kind, with the command for that.
    """
    if loaded.task.text_kind not in ((kind,) if isinstance(kind, str) else kind):
        own = TEXT_KINDS[loaded.task.text_kind]
        use = f"{own.use}: {own.does}".format(run=run)
        raise ValueError(f"{loaded.path} is of {own.what}: lmexp {use}")


def load_language_model(path: str | Path, allow_targets: Sequence[str] = ()) -> Loaded:
    """load(), of a run of a language model.

    Raises:
        ValueError: the run is of another model.
    """
    loaded = load(path, allow_targets)
    check_kind(loaded, "text", path)
    return loaded


def load(path: str | Path, allow_targets: Sequence[str] = ()) -> Loaded:
    """A network that can be evaluated, generated from or looked at; needs the checkpoint alone.

    A checkpoint may come from anywhere: what of its recipe is built has passed the check before.

    Args:
        path: see find_checkpoint.
        allow_targets: packages of your own that the recipe may name; never taken from the file.

    Raises:
        FileNotFoundError: there is no checkpoint.
        ValueError: it is damaged, its recipe does not pass the check (it names code outside the
            allowed packages, for example), or its weights do not fit the network of its recipe.
    """
    file = find_checkpoint(path)
    saved = checkpoints.read(file)
    recipe = saved["recipe"]
    if not isinstance(recipe, dict) or not {"seed", "data"} <= recipe.keys():
        raise ValueError(f"{file}: its recipe is no mapping with seed and data: not lmexp's")
    built = [name for name in ("model", "task", "tuning") if name != "tuning" or name in recipe]
    check(recipe, allow_targets, of_file(file, recipe), built)
    tokenizer = tokenizers.from_state(saved["tokenizer"])
    vocab = vocab_of(tokenizer)
    task = build_task(recipe, vocab, None, allow_targets)
    try:
        task.load_state_dict(saved["state_dict"])
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise ValueError(
            f"{file} holds the weights of another network than its recipe's "
            f"({recipe['model']['_target_']}): {first}"
        ) from None
    training = saved["training"]
    if task.average is not None:
        task.average.restore(training["average"])
        task.put_average_in()
    task.eval()
    return Loaded(recipe, tokenizer, vocab, task, task.network, training["steps_done"], file)
