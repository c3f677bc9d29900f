"""Which figures may be compared: a figure's signature has to agree where the figure depends on it.

Every figure depends on the data and the split. What else decides it is a matter of the figure:
the table FIGURES says so, and why.
"""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

DATA = ("data_hash", "split")
WINDOWS = ("eval.context", "eval.stride", "eval.carry")
SEARCH = (
    *("eval.beam_size", "eval.length_penalty", "eval.max_ratio", "eval.max_extra"),
    *("eval.min_ratio", "eval.no_repeat_ngram", "eval.coverage_penalty", "eval.sample_pairs"),
)
VERSIONS = {  # figure -> the field that says how it was computed, and by which version of what
    **{name: f"{name}_signature" for name in ("bleu", "chrf", "ter", "pass_at_1")},
    **dict.fromkeys(("rouge1", "rouge2", "rougeL"), "rouge_signature"),
}
OF_ALL_FIGURES = ("precision",)  # worth a remark: rounding moves a figure, but by little
PROVENANCE = ("checkpoint", "step", "data", *OF_ALL_FIGURES)  # no reason not to compare

WHY = {  # field -> why figures that depend on it do not compare
    "data_hash": "they are of other text, or of text that was cleaned otherwise",
    "split": "they are of other parts of the data",
    "tokenizer_hash": "other tokens are predicted, and not equally many",
    "eval.context": "with more text before it a token is easier to predict",
    "eval.stride": "tokens have more text before them if windows overlap",
    "eval.carry": "carried state knows the text before the window",
    "data.max_length": "what is longer is cut, so other tokens are scored",
    "data.mask_rate": "the more is hidden, the less there is to guess by",
    "data.whole_words": "the rest of a word gives away its hidden piece",
    "data.pairs": "the sequences are others",
    "eval.pseudo_sequences": "they are of other sequences",
    "eval.importance_samples": "the bound tightens with the number of draws",
    "eval.information_sentences": "its logarithm bounds the figure",
    "eval.batch_size": "the candidates are those of a batch",
    "candidates": "among fewer candidates the right one is found more easily",
    "candidates_of_all": "among fewer candidates the right one is found more easily",
    "eval.sample_pairs": "they are of other pairs",
    **dict.fromkeys(SEARCH[:-1], "another search finds other outputs"),
    **dict.fromkeys(VERSIONS.values(), "it is computed in another way, or of tokenised text"),
}


class Dependence(NamedTuple):
    """What some figures of some kinds of models depend on, beside data and split."""

    kinds: tuple[str, ...]  # text_kind of the task
    figures: tuple[str, ...]  # * stands for anything
    fields: tuple[str, ...]
    reason: str  # also for what is not among the fields


FIGURES = (
    Dependence(
        ("text",),
        ("loss", "perplexity", "accuracy"),
        ("tokenizer_hash", *WINDOWS),
        "per token, each predicted from its window",
    ),
    Dependence(
        ("text",),
        ("bits_per_byte", "bits_per_char"),
        WINDOWS,
        "per byte of the text, which any tokenizer has to spell out",
    ),
    Dependence(
        ("pairs",),
        ("loss", "perplexity", "accuracy"),
        ("tokenizer_hash", "data.max_length"),
        "per token of the references; no search takes part",
    ),
    Dependence(
        ("pairs",),
        ("bits_per_byte", "bits_per_char"),
        ("data.max_length",),
        "per byte of the references; no search takes part",
    ),
    Dependence(
        ("pairs",),
        ("bleu", "chrf", "ter", "rouge1", "rouge2", "rougeL", "exact_match", "pass_at_1"),
        SEARCH,
        "of raw outputs beside raw references: tokenizer and lengths are the system's own affair",
    ),
    Dependence(
        ("segments",),
        ("loss", "perplexity", "accuracy", "pair_loss", "pair_accuracy"),
        (
            *("tokenizer_hash", "data.max_length", "data.mask_rate", "data.whole_words"),
            "data.pairs",
        ),
        "of tokens that are hidden, and of sequences that are cut, by what the tokenizer makes",
    ),
    Dependence(
        ("segments",),
        ("pseudo_perplexity",),
        ("tokenizer_hash", "data.max_length", "data.pairs", "eval.pseudo_sequences"),
        "of every token of some sequences; none is hidden at random",
    ),
    Dependence(
        ("sentences",),
        ("loss", "perplexity", "reconstruction", "kl", "active_units", "sentence_*"),
        ("tokenizer_hash", "data.max_length"),
        "of sentences as long as the tokenizer and the longest length leave them",
    ),
    Dependence(
        ("sentences",),
        ("importance_loss", "importance_perplexity"),
        ("tokenizer_hash", "data.max_length", "eval.importance_samples"),
        "as loss, of several draws",
    ),
    Dependence(
        ("sentences",),
        ("mutual_information",),
        ("tokenizer_hash", "data.max_length", "eval.information_sentences"),
        "as loss, of some sentences",
    ),
    Dependence(
        ("tags",),
        ("token_accuracy", "*_f1", "*_precision", "*_recall"),
        (),
        "of the words of the data; long texts are tagged in windows, so that none is left out",
    ),
    Dependence(
        ("labels",),
        ("loss", "accuracy", "micro_f1", "macro_f1", "mcc"),
        (),
        "of whole texts; what a model reads of them is its own affair",
    ),
    Dependence(
        ("questions",),
        ("exact_match", "f1", "f1_with_answer", "f1_without_answer"),
        (),
        "of whole questions; long contexts are read in windows",
    ),
    Dependence(
        ("matches",),
        ("mrr", "recall_at_1", "recall_at_10"),
        ("candidates",),
        "of places among the texts of the split",
    ),
    Dependence(
        ("matches",),
        ("mrr_of_all", "recall_at_1_of_all", "recall_at_10_of_all"),
        ("candidates_of_all",),
        "of places among the texts of the split and those of training",
    ),
)


class Mismatch(NamedTuple):
    """A field in which a signature differs from the baseline's."""

    field: str
    baseline: Any  # None: not recorded
    own: Any
    reason: str


def fields_of(kind: str, figure: str, present: set[str]) -> tuple[str, ...]:
    """The fields that a figure depends on. One that is in no table depends on all there are.

    Args:
        kind: text_kind of the task.
        figure: without its split.
        present: fields that there are.
    """
    for dependence in FIGURES:
        is_of_it = any(fnmatchcase(figure, pattern) for pattern in dependence.figures)
        if kind in dependence.kinds and is_of_it:
            version = (VERSIONS[figure],) if figure in VERSIONS else ()
            return (*DATA, *dependence.fields, *version)
    versions = {field for field in present if field.endswith("_signature")}
    own = {f"{figure}_signature"} & versions
    rest = sorted(present - {*DATA, "tokenizer_hash", *PROVENANCE} - versions)
    return (*DATA, "tokenizer_hash", *rest, *own)


def mismatches(
    kind: str, figure: str, baseline: Mapping[str, Any], own: Mapping[str, Any]
) -> list[Mismatch]:
    """Why two figures do not compare; empty if they do.

    A field that neither has is no difference, unless it is the data, the split or the tokenizer:
    what is not known to be equal is not taken for it.

    Args:
        kind: text_kind of the task of both.
        figure: without its split.
        baseline: a signature.
        own: another one.
    """
    found = []
    for field in fields_of(kind, figure, {*baseline, *own}):
        sides = baseline.get(field), own.get(field)
        is_unknown = sides == (None, None) and field in (*DATA, "tokenizer_hash")
        if sides[0] != sides[1] or is_unknown:
            reason = WHY.get(field, "the figure may depend on it")
            found.append(Mismatch(field, *sides, "it is not known" if is_unknown else reason))
    return found


def depends_on_tokenizer(kind: str, figure: str) -> bool:
    """Whether another tokenizer makes it another figure."""
    return "tokenizer_hash" in fields_of(kind, figure, set())
