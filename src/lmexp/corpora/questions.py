"""Questions about paragraphs, in the format of SQuAD (Rajpurkar et al. 2016; 2018)."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Lt

from lmexp.corpora.piece import Answer, Question, Split
from lmexp.corpora.reading import INVALID, OnInvalid, opened
from lmexp.corpora.record_files import SPLIT_KEYS, Entry, Names, RecordFiles, names_of_splits, worst
from lmexp.corpora.rows import text_of
from lmexp.corpora.splitting import Fractions

MOVED = "answer moved to where its text is"
NOWHERE = "answer that is not in its context"
UNANSWERED = "question none of whose answers is in its context"


class Questions(RecordFiles[Question]):
    """Questions, each with the context that answers it or does not.

    SQuAD's format, .json, plain, .gz, .zst or .zip: {"data": [{"title": "…", "paragraphs":
    [{"context": "…", "qas": [{"id": "…", "question": "…", "is_impossible": false,
    "answers": [{"text": "…", "answer_start": 3}]}]}]}]}; answer_start counts characters.

    An answer that is not at its answer_start is moved to where its text is, the nearest place if
    there are several, and counted. One whose text is nowhere in the context is dropped and counted;
    so is a question of which no answer is left. A question that is_impossible, or has an empty list
    of answers, is one that its context does not answer.

    Args:
        train: files of the training split, or of everything: names, globs, folders.
        val: of the validation split; None cuts val_fraction off `train`.
        test: of the test split; None cuts test_fraction off `train`.
        val_fraction: of the articles, by a hash of their title (or else first context): what is
            asked about the same article is in the same split, whatever its language.
        test_fraction: likewise.
        language: filled in for {language} in the names; None where no name has it.
        on_invalid: what to do with text that UTF-8 cannot hold: error, replace or drop; both are
            counted.
        folder: of a named set, in $LMEXP_DATA and in the cache.
        download: where a named set comes from: entries with file, url, sha256 and perhaps member.
        root: data.root: where the files are looked for first.

    `questions(split)` streams; see lmexp.corpora for `splits`, `counts`, `fingerprint()` and
    `source`.

    Raises:
        ValueError: arguments that do not go together.
    """

    _things = "questions"

    def __init__(
        self,
        train: Names,
        val: Names | None,
        test: Names | None,
        val_fraction: Annotated[float, Ge(0), Lt(1)],
        test_fraction: Annotated[float, Ge(0), Lt(1)],
        language: str | None,
        on_invalid: OnInvalid,
        folder: str | None = None,
        download: Sequence[Mapping[str, str]] = (),
        root: str | None = None,
    ) -> None:
        names = names_of_splits(train, val, test, SPLIT_KEYS)
        if language is not None:
            names = {
                split: [name.replace("{language}", language) for name in own]
                for split, own in names.items()
            }
        fractions = Fractions(val_fraction, test_fraction)
        super().__init__(names, fractions, on_invalid, folder, download, root)

    def questions(self, split: Split) -> Iterator[Question]:
        """The questions of a split, in the order of its files; none of a split that is missing.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: a file is damaged, not in SQuAD's format, or no answer at all is in its
                context.
        """
        num_questions = 0
        for question in self._items(split):
            num_questions += 1
            yield question
        if not num_questions and self.counts[UNANSWERED]:
            names = ", ".join(map(str, self._each_path(self._own(split))))
            raise ValueError(
                f"{names}: none of the {self.counts[UNANSWERED]} questions of {split} has an "
                "answer that is in its context: answers are parts of the context, letter for letter"
            )

    def _settings(self) -> Any:
        return None

    def _read(self, split: Split) -> Iterator[Entry[Question]]:
        for path in self._each_path(split):
            for number, article in enumerate(_articles(path), start=1):
                yield from self._of_article(article, f"{path}, article {number}")

    def _of_article(self, article: Any, where: str) -> Iterator[Entry[Question]]:
        paragraphs = _list_in(article, "paragraphs", where)
        key = article.get("title")
        for number, paragraph in enumerate(paragraphs, start=1):
            here = f"{where}, paragraph {number}"
            asked = _list_in(paragraph, "qas", here)
            context, flaw = text_of(
                paragraph.get("context"), f"{here}: 'context'", self._on_invalid
            )
            key = key or context
            for place, qa in enumerate(asked, start=1):
                yield self._entry(key, qa, context, flaw, f"{here}, question {place}")

    def _entry(
        self, key: str, qa: Any, context: str, flaw: str | None, where: str
    ) -> Entry[Question]:
        answers = [] if _is_impossible(qa, where) else _list_in(qa, "answers", where)
        text, of_text = text_of(qa.get("question"), f"{where}: 'question'", self._on_invalid)
        flaw = worst([flaw, of_text])
        if flaw == INVALID:
            return Entry(key, (), INVALID)
        placed, changes = [], []
        for answer in answers:
            found = _placed(answer, context, where)
            if found is None:
                changes.append(NOWHERE)
                continue
            placed.append(found)
            changes += [MOVED] * (found.start != answer["answer_start"])
        if answers and not placed:
            return Entry(key, (), UNANSWERED, tuple(changes))
        question = Question(str(qa.get("id", where)), text, context, tuple(placed))
        return Entry(key, (question,), flaw, tuple(changes))


def nearest(text: str, context: str, start: int) -> int | None:
    """Where a text stands in a context, nearest to a place, the first of two; None if nowhere."""
    if not text:
        return None
    best: int | None = None
    place = context.find(text)
    while place >= 0:
        if best is None or abs(place - start) < abs(best - start):
            best = place
        place = context.find(text, place + 1)
    return best


def _placed(answer: Any, context: str, where: str) -> Answer | None:
    try:
        text, start = str(answer["text"]), answer["answer_start"]
        place = start if _stands(text, context, start) else nearest(text, context, start)
    except (KeyError, TypeError) as error:
        raise ValueError(
            f'{where}: an answer is {answer!r}, not {{"text": "…", "answer_start": 3}} '
            f"({error!r}): answer_start counts characters from 0"
        ) from error
    return None if place is None else Answer(text, place)


def _stands(text: str, context: str, start: int) -> bool:
    return bool(text) and start >= 0 and context.startswith(text, start)


def _is_impossible(qa: Any, where: str) -> bool:
    return isinstance(qa, dict) and qa.get("is_impossible", False) is True


def _list_in(record: Any, field: str, where: str) -> list[Any]:
    """A list that a record holds.

    Raises:
        ValueError: it does not.
    """
    value = record.get(field) if isinstance(record, dict) else None
    if isinstance(value, list):
        return value
    there = ", ".join(record) if isinstance(record, dict) else type(record).__name__
    raise ValueError(
        f"{where} has no list '{field}' ({there or 'nothing'} instead): write SQuAD's format, "
        '{"data": [{"paragraphs": [{"context": "…", "qas": [{"question": "…", "answers": […]}]}]}]}'
    )


def _articles(path: Path) -> list[Any]:
    with opened(path) as file:
        data = file.read()
    try:
        return _list_in(json.loads(data), "data", str(path))
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8: byte 0x{data[error.start]:02X} at offset {error.start}; convert "
            "it (iconv -f LATIN1 -t UTF-8 …)"
        ) from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is no JSON ({error}): write SQuAD's format") from error
