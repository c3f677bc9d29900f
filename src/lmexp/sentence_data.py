"""The data module of sentences: documents, each of which is one sequence."""

import dataclasses
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Gt, Lt
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from lmexp.batch import SentenceBatch, TrainStep
from lmexp.batch_plan import deal
from lmexp.collate import collate_sentences
from lmexp.loaders import Positions, Rank, current_rank, eval_loader, train_loader
from lmexp.packing import TokenStore
from lmexp.pair_plan import BucketPlan, Lengths, PairScoringPlan, Rows
from lmexp.preparation import Cleaning, Corpus, Split
from lmexp.prepared_text import PreparedText
from lmexp.segment_plan import Chunks, cut_extents, extents
from lmexp.tokenizers import Tokenizer

ENDS = 1  # reserved ids that a side of the model reads beside a sentence's own


@dataclasses.dataclass(frozen=True)
class EvalSentences:
    """How models of a latent space are evaluated.

    The same points are drawn for a sentence in every evaluation of every run.

    Args:
        batch_size: sentences scored at once; changes no figure.
        importance_samples: points drawn for each sentence of the test split, for the
            importance-weighted bound (Burda et al. 2016, section 3); 0: there is none.
        information_sentences: of the test split, those that come first, between which mutual
            information is estimated (Hoffman & Johnson 2016); 0: it is not.
        sample_sentences: shown during training: so many from the prior, and so many of the
            validation split beside what comes back of them; 0 for none.
    """

    text_kind: ClassVar[str] = "sentences"

    batch_size: Annotated[int, Gt(0)]
    importance_samples: Annotated[int, Ge(0)]
    information_sentences: Annotated[int, Ge(0)]
    sample_sentences: Annotated[int, Ge(0)]


class SentenceDataModule(PreparedText):
    """Documents as sentences; a line break at the end of one is left out, as its end says so.

    Args:
        corpus: of text.
        tokenizer: fitted by prepare on the training split.
        cleaning: applied to every split.
        max_length: tokens of a sequence, the reserved id at its end included; a longer document is
            cut into as few sequences as fit, as even as possible, and counted.
        batch_size: sentences of an optimizer step, over all micro-batches and ranks.
        batch_tokens: the same in tokens, padding included; exactly one of the two is given.
        word_dropout: of the words that the decoder reads in training, those that it does not get to
            see (Bowman et al. 2016, section 3.2), drawn anew each epoch.
        num_workers: processes that read batches.
        root: where the corpus was looked for first.
        seed: of the order and of all draws.
        micro_batches: parts of a step.
        evaluation: of validation and test.

    Raises:
        ValueError: the text is not cut into documents.
    """

    text_kind: ClassVar[str] = "sentences"

    plan: BucketPlan  # of the training split, once it is prepared

    def __init__(
        self,
        corpus: Corpus,
        tokenizer: Tokenizer,
        cleaning: Cleaning,
        *,
        max_length: Annotated[int, Gt(1)],
        batch_size: Annotated[int, Gt(0)] | None,
        batch_tokens: Annotated[int, Gt(0)] | None,
        word_dropout: Annotated[float, Ge(0), Lt(1)],
        num_workers: Annotated[int, Ge(0)],
        root: str | None,
        seed: Annotated[int, Ge(0)],
        micro_batches: Annotated[int, Gt(0)],
        evaluation: EvalSentences,
    ) -> None:
        if corpus.is_stream:
            corpus.take_documents()
        super().__init__(corpus, tokenizer, cleaning, root)
        self.max_length, self.word_dropout = max_length, word_dropout
        self.batch_size, self.batch_tokens = batch_size, batch_tokens
        self.num_workers, self.seed, self.micro_batches = num_workers, seed, micro_batches
        self.evaluation = evaluation
        self._readers: dict[Split, Reader] = {}

    def plan_training(self) -> None:
        """Sentences of similar lengths side by side."""
        self.plan = BucketPlan(
            self.reader("train").lengths,
            batch_size=self.batch_size,
            batch_tokens=self.batch_tokens,
            micro_batches=self.micro_batches,
            seed=self.seed,
        )

    def reader(self, split: Split) -> "Reader":
        """The sentences of a prepared split.

        Raises:
            ValueError: no document has a token.
        """
        if split not in self._readers:
            store = self.store(split)
            begins, ends = self._extents(store)
            chunks, empty = cut_extents(begins, ends, self.max_length - ENDS, least=1)
            if not len(chunks.lengths):
                raise ValueError(f"the {split} split has no sentence: all its documents are empty")
            counts = {
                "documents without a token": empty,
                "documents longer than data.max_length, cut": int(
                    (np.unique(chunks.documents, return_counts=True)[1] > 1).sum()
                ),
            }
            store.counts["dropped"] |= {why: count for why, count in counts.items() if count}
            rate = self.word_dropout if split == "train" else 0.0
            self._readers[split] = Reader(store, chunks, rate, self.seed)
        return self._readers[split]

    def _extents(self, store: TokenStore) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where documents begin and end, without a line break as their last token."""
        begins, ends = extents(store, has_ends=True)
        last = np.asarray(store.tokens[np.maximum(ends - 1, 0)])
        breaks = [
            number for number in np.unique(last).tolist() if self.tokenizer.decode([number]) == "\n"
        ]
        return begins, ends - ((ends > begins) & np.isin(last, breaks))

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of an epoch; the same in every one."""
        return self.plan.steps_per_epoch

    @property
    def tokens_per_step(self) -> int:
        """Predicted tokens of a step, on average over an epoch."""
        return max(
            1, round(float(self.reader("train").lengths.source.sum()) / self.steps_per_epoch)
        )

    @property
    def row_length(self) -> int:
        """Tokens of a sequence, on average."""
        return max(1, round(float(self.reader("train").lengths.source.mean())))

    def train_dataloader(self) -> DataLoader[TrainStep]:
        """The steps of this rank from start_at on, epoch after epoch, without end."""
        steps = SentenceSteps(self.reader("train"), self.plan, current_rank())
        positions = Positions(self.steps_per_epoch, self.position)
        return train_loader(
            steps, positions, num_workers=self.num_workers, pin_memory=self.pin_memory
        )

    def eval_dataloader(self, split: Split) -> DataLoader[SentenceBatch]:
        """Every sentence of a prepared split once, no word dropped."""
        reader = self.reader(split)
        batches = PairScoringPlan(reader.lengths, self.evaluation.batch_size).batches()
        return eval_loader(
            SentenceBatches(reader, deal(batches, *current_rank())), pin_memory=self.pin_memory
        )

    def facts(self) -> dict[str, Any]:
        """What was read, for the record."""
        facts = super().facts()
        if "train" in self._stores:
            facts["padding"] = round(self.plan.padding(), 4)
            facts["padding_of_random_batches"] = round(self.plan.random_padding(), 4)
        return facts


class Reader:
    """The sentences of a split, of any epoch.

    Args:
        store: of their tokens.
        chunks: where each stands.
        word_dropout: see SentenceDataModule.
        seed: of the draws.
    """

    def __init__(self, store: TokenStore, chunks: Chunks, word_dropout: float, seed: int) -> None:
        self._tokens, self._chunks = store.tokens, chunks
        self._word_dropout, self._seed = word_dropout, seed
        lengths = chunks.lengths + ENDS
        self.lengths = Lengths(lengths, lengths)

    def batch(self, rows: Rows, epoch: int) -> SentenceBatch:
        """Some sentences, with the words that the decoder misses in an epoch."""
        sentences = []
        for row in rows.tolist():
            start, length = self._chunks.starts[row], self._chunks.lengths[row]
            sentences.append(self._tokens[start : start + length].astype(np.int64))
        drops = [
            np.random.default_rng([self._seed, epoch, row]).random(len(own)) < self._word_dropout
            for row, own in zip(rows.tolist(), sentences, strict=True)
        ]
        return collate_sentences(sentences, drops, np.array(rows, dtype=np.int64))

    def first(self, count: int) -> SentenceBatch:
        """The sentences that come first in the text."""
        return self.batch(np.arange(min(count, self.num_sequences)), 0)

    @property
    def num_sequences(self) -> int:
        """Of an epoch."""
        return len(self.lengths.source)


class SentenceSteps(Dataset[TrainStep]):
    """The step at a position of the plan, as one rank reads it."""

    def __init__(self, reader: Reader, plan: BucketPlan, rank: Rank) -> None:
        self._reader, self._plan, self._rank = reader, plan, rank

    def __getitem__(self, position: tuple[int, int]) -> TrainStep:
        epoch, step = position
        parts = deal(self._plan.step(epoch, step), *self._rank)
        batches = [self._reader.batch(rows, epoch) for rows in parts]
        return TrainStep(batches, epoch, step, carries=False)


class SentenceBatches(Dataset[SentenceBatch]):
    """Batches of an evaluation."""

    def __init__(self, reader: Reader, batches: list[Rows]) -> None:
        self._reader, self._batches = reader, batches

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> SentenceBatch:
        return self._reader.batch(self._batches[index], 0)
