"""The data module of sentences: documents, each of which is one sequence."""

import dataclasses
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Gt, Lt
from numpy.typing import NDArray

from lmexp.batch import SentenceBatch
from lmexp.buckets import Buckets, Reads
from lmexp.collate import collate_sentences
from lmexp.packing import TokenStore
from lmexp.pair_plan import Lengths, Rows
from lmexp.preparation import Cleaning, Corpus, Split
from lmexp.prepared_text import PreparedText
from lmexp.scored_examples import ScoredExamples
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


class SentenceDataModule(Buckets, PreparedText):
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

    def reads(self, split: Split) -> Reads:
        """Sentences; when they are scored, no word is dropped."""
        reader = self.reader(split)
        return Reads(reader.lengths, reader.batch, reader.lengths, reader.scored)

    @property
    def num_predicted(self) -> float:
        """Tokens of an epoch."""
        return float(self.reader("train").lengths.source.sum())

    def scored_examples(self, split: Split) -> ScoredExamples:
        """Documents: a long one is several sentences, which a tokenizer decides."""
        documents, rows = self.reader(split).documents, self.scored_rows(split)
        keys = np.array(self.store(split).document_hashes)
        return ScoredExamples("document", keys, lambda batch: documents[rows[batch]])

    def deciding(self) -> dict[str, Any]:
        """What decides figures beside text and tokenizer, by the key of the recipe."""
        return {
            "data.max_length": self.max_length,
            "eval.importance_samples": self.evaluation.importance_samples,
            "eval.information_sentences": self.evaluation.information_sentences,
        }

    def facts(self) -> dict[str, Any]:
        """What was read, for the record."""
        return super().facts() | (self.padding_facts() if "train" in self._stores else {})


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
        self.documents = chunks.documents  # that each sentence is of
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

    def scored(self, rows: Rows) -> SentenceBatch:
        """Some sentences; a split that is scored drops no word in any epoch."""
        return self.batch(rows, 0)

    def first(self, count: int) -> SentenceBatch:
        """The sentences that come first in the text."""
        return self.scored(np.arange(min(count, self.num_sequences)))

    @property
    def num_sequences(self) -> int:
        """Of an epoch."""
        return len(self.lengths.source)
