import json
import subprocess
import sys

import pytest

from lmexp.text_scores import text_scores

OUTPUTS = ["A man rides a horse.", "Two dogs are playing", "", "The cat sat on the mat , he said"]
REFERENCES = [
    ["A man is riding a horse.", "A man rides a horse."],
    ["Two dogs play in the snow.", "Two dogs are playing."],
    ["Nothing was written.", "Nothing."],
    ["The cat sat on the mat, he said.", "The cat sat on a mat."],
]
METRICS = ["-m", "bleu", "chrf", "ter", "-w", "8"]


def command(folder, *options):
    """What the sacrebleu command prints of files with these lines."""
    (folder / "out").write_text("".join(f"{line}\n" for line in OUTPUTS), encoding="utf-8")
    for number in range(2):
        lines = "".join(f"{own[number]}\n" for own in REFERENCES)
        (folder / f"ref{number}").write_text(lines, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "sacrebleu", "ref0", "ref1", "-i", "out", *METRICS, *options],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize(("language", "tokenizer"), [("de", "13a"), (None, "13a"), ("zh-CN", "zh")])
def test_scores_are_those_of_the_sacrebleu_command(language, tokenizer, tmp_path):
    printed = command(tmp_path, "--tokenize", tokenizer)

    scores = text_scores(OUTPUTS, REFERENCES, language)

    for name, metric in zip(("bleu", "chrf", "ter"), printed, strict=True):
        assert scores.figures[name] == pytest.approx(metric["score"], abs=1e-8)
        assert set(metric["signature"].split("|")) == set(scores.signatures[name].split("|"))


def test_chinese_is_scored_by_characters():
    chinese = text_scores(["我喜欢很大的猫"], [["我喜欢很小的猫"]], "zh")
    assert "tok:zh" in chinese.signatures["bleu"]
    assert (
        chinese.figures["bleu"]
        > 20
        > text_scores(["我喜欢很大的猫"], [["我喜欢很小的猫"]], "en").figures["bleu"]
    )


def test_exact_match_takes_any_reference():
    scores = text_scores(["a", "b", "c", "d"], [["a"], ["x", "b"], ["C"], ["d "]], None)
    assert scores.figures["exact_match"] == 50


def test_a_perfect_output_has_perfect_scores():
    scores = text_scores(["one two three four five"], [["one two three four five"]], "en")
    assert scores.figures == pytest.approx({"bleu": 100, "chrf": 100, "ter": 0, "exact_match": 100})


def test_references_may_differ_in_number():
    scores = text_scores(["a b c d e", "f"], [["a b c d e"], ["x", "f"]], "en")
    assert scores.figures["exact_match"] == 100


@pytest.mark.parametrize(("outputs", "references"), [([], []), (["a"], [["a"], ["b"]])])
def test_lines_that_do_not_match_are_refused(outputs, references):
    with pytest.raises(ValueError, match=rf"{len(outputs)} outputs and {len(references)} ref"):
        text_scores(outputs, references, None)
