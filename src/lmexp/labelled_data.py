"""What all data modules of labelled examples have in common: corpus → stores → loaders."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar, Protocol

import lightning
import numpy as np
from numpy.typing import NDArray

from lmexp import tokenizers
from lmexp.buckets import Buckets, EveryEpoch, Reads
from lmexp.labelled_preparation import Form, LabelledPreparation
from lmexp.networks.interface import LabelVocab, Vocab
from lmexp.pair_plan import Lengths, Rows
from lmexp.preparation import Split, content_hash
from lmexp.ragged import RAGGED_FORMAT, RaggedStore
from lmexp.scored_examples import ScoredExamples
from lmexp.tokenizers import LabelledTokenizer

COUNTS = ("examples", "tokens", "dropped", "unseen")


class Reader(Protocol):
    """The examples of a split as a model reads them: each in one row, or cut into several."""

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each row, reserved ids included."""
        ...

    @property
    def num_labels(self) -> int:
        """Predicted things of all rows."""
        ...

    def rows_of(self, examples: Rows) -> Rows:
        """The rows of some examples, those of one example side by side."""
        ...

    def batch(self, rows: Rows) -> Any:
        """A typed batch of some rows; of none: one that predicts nothing."""
        ...


class LabelledDataModule(Buckets, lightning.LightningDataModule):
    """Labelled examples. A subclass says what is read of one, and how.

    Args:
        corpus: of labelled examples.
        tokenizer: fitted by prepare on the training split, or one with labels from a checkpoint.
        max_length: tokens of a row, reserved ids included.
        batch_size: rows of an optimizer step, over all micro-batches and ranks.
        batch_tokens: the same in tokens, padding included; exactly one of the two is given.
        num_workers: processes that read batches.
        root: where the corpus was looked for first.
        seed: of the order.
        micro_batches: parts of a step.
        evaluation: of validation and test.
    """

    counted: ClassVar[str] = "texts"  # what is predicted
    unit: ClassVar[str] = "text"  # what an example is
    tokens: ClassVar[str] = "ids"  # the column of a store whose numbers are tokens

    def __init__(
        self,
        corpus: Any,
        tokenizer: Any,
        *,
        max_length: int,
        batch_size: int | None,
        batch_tokens: int | None,
        num_workers: int,
        root: str | None,
        seed: int,
        micro_batches: int,
        evaluation: Any,
    ) -> None:
        super().__init__()
        self.corpus, self.root = corpus, root
        self.tokenizer: Any = tokenizer
        self.max_length, self.batch_size, self.batch_tokens = max_length, batch_size, batch_tokens
        self.num_workers, self.seed, self.micro_batches = num_workers, seed, micro_batches
        self.evaluation = evaluation
        self.data_hash = ""  # of the examples; known after prepare
        self._stores: dict[Split, RaggedStore] = {}
        self._readers: dict[Split, Reader] = {}

    @property
    @abstractmethod
    def form(self) -> Form:
        """How an example becomes numbers."""

    @abstractmethod
    def make_reader(self, store: RaggedStore) -> Reader:
        """The rows of a store."""

    def prepare(
        self,
        *,
        fit: bool = True,
        splits: Sequence[Split] = ("train", "val", "test"),
        data_hash: str | None = None,
        announce: Callable[[str], None] | None = None,
    ) -> None:
        """Fit the tokenizer, number the labels and tokenise, or find all that in the cache.

        Args:
            fit: False keeps the tokenizer that was given (a checkpoint's); labels are numbered
                anew where it has none.
            splits: those that will be read; of none, data_hash alone is asked for.
            data_hash: of the examples that a run began with; None for a new run.
            announce: told what takes long, every ten seconds.

        Raises:
            ValueError: a split has no example, or another data_hash.
        """
        self.data_hash = content_hash(RAGGED_FORMAT, self.corpus.fingerprint())
        if data_hash not in (None, self.data_hash):
            raise ValueError(
                f"the examples of {self.corpus.source} have changed since the run began: their "
                f"hash is {self.data_hash[:12]}…, and was {str(data_hash)[:12]}…; bring the old "
                "ones back, or begin a new run without resume="
            )
        preparation = LabelledPreparation(self.corpus, self.form, self.data_hash, announce)
        if fit or (splits and not isinstance(self.tokenizer, LabelledTokenizer)):
            self.tokenizer = preparation.tokenizer(self.tokenizer, fit=fit)
        for split in splits:
            self._stores[split] = preparation.store(split, self.tokenizer)
            if (unseen := self._stores[split].counts["unseen"]) and announce is not None:
                names = ", ".join(f"{name} ({count:,})" for name, count in unseen.items())
                announce(
                    f"labels of the {split} split that the training split lacks: {names}: none of "
                    "them will ever be predicted, and each counts as an error"
                )
        if "train" in splits:
            self.plan_training()

    @property
    def vocab(self) -> LabelVocab:
        """What networks have to know of the tokenizer, and the labels that there are."""
        text = getattr(self.tokenizer, "text", self.tokenizer)
        ids = tokenizers.PAD_ID, tokenizers.BOS_ID, tokenizers.EOS_ID, tokenizers.MASK_ID
        return LabelVocab(Vocab(text.vocab_size, *ids), getattr(self.tokenizer, "labels", ()))

    def store(self, split: Split) -> RaggedStore:
        """The examples of a prepared split."""
        return self._stores[split]

    def reader(self, split: Split) -> Reader:
        """The rows of a prepared split."""
        if split not in self._readers:
            store = self.store(split)
            self._readers[split] = self.make_reader(store)
        return self._readers[split]

    def reads(self, split: Split) -> Reads:
        """Rows; examples are scored, with all their rows."""
        reader, whole = self.reader(split), self.store(split).columns[self.tokens].lengths
        return Reads(
            Lengths(reader.lengths, reader.lengths),
            EveryEpoch(reader.batch),
            Lengths(whole, whole),
            partial(_whole, reader),
        )

    @property
    def num_predicted(self) -> float:
        """Labels of an epoch."""
        return float(self.reader("train").num_labels)

    @property
    def reads_per_label(self) -> float:
        """Tokens that are read for each thing that is predicted."""
        reader = self.reader("train")
        return float(reader.lengths.sum()) / reader.num_labels

    def scored_examples(self, split: Split) -> ScoredExamples:
        """Examples: each is scored in one batch, however many rows it has."""
        rows = self.scored_rows(split)
        return ScoredExamples(self.unit, np.array(self.store(split).hashes), rows.__getitem__)

    def deciding(self) -> dict[str, Any]:
        """What decides figures beside examples and tokenizer, by the key of the recipe."""
        return {"data.max_length": self.max_length}  # what is longer is cut

    def facts(self) -> dict[str, Any]:
        """What was read, for the record."""
        facts: dict[str, Any] = {
            "source": self.corpus.source,
            "data_hash": self.data_hash,
            "tokenizer_hash": self.tokenizer.hash(),
            "vocab_size": self.tokenizer.vocab_size,
            "labels": list(self.tokenizer.labels),
        }
        for split, store in self._stores.items():
            tokens = {"tokens": len(store.columns[self.tokens].values)}
            counts = store.counts | tokens
            facts[split] = {key: counts[key] for key in COUNTS}
            if split != "train" and "train" in self._stores:
                shared = int(np.isin(store.hashes, self._stores["train"].hashes).sum())
                facts[split]["lines_in_train"] = shared  # examples
        if "train" in self._stores:
            facts |= self.padding_facts()
        return facts


def _whole(reader: Reader, examples: Rows) -> Any:
    """A batch of all rows of some examples."""
    return reader.batch(reader.rows_of(examples))
