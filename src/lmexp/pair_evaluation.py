"""How a text-to-text model is evaluated: the section eval of its recipe."""

import dataclasses
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Gt

from lmexp.decoding.beam import Beam
from lmexp.text_scores import Metric

# of EvalPairs; the last two say which figures there are
CHANGE_NO_FIGURE = ("batch_size", "batch_tokens", "sample_pairs", "metrics", "execute")


@dataclasses.dataclass(frozen=True)
class EvalPairs:
    """How a text-to-text model is evaluated; part of the signature of every figure.

    Args:
        beam_size: see decoding.beam.Beam, as the next six.
        length_penalty: 0 ranks by probability alone.
        max_ratio: tokens of the longest output, over those of its source.
        max_extra: more of them.
        min_ratio: tokens of the shortest output, over those of its source.
        no_repeat_ngram: 0 allows all.
        coverage_penalty: see decoding.beam.Beam; 0 ranks without it.
        batch_size: pairs scored at once; changes no figure.
        batch_tokens: of the sources, times the beam, that are searched at once; changes no figure.
        sample_pairs: of the validation split, put out greedily and scored after each validation.
        metrics: figures of outputs; see text_scores.text_scores.
        execute: runs outputs, which are programs, on the tests of their pairs; see lmexp.execution.
    """

    text_kind: ClassVar[str] = "pairs"

    beam_size: Annotated[int, Gt(0)]
    length_penalty: Annotated[float, Ge(0)]
    max_ratio: Annotated[float, Gt(0)]
    max_extra: Annotated[int, Ge(0)]
    min_ratio: Annotated[float, Ge(0)]
    no_repeat_ngram: Annotated[int, Ge(0)]
    coverage_penalty: Annotated[float, Ge(0)]
    batch_size: Annotated[int, Gt(0)]
    batch_tokens: Annotated[int, Gt(0)]
    sample_pairs: Annotated[int, Ge(0)]
    metrics: tuple[Metric, ...]
    execute: bool

    def deciding(self) -> dict[str, Any]:
        """What decides the outputs and with them figures, by the key of the recipe."""
        return {
            f"eval.{field.name}": getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in CHANGE_NO_FIGURE
        }

    @property
    def beam(self) -> Beam:
        """The search of test and commands."""
        return Beam(
            self.beam_size,
            self.length_penalty,
            self.max_ratio,
            self.max_extra,
            self.min_ratio,
            self.no_repeat_ngram,
            n_best=1,
            coverage_penalty=self.coverage_penalty,
        )

    @property
    def greedy(self) -> Beam:
        """The search of samples."""
        return dataclasses.replace(self.beam, size=1, coverage_penalty=0.0)
