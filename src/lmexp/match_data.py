"""The data module of texts and what fits them: pairs, of which each target is a candidate."""

import dataclasses
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt

from lmexp.pair_data import PairDataModule
from lmexp.pair_preparation import PairCleaning, PairCorpus
from lmexp.text_scores import Metric
from lmexp.tokenizers import PairTokenizer, Tokenizer


@dataclasses.dataclass(frozen=True)
class EvalMatches:
    """How retrieval is evaluated.

    Args:
        batch_size: pairs read at once. The loss of a batch has its own targets as candidates, so
            that this changes the loss, and no other figure.
    """

    text_kind: ClassVar[str] = "matches"
    metrics: ClassVar[tuple[Metric, ...]] = ()  # of outputs, of which there are none
    execute: ClassVar[bool] = False

    batch_size: Annotated[int, Gt(0)]


class MatchDataModule(PairDataModule):
    """Sources, and the targets to be found for them: one tokenizer for both.

    Args:
        See PairDataModule.
    """

    text_kind: ClassVar[str] = "matches"
    counted: ClassVar[str] = "pairs"

    def __init__(
        self,
        corpus: PairCorpus,
        tokenizer: Tokenizer | PairTokenizer,
        cleaning: PairCleaning,
        *,
        max_length: Annotated[int, Gt(1)],
        batch_size: Annotated[int, Gt(0)] | None,
        batch_tokens: Annotated[int, Gt(0)] | None,
        num_workers: Annotated[int, Ge(0)],
        root: str | None,
        seed: Annotated[int, Ge(0)],
        micro_batches: Annotated[int, Gt(0)],
        evaluation: EvalMatches,
    ) -> None:
        super().__init__(
            corpus,
            tokenizer,
            cleaning,
            joint=True,
            language_tags=(),
            max_length=max_length,
            batch_size=batch_size,
            batch_tokens=batch_tokens,
            num_workers=num_workers,
            root=root,
            seed=seed,
            micro_batches=micro_batches,
            evaluation=evaluation,
        )

    @property
    def tokens_per_step(self) -> int:
        """Pairs of a step, on average over an epoch."""
        return max(1, round(self.store("train").num_pairs / self.steps_per_epoch))

    @property
    def reads_per_label(self) -> float:
        """Tokens of both sides that are read for each pair."""
        store = self.store("train")
        return (len(store.source) + len(store.target)) / store.num_pairs
