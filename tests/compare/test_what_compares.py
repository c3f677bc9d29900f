"""Which figures compare: 20 pairs must not, each for the field that differs, and 20 may."""

import re
from pathlib import Path

import pytest

from lmexp.compare.guard import FIGURES, WHY, depends_on_tokenizer, fields_of, mismatches

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "compare.md"
TEXT = {
    "checkpoint": "a.ckpt",
    "step": 100,
    "data": "a",
    "data_hash": "d1",
    "tokenizer_hash": "t1",
    "eval.context": 256,
    "eval.stride": 256,
    "eval.carry": False,
    "split": "test",
    "precision": "32-true",
}
BLEU = "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0"
PAIRS = {
    "data_hash": "d1",
    "tokenizer_hash": "t1",
    "data.max_length": 128,
    "eval.beam_size": 4,
    "eval.length_penalty": 0.6,
    "eval.max_ratio": 1.0,
    "eval.max_extra": 50,
    "eval.min_ratio": 0.0,
    "eval.no_repeat_ngram": 0,
    "eval.coverage_penalty": 0.0,
    "split": "test",
    "precision": "32-true",
    "bleu_signature": BLEU,
    "chrf_signature": "nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:2.6.0",
    "ter_signature": "nrefs:1|case:lc|tok:tercom|norm:no|punct:yes|asian:no|version:2.6.0",
    "rouge_signature": "rouge-score:0.1.2|stemmer:no|tok:default",
    "pass_at_1_signature": "python:3.11|seconds:10|memory_mb:512",
}
SEGMENTS = {
    "data_hash": "d1",
    "tokenizer_hash": "t1",
    "split": "test",
    "data.max_length": 128,
    "data.mask_rate": 0.15,
    "data.whole_words": True,
    "data.pairs": True,
    "eval.pseudo_sequences": 20,
}
SENTENCES = {
    "data_hash": "d1",
    "tokenizer_hash": "t1",
    "split": "test",
    "data.max_length": 35,
    "eval.importance_samples": 10,
    "eval.information_sentences": 1000,
}
LABELS = {"data_hash": "d1", "tokenizer_hash": "t1", "data.max_length": 128, "split": "test"}
MATCHES = {**LABELS, "eval.batch_size": 64, "candidates": 500, "candidates_of_all": 900}
OF_KIND = {
    "text": TEXT,
    "pairs": PAIRS,
    "segments": SEGMENTS,
    "sentences": SENTENCES,
    "tags": LABELS,
    "labels": LABELS,
    "questions": LABELS,
    "matches": MATCHES,
}
TOKENISED = f"{BLEU}, of tokenised text"

MUST_NOT = [  # kind, figure, field, its other value
    ("text", "loss", "data_hash", "d2"),
    ("text", "loss", "split", "val"),
    ("text", "loss", "tokenizer_hash", "t2"),
    ("text", "perplexity", "tokenizer_hash", "t2"),
    ("text", "perplexity", "eval.context", 512),
    ("text", "bits_per_byte", "eval.stride", 128),
    ("text", "bits_per_byte", "eval.carry", True),
    ("pairs", "bleu", "data_hash", "d2"),
    ("pairs", "bleu", "bleu_signature", BLEU.replace("13a", "intl")),
    ("pairs", "bleu", "bleu_signature", BLEU.replace("2.6.0", "2.5.1")),
    ("pairs", "bleu", "bleu_signature", TOKENISED),  # another detokenisation
    ("pairs", "bleu", "eval.beam_size", 1),
    ("pairs", "chrf", "eval.length_penalty", 1.0),
    ("pairs", "ter", "split", "newstest2013.en"),
    ("pairs", "rougeL", "rouge_signature", "rouge-score:0.1.2|stemmer:yes|tok:default"),
    ("pairs", "pass_at_1", "pass_at_1_signature", "python:3.11|seconds:5|memory_mb:512"),
    ("pairs", "loss", "data.max_length", 64),
    ("segments", "accuracy", "data.mask_rate", 0.3),
    ("sentences", "importance_loss", "eval.importance_samples", 1),
    ("tags", "entity_f1", "data_hash", "d2"),
    ("questions", "f1", "split", "val"),
    ("matches", "mrr", "candidates", 50),
    ("matches", "loss", "eval.batch_size", 32),  # of no row: depends on all that there is
]
MAY = [  # kind, figure, what differs without changing what the figure means
    ("text", "loss", {}),
    ("text", "loss", {"checkpoint": "b.ckpt"}),
    ("text", "perplexity", {"step": 200}),
    ("text", "accuracy", {"data": "/elsewhere/a"}),
    ("text", "loss", {"precision": "bf16-mixed"}),
    ("text", "bits_per_byte", {"tokenizer_hash": "t2"}),
    ("text", "bits_per_char", {"tokenizer_hash": "t2"}),
    ("pairs", "bleu", {"tokenizer_hash": "t2"}),
    ("pairs", "bleu", {"data.max_length": 64}),
    ("pairs", "bleu", {"chrf_signature": "version:2.5.1"}),
    ("pairs", "chrf", {"bleu_signature": BLEU.replace("13a", "zh")}),
    ("pairs", "exact_match", {"bleu_signature": TOKENISED}),
    ("pairs", "loss", {"eval.beam_size": 1}),
    ("pairs", "bits_per_byte", {"tokenizer_hash": "t2", "eval.beam_size": 1}),
    ("segments", "loss", {"eval.pseudo_sequences": 0}),
    ("segments", "pseudo_perplexity", {"data.mask_rate": 0.3}),
    ("sentences", "loss", {"eval.importance_samples": 1}),
    ("tags", "entity_f1", {"tokenizer_hash": "t2", "data.max_length": 64}),
    ("labels", "accuracy", {"tokenizer_hash": "t2"}),
    ("questions", "exact_match", {"data.max_length": 384}),
    ("matches", "recall_at_10", {"eval.batch_size": 32, "candidates_of_all": 901}),
]


@pytest.mark.parametrize(("kind", "figure", "field", "value"), MUST_NOT)
def test_a_pair_that_must_not_be_compared_is_flagged_by_its_field(kind, figure, field, value):
    baseline = OF_KIND[kind]
    assert baseline[field] != value

    [found] = mismatches(kind, figure, baseline, baseline | {field: value})

    assert (found.field, found.baseline, found.own) == (field, baseline[field], value)
    assert found.reason


@pytest.mark.parametrize(("kind", "figure", "changed"), MAY)
def test_a_valid_pair_passes(kind, figure, changed):
    baseline = OF_KIND[kind]

    assert mismatches(kind, figure, baseline, baseline | changed) == []


def test_there_are_20_of_each():
    assert min(len(MUST_NOT), len(MAY)) >= 20


@pytest.mark.parametrize("field", ["data_hash", "split", "tokenizer_hash"])
def test_what_neither_side_has_recorded_is_not_taken_for_equal(field):
    unknown = {key: value for key, value in TEXT.items() if key != field}

    [found] = mismatches("text", "loss", unknown, unknown)

    assert (found.field, found.reason) == (field, "it is not known")


def test_what_one_side_alone_has_recorded_differs():
    older = {key: value for key, value in PAIRS.items() if key != "bleu_signature"}

    [found] = mismatches("pairs", "bleu", PAIRS, older)

    assert (found.field, found.own) == ("bleu_signature", None)


def test_a_figure_of_no_row_depends_on_all_but_where_it_comes_from():
    own = TEXT | {"bleu_signature": BLEU, "mine_signature": "1"}

    assert set(fields_of("text", "mine", set(own))) == {
        *("data_hash", "split", "tokenizer_hash", "eval.context", "eval.stride", "eval.carry"),
        "mine_signature",
    }


def test_every_field_of_the_table_has_a_reason():
    assert all(set(row.fields) <= set(WHY) for row in FIGURES)


def test_the_documentation_has_the_table():
    lines = DOCUMENTATION.read_text(encoding="utf-8").splitlines()

    for row in FIGURES:
        begin = f"| {', '.join(row.kinds)} | {', '.join(f'`{name}`' for name in row.figures)} |"
        [line] = [line for line in lines if line.startswith(begin)]
        fields, reason = (cell.strip() for cell in line.removeprefix(begin).split("|")[:2])
        assert reason == row.reason
        assert set(re.findall("`([^`…]+)`", fields)) == set(row.fields)


def test_bits_per_byte_are_free_of_the_tokenizer_and_losses_are_not():
    assert depends_on_tokenizer("text", "perplexity")
    assert not depends_on_tokenizer("text", "bits_per_byte")
    assert not depends_on_tokenizer("pairs", "bleu")
