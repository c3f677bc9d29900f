"""The data module of texts and what fits them: pairs, of which each target is a candidate."""

import dataclasses
from collections import Counter
from functools import cached_property, partial
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from annotated_types import Ge, Gt
from numpy.typing import NDArray

from lmexp.batch import MatchBatch
from lmexp.buckets import EveryEpoch, Reads
from lmexp.collate import collate_pairs
from lmexp.pair_data import PairDataModule
from lmexp.pair_plan import Rows
from lmexp.pair_preparation import PairCleaning, PairCorpus
from lmexp.pair_store import PairStore
from lmexp.preparation import Split
from lmexp.scored_examples import ScoredExamples
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

    def deciding(self) -> dict[str, Any]:
        """What decides figures, by the key of the recipe."""
        return {"eval.batch_size": self.batch_size}


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

    def reads(self, split: Split) -> Reads:
        """Pairs; of the training split each says how common its target is."""
        reads, store = super().reads(split), self.store(split)
        shares = self._shares if split == "train" else np.zeros(store.num_pairs, np.float32)
        batch = partial(collate_matches, store, shares)
        return reads._replace(batch=EveryEpoch(batch), scored=batch)

    def scored_examples(self, split: Split) -> ScoredExamples:
        """Queries, each with what it is to find."""
        keys = np.array(self.store(split).document_hashes)
        return ScoredExamples("query", keys, self.scored_rows(split).__getitem__)

    @cached_property
    def _shares(self) -> NDArray[np.float32]:
        """Of the training split: a look at every pair, taken once."""
        return log_shares(self.store("train"))

    @property
    def num_predicted(self) -> float:
        """Pairs of an epoch."""
        return float(self.store("train").num_pairs)

    @property
    def reads_per_label(self) -> float:
        """Tokens of both sides that are read for each pair."""
        store = self.store("train")
        return (len(store.source) + len(store.target)) / store.num_pairs


def log_shares(store: PairStore) -> NDArray[np.float32]:
    """(N,) ln of the share of a store's pairs that have the target of each."""
    bounds = zip(store.target_starts.tolist(), store.target_lengths.tolist(), strict=True)
    targets = [store.target[start : start + length].tobytes() for start, length in bounds]
    count = Counter(targets)
    counts = np.array([count[target] for target in targets], dtype=np.float64)
    return np.log(counts / len(targets)).astype(np.float32)


def collate_matches(store: PairStore, shares: NDArray[np.float32], rows: Rows) -> MatchBatch:
    """Pairs, padded on the right to the longest of each side; none give one of nothing.

    Args:
        store: of their tokens.
        shares: (N,), of all pairs of the store: MatchBatch.log_shares.
        rows: (B,) numbers of pairs.
    """
    pairs = collate_pairs(store, rows)
    own = torch.from_numpy(shares[rows]) if len(rows) else torch.zeros(1)
    return MatchBatch(pairs.source_ids, pairs.source_mask, pairs.labels, own)
