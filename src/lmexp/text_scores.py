"""Scores of whole texts against raw references: BLEU, chrF and TER by sacrebleu, exact match."""

from collections.abc import Sequence
from typing import Any, NamedTuple

TOKENIZERS = {"zh": "zh", "ja": "ja-mecab", "ko": "ko-mecab"}  # of BLEU; 13a for other languages


class TextScores(NamedTuple):
    """Figures in [0, 100], and what each of sacrebleu's was computed with."""

    figures: dict[str, float]  # bleu, chrf, ter, exact_match
    signatures: dict[str, str]  # sacrebleu's own, of the first three


def text_scores(
    outputs: Sequence[str], references: Sequence[Sequence[str]], language: str | None
) -> TextScores:
    """Corpus scores; the same as sacrebleu's command line prints of the same lines.

    BLEU (Papineni et al. 2002; Post 2018), chrF2 (Popović 2015), TER (Snover et al. 2006), each
    with sacrebleu's defaults. Exact match is the share of outputs that equal one of their
    references.

    Args:
        outputs: detokenised.
        references: of each output, one or more; as they stand in their file.
        language: of the outputs: BLEU's tokenizer goes by it. None: as for English.

    Raises:
        ValueError: there is nothing to score, or outputs and references are not equally many.
    """
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF
    from sacrebleu.metrics.ter import TER

    if not outputs or len(outputs) != len(references):
        raise ValueError(
            f"{len(outputs)} outputs and {len(references)} references: give one line of each for "
            "every pair"
        )
    most = max(map(len, references))
    streams: Any = [[own[n] if n < len(own) else None for own in references] for n in range(most)]
    metrics = {
        "bleu": BLEU(tokenize=TOKENIZERS.get((language or "").split("-")[0], "13a")),
        "chrf": CHRF(),
        "ter": TER(),
    }
    figures = {
        name: float(metric.corpus_score(list(outputs), streams).score)
        for name, metric in metrics.items()
    }
    equal = [output in own for output, own in zip(outputs, references, strict=True)]
    figures["exact_match"] = 100 * sum(equal) / len(equal)
    signatures = {name: str(metric.get_signature()) for name, metric in metrics.items()}
    return TextScores(figures, signatures)
