"""The data module of segments: documents → chunks → sequences of which some tokens are hidden."""

import dataclasses
from functools import partial
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor

from lmexp.batch import SegmentBatch
from lmexp.buckets import Buckets, Reads
from lmexp.collate import collate_segments
from lmexp.masking import Masking, WordEdges
from lmexp.pair_plan import Lengths, Rows
from lmexp.preparation import Cleaning, Corpus, Split
from lmexp.prepared_text import PreparedText
from lmexp.scored_examples import ScoredExamples
from lmexp.segment_plan import OF_EVALUATION, Pairs, Segments, cut
from lmexp.tokenizers import Tokenizer


@dataclasses.dataclass(frozen=True)
class EvalSegments:
    """How masked language models are evaluated.

    The same tokens are hidden in every validation of every run.

    Args:
        batch_size: sequences scored at once; changes no figure.
        sample_sequences: of the validation split, of which samples during training show what is
            put in the place of hidden tokens; 0 for none.
        pseudo_sequences: of the test split, of which every token is predicted from all others
            (Salazar et al. 2020, section 2.1): those that come first; 0 for none.
    """

    text_kind: ClassVar[str] = "segments"

    batch_size: Annotated[int, Gt(0)]
    sample_sequences: Annotated[int, Ge(0)]
    pseudo_sequences: Annotated[int, Ge(0)]


class SegmentDataModule(Buckets, PreparedText):
    """Documents for a masked language model.

    Args:
        corpus: of text.
        tokenizer: fitted by prepare on the training split.
        cleaning: applied to every split.
        max_length: tokens of a sequence, the reserved ids at its ends included; with pairs a
            segment of two tokens has to fit, so that none is left without one.
        batch_size: sequences of an optimizer step, over all micro-batches and ranks.
        batch_tokens: the same in tokens, padding included; exactly one of the two is given.
        mask_rate: see Masking.
        whole_words: see Masking.
        pairs: see Segments.
        num_workers: processes that read batches.
        root: where the corpus was looked for first.
        seed: of the order and of all draws.
        micro_batches: parts of a step.
        evaluation: of validation and test.

    Raises:
        ValueError: the text is not cut into documents.
    """

    text_kind: ClassVar[str] = "segments"

    def __init__(
        self,
        corpus: Corpus,
        tokenizer: Tokenizer,
        cleaning: Cleaning,
        *,
        max_length: Annotated[int, Gt(5)],
        batch_size: Annotated[int, Gt(0)] | None,
        batch_tokens: Annotated[int, Gt(0)] | None,
        mask_rate: Annotated[float, Gt(0), Lt(1)],
        whole_words: bool,
        pairs: Pairs | None,
        num_workers: Annotated[int, Ge(0)],
        root: str | None,
        seed: Annotated[int, Ge(0)],
        micro_batches: Annotated[int, Gt(0)],
        evaluation: EvalSegments,
    ) -> None:
        if corpus.is_stream:
            corpus.take_documents()
        super().__init__(corpus, tokenizer, cleaning, root)
        self.max_length, self.pairs = max_length, pairs
        self.batch_size, self.batch_tokens = batch_size, batch_tokens
        self.masking = Masking(mask_rate, whole_words)
        self.num_workers, self.seed, self.micro_batches = num_workers, seed, micro_batches
        self.evaluation = evaluation
        self._readers: dict[Split, Reader] = {}
        self._edges: WordEdges | None = None

    def plan_training(self) -> None:
        """Sequences of similar lengths side by side.

        Raises:
            ValueError: no document is there to take another segment from.
        """
        if self.pairs == "next_sentence" and self.store("train").num_documents < 2:
            raise ValueError(
                "data.pairs=next_sentence takes half of the second segments from another document, "
                "and the training text is one: write data.corpus.document=line or blank_line, or "
                "data.pairs=sentence_order or null"
            )
        super().plan_training()

    def reader(self, split: Split) -> "Reader":
        """The sequences of a prepared split."""
        if split not in self._readers:
            store, seed = self.store(split), self.seed if split == "train" else 0
            reserved = 2 + (self.pairs is not None)
            chunks, dropped = cut(
                store, self.max_length - reserved, has_ends=True, least=reserved - 1
            )
            if dropped:
                store.counts["dropped"]["documents of a token or none"] = dropped
            if self._edges is None:  # a look at every type of the vocabulary
                self._edges = WordEdges.of(self.tokenizer)
            segments = Segments(store, chunks, self._edges, self.pairs, seed)
            hides = partial(
                self.masking.hide, edges=self._edges, num_reserved=len(self.tokenizer.reserved)
            )
            lengths = chunks.lengths + reserved
            self._readers[split] = Reader(segments, hides, Lengths(lengths, lengths))
        return self._readers[split]

    def reads(self, split: Split) -> Reads:
        """Sequences; when they are scored, the same tokens are hidden each time."""
        reader = self.reader(split)
        return Reads(reader.lengths, reader.batch, reader.lengths, reader.scored)

    @property
    def num_predicted(self) -> float:
        """Hidden tokens of an epoch, on average."""
        return self.masking.rate * float(self.reader("train").lengths.source.sum())

    @property
    def reads_per_label(self) -> float:
        """Tokens that are read for each that is hidden, on average."""
        return 1 / self.masking.rate

    def scored_examples(self, split: Split) -> ScoredExamples:
        """Sequences. Another tokenizer cuts others, hides others' tokens, and gives other keys."""
        keys = self.reader(split).segments.keys(self.store(split), self.tokenizer.hash())
        return ScoredExamples("sequence", keys, self.scored_rows(split).__getitem__)

    def deciding(self) -> dict[str, Any]:
        """What decides figures beside text and tokenizer, by the key of the recipe."""
        return {
            "data.max_length": self.max_length,
            "data.mask_rate": self.masking.rate,
            "data.whole_words": self.masking.whole_words,
            "data.pairs": self.pairs,
            "eval.pseudo_sequences": self.evaluation.pseudo_sequences,
        }

    def facts(self) -> dict[str, Any]:
        """What was read, for the record."""
        return super().facts() | (self.padding_facts() if "train" in self._stores else {})


@dataclasses.dataclass(frozen=True)
class Reader:
    """The sequences of a split, of any epoch."""

    segments: Segments
    hides: Any  # partial of Masking.hide
    lengths: Lengths  # of the sequences, as a model reads them; both sides are one

    def batch(self, rows: Rows, epoch: int) -> SegmentBatch:
        """Some sequences as they are drawn in an epoch."""
        draws = ((row, self.segments.generator(epoch, row)) for row in rows.tolist())
        return collate_segments(
            ((self.segments.sequence(row, draw), draw) for row, draw in draws),
            lambda ids, draw: self.hides(ids, draw=draw),
        )

    def scored(self, rows: Rows) -> SegmentBatch:
        """Some sequences as they are drawn in every evaluation."""
        return self.batch(rows, OF_EVALUATION)

    def first(self, count: int) -> SegmentBatch:
        """The first sequences of the evaluation."""
        return self.scored(np.arange(min(count, self.num_sequences)))

    @property
    def num_sequences(self) -> int:
        """Of an epoch."""
        return len(self.lengths.source)

    def whole(self, row: int) -> Tensor:
        """(T,) the ordinary ids of a sequence, none of them hidden, as one segment."""
        return torch.from_numpy(self.segments.chunk(row))
