"""The data module of questions about contexts: windows → batches, with an answer or without."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
from annotated_types import Ge, Gt

from lmexp.batch import QuestionBatch
from lmexp.collate_labels import collate_questions
from lmexp.corpora.piece import Question
from lmexp.labelled_data import LabelledDataModule
from lmexp.preparation import Split
from lmexp.question_form import ENDS, QuestionForm, QuestionReader, question_row
from lmexp.ragged import RaggedStore
from lmexp.tag_form import windows


@dataclasses.dataclass(frozen=True)
class EvalQuestions:
    """How models that answer are evaluated.

    Args:
        batch_size: questions answered at once; changes no figure.
        sample_questions: of the validation split, whose answers samples show; 0 for none.
    """

    text_kind: ClassVar[str] = "questions"

    batch_size: Annotated[int, Gt(0)]
    sample_questions: Annotated[int, Ge(0)]


class Asked(NamedTuple):
    """A question about a context."""

    batches: list[QuestionBatch]  # of the windows of the context, in order
    begins: list[int]  # characters before each word of the context
    ends: list[int]  # and after its last one
    changed: dict[str, int]  # what is cut, by reason


class QuestionDataModule(LabelledDataModule):
    """Questions, each with the context that answers it or does not.

    Args:
        max_question: see QuestionForm.
        Others: those of LabelledDataModule.

    Raises:
        ValueError: question and reserved ids leave no room for a context.
    """

    text_kind: ClassVar[str] = "questions"
    counted: ClassVar[str] = "windows"
    unit: ClassVar[str] = "question"

    def __init__(
        self,
        corpus: Any,
        tokenizer: Any,
        *,
        max_length: Annotated[int, Gt(4)],
        batch_size: Annotated[int, Gt(0)] | None,
        batch_tokens: Annotated[int, Gt(0)] | None,
        max_question: Annotated[int, Gt(0)],
        num_workers: Annotated[int, Ge(0)],
        root: str | None,
        seed: Annotated[int, Ge(0)],
        micro_batches: Annotated[int, Gt(0)],
        evaluation: EvalQuestions,
    ) -> None:
        if max_question > (max_length - ENDS) // 2:
            raise ValueError(
                f"data.max_question={max_question} of data.max_length={max_length} tokens: a "
                "question may take half of what is left beside three reserved ids, at most "
                f"{(max_length - ENDS) // 2}"
            )
        super().__init__(
            corpus,
            tokenizer,
            max_length=max_length,
            batch_size=batch_size,
            batch_tokens=batch_tokens,
            num_workers=num_workers,
            root=root,
            seed=seed,
            micro_batches=micro_batches,
            evaluation=evaluation,
        )
        self.max_question = max_question

    @property
    def form(self) -> QuestionForm:
        """See QuestionForm."""
        return QuestionForm(self.max_length, self.max_question)

    def prepare(
        self,
        *,
        fit: bool = True,
        splits: Sequence[Split] = ("train", "val", "test"),
        data_hash: str | None = None,
        announce: Callable[[str], None] | None = None,
    ) -> None:
        """See LabelledDataModule.

        Raises:
            ValueError: no question of the training split has an answer, besides.
        """
        super().prepare(fit=fit, splits=splits, data_hash=data_hash, announce=announce)
        if "train" in splits and not len(self.store("train").columns["answer"].values):
            raise ValueError(
                f"none of the {self.store('train').num_examples:,} questions of the training split "
                f"of {self.corpus.source} has an answer, and there is nothing to learn: give it "
                "questions that their context answers"
            )
        if "train" in splits and announce is not None:
            lengths = self.store("train").columns["answer"].lengths
            if without := int((lengths == 0).sum()):
                announce(
                    f"{without:,} of the {len(lengths):,} training questions have no answer: with "
                    "task.no_answer_margin=0.0 the model gives none where that is likelier, with "
                    "null it answers every question"
                )

    def make_reader(self, store: RaggedStore) -> QuestionReader:
        """Windows of at most max_length tokens."""
        return QuestionReader(store, self.max_length)

    def first(self, split: Split, count: int) -> QuestionBatch:
        """A batch of the first questions of a split."""
        reader = self.reader(split)
        own = np.arange(min(count, self.store(split).num_examples))
        return reader.batch(reader.rows_of(own))  # type: ignore[no-any-return]

    def asked(self, context: str, question: str) -> Asked:
        """A question as a model reads it, in batches of evaluation.batch_size windows.

        Raises:
            ValueError: the context has no word.
        """
        changed = Counter[str]()
        example = Question("", question, context, ())
        row = self.form.encoded(example, self.tokenizer.text, lambda _: 0, changed)
        if row is None:
            raise ValueError("the context has no word: give it some text")
        columns = {name: np.asarray(column) for name, column in row.columns.items()}
        room = self.max_length - ENDS - len(columns["question"])
        cut = windows(columns["word_lengths"].tolist(), room)
        rows = [question_row(0, columns, *span[:2]) for span in cut]
        size = self.evaluation.batch_size
        parts = [rows[first : first + size] for first in range(0, len(rows), size)]
        return Asked(
            [collate_questions(part) for part in parts],
            columns["begins"].tolist(),
            columns["ends"].tolist(),
            {reason: count for reason, count in changed.items() if count},
        )
