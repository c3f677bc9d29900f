"""Data modules: corpus + cleaning + tokenizer → token stores → plans of batches → loaders."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt
from torch.utils.data import DataLoader

from lmexp.batch import EvalBatch, TrainStep
from lmexp.batch_plan import LanePlan, Plan, ScoringPlan, WindowPlan
from lmexp.loaders import (
    EvalBatches,
    Positions,
    TrainSteps,
    current_rank,
    eval_loader,
    train_loader,
)
from lmexp.packing import Piece, TokenStore, write_store
from lmexp.preparation import Cleaning, Corpus, Split, document_frame
from lmexp.prepared_text import PreparedText
from lmexp.scored_examples import ScoredExamples
from lmexp.text_examples import text_examples
from lmexp.tokenizers import Tokenizer


@dataclasses.dataclass(frozen=True)
class EvalWindows:
    """How a language model is evaluated; part of the signature of every figure.

    Args:
        context: tokens a window reads; None for data.max_length.
        stride: tokens from one window to the next; None for context.
        carry: recurrent state goes on from window to window of a document, one row a batch.
        batch_size: windows scored at once; changes no figure.
    """

    context: Annotated[int, Gt(0)] | None
    stride: Annotated[int, Gt(0)] | None
    carry: bool
    batch_size: Annotated[int, Gt(0)]

    def resolve(self, max_length: int) -> tuple[int, int]:
        """Context and stride, in tokens.

        Raises:
            ValueError: they would leave tokens out, or carry state over tokens read twice.
        """
        context = self.context or max_length
        stride = self.stride or context
        if stride > context:
            raise ValueError(
                f"eval.stride={stride} is more than eval.context={context}, so tokens between "
                f"windows would not be scored: write eval.stride={context}"
            )
        if self.carry and stride != context:
            raise ValueError(
                f"eval.carry=true reads every token once, but eval.stride={stride} is less than "
                f"eval.context={context}: write eval.stride={context} or eval.carry=false"
            )
        return context, stride

    def deciding(self, max_length: int) -> dict[str, Any]:
        """What decides figures, by the key of the recipe."""
        context, stride = self.resolve(max_length)
        return {"eval.context": context, "eval.stride": stride, "eval.carry": self.carry}


class TextDataModule(PreparedText):
    """Text for a language model.

    Args:
        corpus: of text.
        tokenizer: fitted by prepare on the training split.
        cleaning: applied to every split.
        max_length: tokens a row reads.
        batch_size: rows of an optimizer step, over all micro-batches and ranks.
        batch_tokens: the same in tokens; exactly one of the two is given.
        lanes: read that many contiguous lanes, so that recurrent state can be carried; None reads
            shuffled windows. "auto" is resolved when the recipe is frozen.
        document_mask: a position sees its own document only.
        num_workers: processes that read batches. 0: reading is one gather from a memory map, and
            processes cost more than they save.
        root: where the corpus was looked for first.
        seed: of the order.
        micro_batches: parts of a step.
        evaluation: windows of validation and test.

    Raises:
        ValueError: sizes that do not go together.
    """

    plan: Plan  # of the training split, once it is prepared

    def __init__(
        self,
        corpus: Corpus,
        tokenizer: Tokenizer,
        cleaning: Cleaning,
        *,
        max_length: Annotated[int, Gt(0)],
        batch_size: Annotated[int, Gt(0)] | None,
        batch_tokens: Annotated[int, Gt(0)] | None,
        lanes: Annotated[int, Gt(0)] | Literal["auto"] | None,
        document_mask: bool,
        num_workers: Annotated[int, Ge(0)],
        root: str | None,
        seed: Annotated[int, Ge(0)],
        micro_batches: Annotated[int, Gt(0)],
        evaluation: EvalWindows,
    ) -> None:
        super().__init__(corpus, tokenizer, cleaning, root)
        self.lanes, self.document_mask = lanes, document_mask
        self.max_length = self.row_length = max_length
        self.rows = _rows_of_a_step(max_length, batch_size, batch_tokens, lanes, micro_batches)
        self.num_workers, self.seed, self.micro_batches = num_workers, seed, micro_batches
        self.evaluation = evaluation
        evaluation.resolve(max_length)  # refuses what does not go together

    def plan_training(self) -> None:
        """Shuffled windows, or lanes."""
        num_tokens = self.store("train").num_tokens
        cut = self.max_length, self.rows, self.micro_batches, self.seed
        self.plan = (LanePlan if self.lanes else WindowPlan)(num_tokens, *cut)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of an epoch; the same in every one."""
        return self.plan.steps_per_epoch

    @property
    def tokens_per_step(self) -> int:
        """Predicted tokens of a full step without document boundaries."""
        return self.rows * self.max_length

    def train_dataloader(self) -> DataLoader[TrainStep]:
        """The steps of this rank from start_at on, epoch after epoch, without end."""
        steps = TrainSteps(
            self.store("train"), self.plan, current_rank(), document_mask=self.document_mask
        )
        positions = Positions(self.steps_per_epoch, self.position)
        return train_loader(
            steps, positions, num_workers=self.num_workers, pin_memory=self.pin_memory
        )

    def eval_dataloader(self, split: Split) -> DataLoader[EvalBatch]:
        """Every token of a prepared split, scored once."""
        return scoring_loader(
            self.store(split), self.evaluation, self.max_length, pin_memory=self.pin_memory
        )

    def deciding(self) -> dict[str, Any]:
        """See EvalWindows."""
        return self.evaluation.deciding(self.max_length)

    def scored_examples(self, split: Split) -> ScoredExamples:
        """Documents of a split, or its lines where it has few documents; see text_examples."""
        store = self.store(split)
        plan = scoring_plan(store, self.evaluation, self.max_length)
        return text_examples(store, plan, current_rank())


def scoring_loader(
    store: TokenStore, windows: EvalWindows, max_length: int, *, pin_memory: bool = False
) -> DataLoader[EvalBatch]:
    """Every token of a store, scored once, in windows of max_length unless they say otherwise."""
    plan = scoring_plan(store, windows, max_length)
    return eval_loader(EvalBatches(store, plan, current_rank()), pin_memory=pin_memory)


def scoring_plan(store: TokenStore, windows: EvalWindows, max_length: int) -> ScoringPlan:
    """How every token of a store is scored once."""
    return ScoringPlan(
        store.document_starts,
        store.num_tokens,
        *windows.resolve(max_length),
        batch_size=windows.batch_size,
        carry=windows.carry,
    )


def text_loader(
    pieces: Iterable[Piece],
    *,
    tokenizer: Tokenizer,
    windows: EvalWindows,
    max_length: int,
    folder: Path,
    is_stream: bool = False,
) -> tuple[DataLoader[EvalBatch], TokenStore]:
    """Score text of no corpus: every token of it once.

    Args:
        pieces: cleaned text.
        tokenizer: fitted.
        windows: as in TextDataModule's evaluation.
        max_length: their context where they give none.
        folder: not there yet; gets the tokens, and must stay while the loader is used.
        is_stream: one continuous text, without ends of documents.

    Returns:
        The loader, and the store with the text's totals.

    Raises:
        EmptyTextError: there is no text.
    """
    store = write_store(folder, lambda _: pieces, tokenizer, document_frame(is_stream))
    return scoring_loader(store, windows, max_length), store


def _rows_of_a_step(
    max_length: int,
    batch_size: int | None,
    batch_tokens: int | None,
    lanes: int | Literal["auto"] | None,
    micro_batches: int,
) -> int:
    if (batch_size is None) == (batch_tokens is None):
        raise ValueError(
            f"data.batch_size={batch_size} and data.batch_tokens={batch_tokens}: "
            "give exactly one of them, the other is null"
        )
    rows = batch_size if batch_size is not None else (batch_tokens or 0) // max_length
    if not rows:
        raise ValueError(
            f"data.batch_tokens={batch_tokens} is less than one row of "
            f"data.max_length={max_length}: write data.batch_tokens={max_length} or more"
        )
    if micro_batches > rows:
        raise ValueError(
            f"trainer.micro_batches={micro_batches} cannot share out the {rows} rows of a step: "
            f"write trainer.micro_batches={rows} or less, or data.batch_size={micro_batches}"
        )
    if lanes is not None and lanes != rows:
        raise ValueError(
            f"data.lanes={lanes}, but a step has {rows} rows, one a lane: "
            f"write data.lanes={rows}, or data.lanes=null for shuffled windows"
        )
    return rows
