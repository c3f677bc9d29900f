import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score import rouge_scorer
from rouge_score.tokenizers import DefaultTokenizer

from lmexp.text_scores import UnicodeWords, check_metrics, text_scores

OUTPUTS = ["A man rides a horse.", "Two dogs are playing", "", "The cat sat on the mat , he said"]
REFERENCES = [
    ["A man is riding a horse.", "A man rides a horse."],
    ["Two dogs play in the snow.", "Two dogs are playing."],
    ["Nothing was written.", "Nothing."],
    ["The cat sat on the mat, he said.", "The cat sat on a mat."],
]
PRINTED = ["-m", "bleu", "chrf", "ter", "-w", "8"]
ALL = ["bleu", "chrf", "ter", "exact_match"]


def command(folder, *options):
    """What the sacrebleu command prints of files with these lines."""
    (folder / "out").write_text("".join(f"{line}\n" for line in OUTPUTS), encoding="utf-8")
    for number in range(2):
        lines = "".join(f"{own[number]}\n" for own in REFERENCES)
        (folder / f"ref{number}").write_text(lines, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "sacrebleu", "ref0", "ref1", "-i", "out", *PRINTED, *options],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize(("language", "tokenizer"), [("de", "13a"), (None, "13a"), ("zh-CN", "zh")])
def test_scores_are_those_of_the_sacrebleu_command(language, tokenizer, tmp_path):
    printed = command(tmp_path, "--tokenize", tokenizer)

    scores = text_scores(OUTPUTS, REFERENCES, language, ALL)

    for name, metric in zip(("bleu", "chrf", "ter"), printed, strict=True):
        assert scores.figures[name] == pytest.approx(metric["score"], abs=1e-8)
        assert set(metric["signature"].split("|")) == set(scores.signatures[name].split("|"))


def test_chinese_is_scored_by_characters():
    chinese = text_scores(["我喜欢很大的猫"], [["我喜欢很小的猫"]], "zh", ["bleu"])
    assert "tok:zh" in chinese.signatures["bleu"]
    assert (
        chinese.figures["bleu"]
        > 20
        > text_scores(["我喜欢很大的猫"], [["我喜欢很小的猫"]], "en", ["bleu"]).figures["bleu"]
    )


def test_exact_match_takes_any_reference():
    scores = text_scores(
        ["a", "b", "c", "d"], [["a"], ["x", "b"], ["C"], ["d "]], None, ["exact_match"]
    )
    assert scores.figures["exact_match"] == 50


def test_a_perfect_output_has_perfect_scores():
    scores = text_scores(["one two three four five"], [["one two three four five"]], "en", ALL)
    assert scores.figures == pytest.approx({"bleu": 100, "chrf": 100, "ter": 0, "exact_match": 100})


def test_references_may_differ_in_number():
    scores = text_scores(["a b c d e", "f"], [["a b c d e"], ["x", "f"]], "en", ALL)
    assert scores.figures["exact_match"] == 100


@pytest.mark.parametrize(("outputs", "references"), [([], []), (["a"], [["a"], ["b"]])])
def test_lines_that_do_not_match_are_refused(outputs, references):
    with pytest.raises(ValueError, match=rf"{len(outputs)} outputs and {len(references)} ref"):
        text_scores(outputs, references, None, ALL)


def test_rouge_by_hand():
    # "a b c d" against "a b x d e": 3 of 4 and of 5 words, 1 of 3 and of 4 pairs of words; the
    # longest common subsequence is a b d
    scores = text_scores(["A b, c d."], [["a b x d e"]], "en", ["rouge"])

    three_quarters = 2 * (3 / 4) * (3 / 5) / (3 / 4 + 3 / 5)
    one_third = 2 * (1 / 3) * (1 / 4) / (1 / 3 + 1 / 4)
    assert scores.figures == pytest.approx(
        {"rouge1": 100 * three_quarters, "rouge2": 100 * one_third, "rougeL": 100 * three_quarters}
    )


def test_rouge_takes_the_best_reference_of_each_output_and_then_the_mean():
    references = [["x y z w", "a b", "a b c d"], ["x", "q"]]
    scores = text_scores(["a b c d", "q r s"], references, "en", ["rouge"])

    assert scores.figures["rouge1"] == pytest.approx((100 + 50) / 2)  # 2 (1/3) (1/1) / (4/3) = 1/2
    assert scores.figures["rouge2"] == pytest.approx((100 + 0) / 2)


@pytest.mark.parametrize("language", ["en", "en-US", "en_GB"])
def test_rouge_of_english_is_that_of_the_package_with_its_defaults(language):
    scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"])
    outputs = [*OUTPUTS, "naïve cats' running, 3.5% of Zoë's"]
    references = [*REFERENCES, ["The naïve cat runs: 3.5 % of Zoë", "none"]]
    found = [scorer.score_multi(r, o) for o, r in zip(outputs, references, strict=True)]

    scores = text_scores(outputs, references, language, ["rouge"])

    for name in ("rouge1", "rouge2", "rougeL"):
        mean = sum(score[name].fmeasure for score in found) / len(found)
        assert scores.figures[name] == pytest.approx(100 * mean, abs=1e-9)
    assert scores.signatures == {"rouge": "rouge-score:0.1.2|stemmer:no|tok:default"}


@given(st.text(st.characters(max_codepoint=127)))
def test_words_of_ascii_text_are_those_of_the_package(text):
    assert UnicodeWords().tokenize(text) == DefaultTokenizer().tokenize(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("我用Python3写了2个 程序。", ["我", "用", "python3", "写", "了", "2", "个", "程", "序"]),
        ("カメラ・ひと々〇", ["カ", "メ", "ラ", "ひ", "と", "々", "〇"]),
        ("𠮷野家", ["𠮷", "野", "家"]),
        ("Häuser_und Straßen!", ["häuser", "und", "straßen"]),
        ("cafe\u0301 Привет, мир", ["cafe\u0301", "привет", "мир"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("\u0301 e\u0301 - \u0342", ["e\u0301"]),
        ("안녕하세요 세계", ["안녕하세요", "세계"]),
    ],
)
def test_words_of_other_scripts(text, words):
    assert UnicodeWords().tokenize(text) == words


@pytest.mark.parametrize("language", ["zh", "zh-CN", "ja", None])
def test_rouge_of_chinese_is_by_character(language):
    # 基 于 图 的 方 法 against 基 于 树 的 新 方 法: 5 of 6 and of 7 characters, 2 of 5 and of 6
    # pairs (基于, 方法), all five in order
    scores = text_scores(["基于图的方法"], [["基于树的新方法。"]], language, ["rouge"])

    five, two = 2 * 5 / (6 + 7), 2 * 2 / (5 + 6)
    assert scores.figures == pytest.approx(
        {"rouge1": 100 * five, "rouge2": 100 * two, "rougeL": 100 * five}
    )
    assert scores.signatures["rouge"].endswith("|tok:unicode-words,han-and-kana-by-character")


def test_only_what_is_wanted_is_computed():
    scores = text_scores(["a"], [["a"]], None, ["exact_match", "chrf"])

    assert list(scores.figures) == ["exact_match", "chrf"]
    assert list(scores.signatures) == ["chrf"]


@pytest.mark.parametrize("language", ["ja", "ja_JP", "ko"])
def test_bleu_whose_tokenizer_is_not_installed_is_refused_early(language, monkeypatch):
    monkeypatch.setattr("lmexp.text_scores.find_spec", lambda name: None)

    with pytest.raises(ValueError, match=rf"sacrebleu\[{language[:2]}\]', or leave bleu out"):
        check_metrics(["chrf", "bleu"], language)
    check_metrics(["chrf"], language)
    check_metrics(["bleu"], "zh")
    check_metrics(["bleu"], None)
