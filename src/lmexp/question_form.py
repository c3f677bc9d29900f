"""Questions about contexts as numbers, and the windows that a model reads of a context.

A context is cut into words, each Han character and each mark being one, and an answer is the words
from one to another. What is said of a word is said at its first token, so that it does not matter
how a tokenizer cuts. A context of more tokens than a model reads is cut into windows that overlap
by a quarter: an answer of no more tokens than that is in one of them as a whole. A longer one may
be in none; then every window is learnt as one without an answer, and the question is counted.
"""

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmexp.batch import QuestionBatch
from lmexp.collate_labels import QuestionRow, collate_questions
from lmexp.pair_plan import Rows
from lmexp.preparation import Split
from lmexp.ragged import RaggedStore, Row
from lmexp.tag_form import windows
from lmexp.tokenizers import UNK_ID

ENDS = 3  # reserved ids: before the question, after it, after the context
IN_NO_WINDOW = "answers longer than windows overlap, trained as absent"
_HAN = r"\u2e80-\u2fd5\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORDS = re.compile(rf"[{_HAN}]|[^\W_{_HAN}]+|\S")


class Word(NamedTuple):
    """A word of a context."""

    start: int  # characters before it
    end: int  # and after its last one


def words(text: str) -> list[Word]:
    """Han characters, runs of other letters and digits, and single marks."""
    return [Word(*match.span()) for match in _WORDS.finditer(text)]


@dataclasses.dataclass(frozen=True)
class QuestionForm:
    """How questions become numbers.

    Args:
        max_length: tokens of question and window, reserved ids included.
        max_question: tokens of a question; longer ones are cut, and counted.
    """

    dtypes: ClassVar[Mapping[str, str]] = {
        "question": "<u4",
        "ids": "<u4",
        "word_lengths": "<u2",
        "begins": "<u4",
        "ends": "<u4",
        "answer": "<u4",
    }

    fewest_labels: ClassVar[int] = 0  # see labelled_preparation.Form

    max_length: int
    max_question: int

    def examples(self, corpus: Any, split: Split) -> Iterable[Any]:
        """Questions; see corpora.piece.Question."""
        questions: Iterable[Any] = corpus.questions(split)
        return questions

    def texts_of(self, example: Any) -> Iterable[str]:
        """The context, as often as something is asked about it, and the question."""
        return [example.context, example.question]

    def labels_of(self, example: Any) -> Iterable[str]:
        """None: an answer is a part of the text."""
        return ()

    def encoded(
        self, example: Any, tokenizer: Any, number: Callable[[str], int], changed: Counter[str]
    ) -> Row | None:
        """Tokens of the question and of each word of the context, and the first answer's words."""
        question = tokenizer.encode_many([example.question])[0]
        changed[f"questions cut at {self.max_question} tokens"] += len(question) > self.max_question
        found = words(example.context)
        if not found:
            changed["questions about a context without a word"] += 1
            return None
        longest = self.max_length - ENDS - self.max_question
        whole = encode_spans(tokenizer, example.context, found)
        changed[f"words cut at {longest} tokens"] += sum(len(ids) > longest for ids in whole)
        tokens = [ids[:longest] for ids in whole]
        question, lengths = question[: self.max_question], [len(ids) for ids in tokens]
        answer: list[int] = []
        if example.answers:
            first = example.answers[0]
            answer = list(covered(found, first.start, first.start + len(first.text)))
            text = example.context[found[answer[0]].start : found[answer[1]].end]
            changed["answers that begin or end within a word"] += text != first.text.strip()
            room = self.max_length - ENDS - len(question)
            changed[IN_NO_WINDOW] += not any(
                begin <= answer[0] and answer[1] < end for begin, end, *_ in windows(lengths, room)
            )
        columns: dict[str, Any] = {
            "question": question,
            "ids": np.concatenate(tokens),
            "word_lengths": lengths,
            "begins": [word.start for word in found],
            "ends": [word.end for word in found],
            "answer": answer,
        }
        kept = [example.id, example.question, example.context, [a.text for a in example.answers]]
        return Row(columns, f"{example.question}\n{example.context}", kept)


def encode_spans(tokenizer: Any, text: str, found: Sequence[Word]) -> list[NDArray[np.int32]]:
    """Ids of each word, at least one a word; a space before a word belongs to it."""
    pieces = [
        " " * (word.start > 0 and text[word.start - 1].isspace()) + text[word.start : word.end]
        for word in found
    ]
    unknown = np.array([UNK_ID], dtype=np.int32)
    return [ids if len(ids) else unknown for ids in tokenizer.encode_many(pieces)]


def covered(found: Sequence[Word], start: int, end: int) -> tuple[int, int]:
    """The first and the last word that share a character with text[start:end]."""
    starts, ends = [word.start for word in found], [word.end for word in found]
    first = int(np.searchsorted(ends, start, side="right"))
    last = int(np.searchsorted(starts, end, side="left")) - 1
    first = min(first, len(found) - 1)
    return first, max(first, last)


class QuestionReader:
    """The windows of a split.

    Args:
        store: of questions.
        max_length: see QuestionForm.
    """

    def __init__(self, store: RaggedStore, max_length: int) -> None:
        self._store = store
        questions = store.columns["question"].lengths
        cut: list[tuple[int, int, int]] = []
        lengths = []
        for example, tokens in enumerate(store.columns["ids"].lengths.tolist()):
            own = store.columns["word_lengths"].row(example)
            room = max_length - ENDS - int(questions[example])
            spans = [(0, len(own))]
            if tokens > room:
                spans = [window[:2] for window in windows(own.tolist(), room)]
            cut += [(example, *span) for span in spans]
            sizes = [int(own[begin:end].sum()) for begin, end in spans]
            lengths += [size + ENDS + int(questions[example]) for size in sizes]
        self._windows = cut
        self._lengths = np.array(lengths, dtype=np.int64)
        owners = [example for example, _, _ in cut]
        self._first = np.searchsorted(owners, np.arange(store.num_examples + 1), side="left")

    @property
    def lengths(self) -> NDArray[np.int64]:
        """See labelled_data.Reader."""
        return self._lengths

    @property
    def num_labels(self) -> int:
        """See labelled_data.Reader."""
        return len(self._windows)

    def rows_of(self, examples: Rows) -> Rows:
        """See labelled_data.Reader."""
        parts = [np.arange(self._first[e], self._first[e + 1]) for e in examples.tolist()]
        return np.concatenate([np.empty(0, dtype=np.int64), *parts])

    def batch(self, rows: Rows) -> QuestionBatch:
        """See labelled_data.Reader."""
        return collate_questions([self._row(row) for row in rows.tolist()])

    def _row(self, row: int) -> QuestionRow:
        example, begin, end = self._windows[row]
        columns = {name: column.row(example) for name, column in self._store.columns.items()}
        return question_row(example, columns, begin, end)


def question_row(
    example: int, columns: Mapping[str, NDArray[Any]], begin: int, end: int
) -> QuestionRow:
    """A window of a context: its words from begin to end.

    Args:
        example: number of the question.
        columns: of a row of QuestionForm.
        begin: first word.
        end: after the last one.
    """
    ends = np.concatenate([[0], np.cumsum(columns["word_lengths"], dtype=np.int64)])
    answer = [int(word) for word in columns["answer"]]
    is_inside = bool(answer) and begin <= answer[0] and answer[1] < end
    return QuestionRow(
        example,
        columns["question"],
        columns["ids"][ends[begin] : ends[end]],
        columns["word_lengths"][begin:end],
        begin,
        (answer[0] - begin, answer[1] - begin) if is_inside else None,
    )
