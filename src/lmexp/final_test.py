"""The end of a run: its best checkpoint is tested."""

import contextlib
from collections.abc import Mapping
from typing import Any

from lmexp import checkpoint as checkpoints
from lmexp.callbacks import Recorder
from lmexp.example_scores import write_scores
from lmexp.hardware import autocast
from lmexp.parts import Parts
from lmexp.run_data import data_signature, figure_signature
from lmexp.tasks.interface import Sample


def _gathered(task: Any) -> contextlib.AbstractContextManager[None]:
    """Meanwhile ranks may take as many steps of the network as each likes; all come here."""
    return task.shards.gathered() if task.shards is not None else contextlib.nullcontext()


def sample_of(parts: Parts) -> Sample | None:
    """What the network puts out as it stands; None: not wanted."""
    if not parts.task.wants_sample(parts.data):
        return None
    with _gathered(parts.task):
        sample: Sample | None = parts.task.sample(parts.data)
        return sample


def tested(parts: Parts, trainer: Any, recorder: Recorder) -> dict[str, Any]:
    """The figures of a run: of the best validation, and of a test of its weights.

    Where there is a test split, its scores are left in the run's folder example by example too.

    Args:
        parts: of the run, trained.
        trainer: that has trained it.
        recorder: knows the best validation.
    """
    best = parts.folder / "checkpoints" / "best.ckpt"
    saved = checkpoints.read(best)
    if parts.task.shards is None:
        parts.task.load_state_dict(saved["state_dict"])
    else:
        parts.task.shards.load_state_dict(parts.task, saved["state_dict"])
    if parts.task.average is not None:
        parts.task.average.restore(saved["training"]["average"])
    figures = {}
    if "test" in parts.data.corpus.splits:
        parts.task.keep_examples(parts.data, "test")
        trainer.test(parts.task, parts.data.test_dataloader(), verbose=False)
        figures = parts.task.validated(parts.data.store("test"))
    parts.task.to(parts.ranks.device)  # Lightning has left it on the CPU
    parts.task.put_average_in()
    if "test" in parts.data.corpus.splits:
        with _gathered(parts.task), autocast(parts.ranks.device, parts.hardware.precision):
            figures |= parts.task.scores(parts.data, "test")
        _keep_scores(parts, figures, saved["training"]["steps_done"])
    sample = sample_of(parts)
    return {
        **{f"best/{name.removeprefix('val/')}": value for name, value in recorder.best.items()},
        **{f"test/{name}": value for name, value in figures.items()},
        "tokens_per_second": recorder.tokens_per_second,
        "text_kind": parts.task.text_kind,
        "monitor": parts.task.monitor.removeprefix("val/"),  # chose the checkpoint
        **({"sample": sample.text} if sample is not None else {}),
    }


def _keep_scores(parts: Parts, figures: Mapping[str, Any], step: int) -> None:
    """Leave what was scored of each example in the run's folder."""
    scores = parts.task.example_scores(parts.data, "test")
    if scores is None or not parts.ranks.is_first:
        return
    own = figure_signature(
        data_signature(parts.data, "test"),
        figures,
        checkpoint=parts.folder / "checkpoints" / "best.ckpt",
        step=step,
        precision=parts.hardware.precision,
    )
    write_scores(parts.folder, scores, own)
