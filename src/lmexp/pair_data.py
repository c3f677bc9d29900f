"""The data module of pairs: corpus + cleaning + tokenizers → token stores → buckets → loaders."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar, Protocol

import lightning
import numpy as np
from annotated_types import Ge, Gt

from lmexp import tokenizers
from lmexp.buckets import Buckets, EveryEpoch, Reads
from lmexp.collate import collate_pairs
from lmexp.execution import check_execution
from lmexp.networks.interface import PairVocab, Vocab
from lmexp.overlap import cached_overlap
from lmexp.pair_plan import Lengths
from lmexp.pair_preparation import PairCleaning, PairCorpus, PairPreparation, check_tags
from lmexp.pair_store import PairStore, target_bytes
from lmexp.preparation import Split
from lmexp.scored_examples import ScoredExamples
from lmexp.text_scores import Metric, check_metrics
from lmexp.tokenizers import PairTokenizer, Tokenizer

COUNTS = ("pairs", "source_tokens", "target_tokens", "bytes", "chars", "unk", "dropped")


class Evaluation(Protocol):
    """What pairs are evaluated with: pair_evaluation.EvalPairs, or match_data.EvalMatches."""

    @property
    def batch_size(self) -> int: ...
    @property
    def metrics(self) -> Sequence[Metric]: ...
    @property
    def execute(self) -> bool: ...
    def deciding(self) -> dict[str, Any]: ...


class PairDataModule(Buckets, lightning.LightningDataModule):
    """Pairs of texts.

    Args:
        corpus: of pairs.
        tokenizer: fitted by prepare on the training split, or a fitted PairTokenizer.
        cleaning: of the training split.
        joint: one tokenizer for both sides; else two of the same kind.
        language_tags: codes of languages that get a tag (tokenizers.pairs). That of the targets'
            language begins every source; others are there for `translate --to` and later training.
        max_length: tokens of a side, its tag and end included; longer pairs are dropped in
            training, and cut in validation and test; both are counted.
        batch_size: pairs of an optimizer step, over all micro-batches and ranks.
        batch_tokens: or tokens of either side, padding included; exactly one of them is given.
        num_workers: processes that read batches.
        root: where the corpus was looked for first.
        seed: of the order.
        micro_batches: parts of a step.
        evaluation: of validation and test.

    Raises:
        ValueError: the targets' language is not known, or not among language_tags.
    """

    text_kind: ClassVar[str] = "pairs"

    def __init__(
        self,
        corpus: PairCorpus,
        tokenizer: Tokenizer | PairTokenizer,
        cleaning: PairCleaning,
        *,
        joint: bool,
        language_tags: Sequence[str],
        max_length: Annotated[int, Gt(1)],
        batch_size: Annotated[int, Gt(0)] | None,
        batch_tokens: Annotated[int, Gt(0)] | None,
        num_workers: Annotated[int, Ge(0)],
        root: str | None,
        seed: Annotated[int, Ge(0)],
        micro_batches: Annotated[int, Gt(0)],
        evaluation: Evaluation,
    ) -> None:
        super().__init__()
        self.corpus, self.cleaning, self.root = corpus, cleaning, root
        self.tokenizer: Any = tokenizer
        self.joint, self.language_tags, self.max_length = joint, list(language_tags), max_length
        check_tags(self.language_tags, corpus.languages[1])
        check_metrics(evaluation.metrics, corpus.languages[1])
        self.batch_size, self.batch_tokens = batch_size, batch_tokens
        self.num_workers, self.seed, self.micro_batches = num_workers, seed, micro_batches
        self.evaluation = evaluation
        self.data_hash = ""  # of the pairs as they are cleaned; known after prepare
        self._stores: dict[Split, PairStore] = {}

    def prepare(
        self,
        *,
        fit: bool = True,
        splits: Sequence[Split] = ("train", "val", "test"),
        data_hash: str | None = None,
        announce: Callable[[str], None] | None = None,
    ) -> None:
        """Fit the tokenizers and tokenise the splits, or find both in the cache.

        Args:
            fit: False keeps the tokenizer that was given (a checkpoint's).
            splits: those that will be read.
            data_hash: of the pairs that a run began with; None for a new run.
            announce: told what takes long, every ten seconds.

        Raises:
            ValueError: a split has no pair or none of the tests to execute, or another data_hash.
        """
        preparation = PairPreparation(self.corpus, self.cleaning, self.max_length, announce)
        self.data_hash = preparation.data_hash
        if data_hash not in (None, self.data_hash):
            raise ValueError(
                f"the pairs of {self.corpus.source} have changed since the run began: their hash "
                f"is {self.data_hash[:12]}…, and was {str(data_hash)[:12]}…; bring the old ones "
                "back, or begin a new run without resume="
            )
        if fit:
            self.tokenizer = preparation.tokenizer(
                self.tokenizer, is_joint=self.joint, language_tags=self.language_tags
            )
        for split in splits:
            self._stores[split] = preparation.store(split, self.tokenizer)
        if self.evaluation.execute:
            scored = [split for split in splits if split != "train"]
            check_execution({split: self.store(split).tests() for split in scored})
        if "train" in splits:
            self.plan_training()

    @property
    def vocab(self) -> PairVocab:
        """What networks have to know of the tokenizers; of unfitted ones what was asked for."""
        if isinstance(self.tokenizer, PairTokenizer):
            return pair_vocab(self.tokenizer)
        vocab = pair_vocab(PairTokenizer(self.tokenizer, self.tokenizer))
        return vocab if self.joint else PairVocab(vocab.source, Vocab(*vocab.target))

    def reads(self, split: Split) -> Reads:
        """Pairs."""
        store = self.store(split)
        lengths = Lengths(store.source_lengths, store.target_lengths)
        batch = partial(collate_pairs, store)
        return Reads(lengths, EveryEpoch(batch), lengths, batch)

    @property
    def num_predicted(self) -> float:
        """Tokens of an epoch's targets."""
        return float(len(self.store("train").target))

    def store(self, split: Split) -> PairStore:
        """The tokens of a prepared split."""
        return self._stores[split]

    def scored_examples(self, split: Split) -> ScoredExamples:
        """Pairs."""
        store = self.store(split)
        known = {}
        if not store.num_unk and store.num_bytes:
            sizes = target_bytes(store, self.tokenizer.target, self.max_length)
            known["bytes"] = sizes.astype(np.float64)
        keys = np.array(store.document_hashes)
        return ScoredExamples("pair", keys, self.scored_rows(split).__getitem__, known)

    def deciding(self) -> dict[str, Any]:
        """What decides figures beside the pairs and the tokenizers, by the key of the recipe."""
        return {"data.max_length": self.max_length, **self.evaluation.deciding()}

    def facts(self) -> dict[str, Any]:
        """What was read, for the record."""
        facts: dict[str, Any] = {
            "source": self.corpus.source,
            "data_hash": self.data_hash,
            "tokenizer_hash": self.tokenizer.hash(),
            "vocab_size": self.tokenizer.vocab_size,
        }
        for split, store in self._stores.items():
            facts[split] = {key: store.counts[key] for key in COUNTS}
            facts[split]["tokens"] = store.counts["target_tokens"]
            if split != "train" and "train" in self._stores:
                overlap = cached_overlap(store, self._stores["train"])
                facts[split]["lines_in_train"] = overlap.lines  # sources
                facts[split]["documents_in_train"] = overlap.documents  # pairs
        if "train" in self._stores:
            facts |= self.padding_facts()
        return facts


def pair_vocab(tokenizer: PairTokenizer) -> PairVocab:
    """What networks have to know of both tokenizers."""
    ids = tokenizers.PAD_ID, tokenizers.BOS_ID, tokenizers.EOS_ID, tokenizers.MASK_ID
    source = Vocab(tokenizer.source.vocab_size, *ids)
    if tokenizer.is_joint:
        return PairVocab(source, source)
    return PairVocab(source, Vocab(tokenizer.target.vocab_size, *ids))
