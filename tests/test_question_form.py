"""Words of a context, answers as words, and the windows of questions."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmexp.corpora.piece import Answer, Question
from lmexp.question_form import (
    ENDS,
    IN_NO_WINDOW,
    QuestionForm,
    QuestionReader,
    covered,
    encode_spans,
    words,
)
from lmexp.ragged import write_ragged
from lmexp.tag_form import windows
from lmexp.tokenizers import UNK_ID, Bytes, SentencePiece

FIRST_BYTE = 7  # of the ids of bytes
TEXTS = st.text(st.one_of(st.characters(codec="utf-8"), st.sampled_from("aZ9é_ \n\u3000，中𠀀👍")))


def parts(text):
    return [text[word.start : word.end] for word in words(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The cat, 3.5 km.", ["The", "cat", ",", "3", ".", "5", "km", "."]),
        ("don't stop_it", ["don", "'", "t", "stop", "_", "it"]),
        ("naïve Größe\nЁж", ["naïve", "Größe", "Ёж"]),
        ("姚明NBA生涯2002年", ["姚", "明", "NBA", "生", "涯", "2002", "年"]),
        ("二〇〇八（年）……𠀀々", [*"二〇〇八（年）……𠀀々"]),
        ("a👍🏽b 🇨🇳!?", ["a", "👍", "🏽", "b", "🇨", "🇳", "!", "?"]),
        (" \n\t\u3000", []),
        ("", []),
    ],
)
def test_words_are_han_characters_runs_of_other_letters_and_marks(text, expected):
    assert parts(text) == expected


@given(TEXTS)
def test_every_character_but_spaces_is_in_one_word_in_order(text):
    assert "".join(parts(text)) == "".join(text.split())
    ends = [0, *(word.end for word in words(text))]
    assert all(before <= word.start for before, word in zip(ends, words(text), strict=False))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ((0, 3), (0, 0)),  # The
        ((4, 11), (1, 2)),  # cat sat
        ((5, 6), (1, 1)),  # a, within cat
        ((2, 9), (0, 2)),  # e cat s
        ((3, 7), (1, 1)),  # a space, and cat
        ((4, 8), (1, 1)),  # cat, and a space
        ((11, 12), (3, 3)),  # .
        ((0, 12), (0, 3)),
        ((3, 4), (1, 1)),  # a space alone: the word after it
    ],
)
def test_an_answer_is_the_words_that_it_shares_a_character_with(answer, expected):
    assert covered(words("The cat sat."), *answer) == expected


@given(TEXTS.filter(str.strip), st.data())
def test_covered_words_are_those_of_a_search(text, data):
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    found = words(text)
    shared = [n for n, word in enumerate(found) if word.start < end and word.end > start]

    first, last = covered(found, start, end)

    assert 0 <= first <= last < len(found)
    if shared:
        assert (first, last) == (shared[0], shared[-1])


ENGLISH = "The cat sat on the mat, and the dog (a pug) sat by it; it didn't mind 3.5 hours."


@pytest.fixture(scope="module")
def pieces():
    tokenizer = SentencePiece(algorithm="bpe", vocab_size=300, sample_bytes=10_000, extra=[])
    tokenizer.fit(lambda: iter([ENGLISH] * 20))
    return tokenizer


@pytest.mark.parametrize("text", [ENGLISH, "the  cat\n\n sat ", " 猫 sat在the垫子上。👍🏽"])
def test_ids_of_words_give_the_text_with_single_spaces(text, pieces):
    for tokenizer in (Bytes(), pieces):
        ids = encode_spans(tokenizer, text, words(text))

        assert len(ids) == len(words(text))
        space = " " * text[0].isspace()
        assert tokenizer.decode(np.concatenate(ids).tolist()) == space + " ".join(text.split())


def test_words_of_subwords_are_those_that_the_whole_text_has(pieces):
    ids = encode_spans(pieces, "the cat sat", words("the cat sat"))

    assert np.concatenate(ids).tolist() == pieces.encode_many(["the cat sat"])[0].tolist()


def test_a_word_without_a_token_is_an_unknown_one():
    class Silent:
        def encode_many(self, texts):
            return [np.empty(0, dtype=np.int32) for _ in texts]

    assert [ids.tolist() for ids in encode_spans(Silent(), "a b", words("a b"))] == [[UNK_ID]] * 2


FORM = QuestionForm(max_length=15, max_question=4)  # of at least eight tokens of context


def encoded(context, *answers, question="who?", form=FORM, changed=None):
    example = Question("q1", question, context, tuple(answers))
    return form.encoded(example, Bytes(), int, Counter() if changed is None else changed)


def test_a_question_has_its_tokens_those_of_words_and_the_words_of_its_first_answer():
    row = encoded("Ann met Bob", Answer("met Bob", 4), Answer("Ann", 0))

    columns = {name: np.asarray(column).tolist() for name, column in row.columns.items()}
    assert columns == {
        "question": [FIRST_BYTE + byte for byte in b"who?"],
        "ids": [FIRST_BYTE + byte for byte in b"Ann met Bob"],
        "word_lengths": [3, 4, 4],
        "begins": [0, 4, 8],
        "ends": [3, 7, 11],
        "answer": [1, 2],
    }
    assert row.text == "who?\nAnn met Bob"
    assert row.kept == ["q1", "who?", "Ann met Bob", ["met Bob", "Ann"]]
    assert encoded("Ann met Bob").columns["answer"] == []


@pytest.mark.parametrize(
    ("context", "answers", "question", "expected"),
    [
        ("Ann", [Answer("Ann", 0)], "who?", {}),
        ("Ann", [], "whom?", {"questions cut at 4 tokens": 1}),
        ("Annabel met Christopher", [], "who?", {"words cut at 8 tokens": 1}),
        (
            "Annabel",
            [Answer("Ann", 0), Answer("bel", 4)],
            "who?",
            {"answers that begin or end within a word": 1},  # the first one, which is learnt
        ),
        (" \n", [], "who?", {"questions about a context without a word": 1}),
    ],
)
def test_what_is_cut_or_left_out_is_counted(context, answers, question, expected):
    changed = Counter()

    row = encoded(context, *answers, question=question, changed=changed)

    assert {reason: count for reason, count in changed.items() if count} == expected
    assert (row is None) == (not context.strip())
    if row is not None:
        assert len(row.columns["question"]) <= 4
        assert max(row.columns["word_lengths"]) <= 8


MARKS = "!?.,:;" * 3  # of one token each: of 14 of them windows have 0 to 7 and 6 to 13


@pytest.mark.parametrize(
    ("first", "last", "count"), [(0, 7, 0), (5, 7, 0), (6, 8, 0), (6, 13, 0), (5, 8, 1), (0, 13, 1)]
)
def test_an_answer_that_no_window_has_as_a_whole_is_counted(first, last, count, tmp_path):
    text, changed = MARKS[:14], Counter()
    row = encoded(text, Answer(text[first : last + 1], first), changed=changed)
    store = write_ragged(tmp_path / "store", lambda _: [row], FORM.dtypes)
    reader = QuestionReader(store, FORM.max_length)

    batch = reader.batch(np.arange(2))

    assert changed[IN_NO_WINDOW] == count
    places = {(0, 0), (1 + first, 1 + last), (first - 5, last - 5)}
    assert {tuple(answer) for answer in batch.answers.tolist()} <= places
    assert bool((batch.answers > 0).any()) == (count == 0)


@st.composite
def answers(draw):
    """Lengths of words, tokens of a window, and the words of an answer of a quarter of them."""
    longest = draw(st.integers(1, 40))
    lengths = draw(st.lists(st.integers(1, longest), min_size=1, max_size=60))
    first = draw(st.integers(0, len(lengths) - 1))
    last = draw(st.integers(first, len(lengths) - 1))
    while last > first and sum(lengths[first : last + 1]) > longest / 4:
        last -= 1
    return lengths, longest, first, last


@given(answers())
@settings(max_examples=500)
def test_an_answer_of_a_quarter_of_a_window_is_in_one_as_a_whole(drawn):
    lengths, longest, first, last = drawn

    assert any(begin <= first and last < end for begin, end, *_ in windows(lengths, longest))


@pytest.fixture
def reader(tmp_path):
    """Three questions: of one window, of two, of one that a shorter question leaves room for."""
    rows = [
        encoded("a b", Answer("b", 2)),
        encoded(MARKS[:14], Answer(MARKS[6], 6)),
        encoded(MARKS[:11], question="?"),
    ]
    store = write_ragged(tmp_path / "store", lambda _: rows, FORM.dtypes)
    return QuestionReader(store, FORM.max_length)


def test_rows_of_questions_are_their_windows_side_by_side(reader):
    assert reader.lengths.tolist() == [3 + 4 + 3, 15, 15, 3 + 1 + 11]
    assert reader.num_labels == 4
    assert reader.rows_of(np.array([2, 1])).tolist() == [3, 1, 2]
    assert reader.rows_of(np.array([], dtype=np.int64)).tolist() == []


def test_lengths_of_rows_are_those_of_their_batches(reader):
    batch = reader.batch(np.arange(4))

    assert batch.attention_mask.sum(dim=1).tolist() == reader.lengths.tolist()
    assert batch.examples.tolist() == [0, 1, 1, 2]
    assert batch.words_from.tolist() == [0, 0, 6, 0]
    assert batch.answers.tolist() == [[2, 2], [7, 7], [1, 1], [0, 0]]


@given(st.lists(st.text("ab ,。中", max_size=40).filter(str.strip), min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
def test_every_word_is_in_a_window_and_no_window_is_too_long(tmp_path_factory, contexts):
    rows = [encoded(context, question="?" * (n + 1)) for n, context in enumerate(contexts)]
    folder = tmp_path_factory.mktemp("store") / "store"
    store = write_ragged(folder, lambda _: rows, FORM.dtypes)
    reader = QuestionReader(store, FORM.max_length)

    for example, context in enumerate(contexts):
        batch = reader.batch(reader.rows_of(np.array([example])))
        seen = set()
        for first, is_place in zip(batch.words_from.tolist(), batch.is_place, strict=True):
            seen |= set(range(first, first + int(is_place.sum()) - 1))
        assert seen == set(range(len(words(context))))
    assert reader.lengths.max() <= FORM.max_length
    assert reader.lengths.min() > ENDS + 1
