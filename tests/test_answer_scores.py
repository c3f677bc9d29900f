"""Exact match and F1 of answers, against the official rules written down step by step."""

import collections
import random
import re
import string

import pytest
from nltk.tokenize.destructive import NLTKWordTokenizer
from torchmetrics.functional.text import squad as torchmetrics_squad

from lmexp.answer_scores import AnswerScores, normalise, score_answer, segments

WORDS = ["the", "a", "an", "The", "cat", "Cat's", "10,000", "U.S.", "-", "—", "über", "I", ".", ""]
SIGNS = [*"的人一二三ab3 %,.，。：「」…‘’“-*", "……", " the ", "can't"]


def squad(given, answers):
    """Exact match and F1 as SQuAD's evaluation script, version 2.0, describes them."""

    def normalised(text):
        text = "".join(char for char in text.lower() if char not in set(string.punctuation))
        text = re.sub(re.compile(r"\b(a|an|the)\b", re.UNICODE), " ", text)
        return " ".join(text.split())

    def f1(answer):
        gold, guess = normalised(answer).split(), normalised(given).split()
        if not gold or not guess:
            return float(gold == guess)
        common = collections.Counter(gold) & collections.Counter(guess)
        same = sum(common.values())
        if same == 0:
            return 0.0
        precision, recall = same / len(guess), same / len(gold)
        return 2 * precision * recall / (precision + recall)

    kept = [answer for answer in answers if normalised(answer)] or [""]
    exact = max(float(normalised(given) == normalised(answer)) for answer in kept)
    return exact, max(map(f1, kept))


def cmrc(given, answers):
    """Exact match and F1 as CMRC 2018's evaluation script describes them."""
    signs = {*"-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』", "……"}

    def without_signs(text):
        return "".join(char for char in text.lower().strip() if char not in signs)

    def segmented(text):
        found, run = [], ""
        for char in text.lower().strip():
            if char in signs:
                continue
            if "\u4e00" <= char <= "\u9fa5":
                found += [*NLTKWordTokenizer().tokenize(run), char]
                run = ""
            else:
                run += char
        return found + NLTKWordTokenizer().tokenize(run)

    def f1(answer):
        gold, guess = segmented(answer), segmented(given)
        same = max(
            end - start
            for start in range(len(gold) + 1)
            for end in range(start, len(gold) + 1)
            if any(gold[start:end] == guess[at : at + end - start] for at in range(len(guess) + 1))
        )
        if same == 0:
            return 0.0
        precision, recall = same / len(guess), same / len(gold)
        return 2 * precision * recall / (precision + recall)

    exact = max(float(without_signs(given) == without_signs(answer)) for answer in answers)
    return exact, max(map(f1, answers))


def test_1000_random_answers_score_as_by_squads_rules():
    for seed in range(1000):
        rng = random.Random(seed)
        given, *answers = (
            " ".join(rng.choices(WORDS, k=rng.randrange(5))) for _ in range(rng.randrange(1, 5))
        )

        found = score_answer(given, answers, by_character=False)

        assert found[:2] == pytest.approx(squad(given, answers)), (given, answers)


def test_1000_random_answers_score_as_torchmetrics_port_of_squads_script():
    for seed in range(1000):
        rng = random.Random(seed)
        given, *answers = (
            " ".join(rng.choices(WORDS, k=rng.randrange(5))) for _ in range(rng.randrange(2, 5))
        )
        answers = [answer for answer in answers if normalise(answer)] or ["cat"]
        other = torchmetrics_squad(
            [{"prediction_text": given, "id": "1"}],
            [{"answers": {"answer_start": [0] * len(answers), "text": answers}, "id": "1"}],
        )

        found = score_answer(given, answers, by_character=False)

        expected = other["exact_match"].item() / 100, other["f1"].item() / 100
        assert found[:2] == pytest.approx(expected, abs=1e-6), (given, answers)


def test_1000_random_answers_score_by_character_as_by_cmrcs_rules():
    for seed in range(1000):
        rng = random.Random(seed)
        given, *answers = (
            "".join(rng.choices(SIGNS, k=rng.randrange(1, 9))) for _ in range(rng.randrange(2, 5))
        )

        found = score_answer(given, answers, by_character=True)

        assert found[:2] == pytest.approx(cmrc(given, answers)), (given, answers)


@pytest.mark.parametrize(
    ("given", "answers", "exact", "f1"),
    [
        ("the Cat!", ["A cat"], 1, 1),
        ("black cat", ["the cat", "a dog"], 0, 2 / 3),  # 1 of 2 given, 1 of 1 right
        ("cat cat", ["cat"], 0, 2 / 3),  # a word counts as often as it is there
        ("dog", ["cat"], 0, 0),
        ("", [], 1, 1),
        ("", [""], 1, 1),
        ("cat", [], 0, 0),
        ("", ["cat"], 0, 0),
        ("cat", ["the", "cat"], 1, 1),  # an answer of articles alone is none
    ],
)
def test_words_are_scored_by_hand(given, answers, exact, f1):
    assert score_answer(given, answers, by_character=False) == (exact, pytest.approx(f1), 1)


@pytest.mark.parametrize(
    ("given", "answers", "exact", "f1"),
    [
        ("《北京》", ["北京"], 1, 1),
        ("在北京市", ["北京"], 0, 2 / 3),  # 2 of 4 given, 2 of 2 right
        ("北京和上海", ["北京上海"], 0, 4 / 9),  # two at once at most: 2 of 5, 2 of 4
        ("1998年", ["1998年", "99年"], 1, 1),
        ("", [], 1, 1),
        ("北京", [], 0, 0),
        ("", ["北京"], 0, 0),
    ],
)
def test_characters_are_scored_by_hand(given, answers, exact, f1):
    assert score_answer(given, answers, by_character=True) == (exact, pytest.approx(f1), 1)


def test_segments_are_han_characters_and_words_between_them():
    assert segments("小米8手机，A-b 3.5%") == ["小", "米", "8", "手", "机", "ab", "3.5", "%"]


def test_normalising_leaves_out_case_articles_and_punctuation():
    assert normalise(" The  U.S. and an  apple, a day") == "us and apple day"


def test_scores_of_parts_add_up():
    scores = [
        score_answer(given, ["black cat"], by_character=False) for given in ("black cat", "cat")
    ]

    both = scores[0].plus(scores[1])

    assert (both.exact_match, both.mean_f1) == (0.5, pytest.approx((1 + 2 / 3) / 2))
    assert AnswerScores().plus(both) == both
    assert (AnswerScores().exact_match, AnswerScores().mean_f1) == (0, 0)
