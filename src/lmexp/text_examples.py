"""The examples of continuous text or documents, which windows of tokens cut in other places.

Shapes: N examples, P predicted tokens of a batch.
"""

import numpy as np
from numpy.typing import NDArray

from lmexp.batch_plan import ScoringPlan
from lmexp.packing import TokenStore
from lmexp.scored_examples import ScoredExamples

FEWEST_DOCUMENTS = 30  # with fewer a bootstrap over them says little


def text_examples(store: TokenStore, plan: ScoringPlan, rank: tuple[int, int]) -> ScoredExamples:
    """The documents of a store; its lines where it has few, or is one continuous text.

    Which of them depends on the text alone. A line goes on to the next one that is not blank, and
    the end of a document is of its last line. No token crosses the end of a line, so that the nats
    of a line are those of its text, whatever the tokenizer. Where the tokenizer knows all of the
    text, the bytes of each example are known too.

    Args:
        store: of the split; knows its lines.
        plan: how it is scored.
        rank: its number, and how many there are.
    """
    if store.num_documents >= FEWEST_DOCUMENTS:
        unit, keys = "document", store.document_hashes
        starts, sizes = np.array(store.document_starts), store.document_bytes
    else:
        unit, keys = "line", store.line_hashes
        starts, before = np.array(store.line_starts), np.array(store.line_bytes)
        starts[:1] = before[:1] = 0  # blank lines before the first one are of it
        sizes = np.diff(before, append=store.num_bytes)
    batches = plan.batches(*rank)

    def of_batch(number: int) -> NDArray[np.int64]:
        tokens = predicted(plan, batches[number])
        return np.searchsorted(starts, tokens, side="right") - 1

    known = {"bytes": sizes.astype(np.float64)} if not store.num_unk else {}
    return ScoredExamples(unit, np.array(keys), of_batch, known)


def predicted(plan: ScoringPlan, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """(P,) places in the stream of the tokens that some windows predict, row by row."""
    spans = plan.spans(rows)
    firsts, ends = spans.starts + spans.scored_from + 1, spans.starts + spans.lengths + 1
    counts = ends - firsts
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    places: NDArray[np.int64] = np.repeat(firsts, counts) + within
    return places
