"""The kinds of text that tasks read (`text_kind`), and what is done with a model of each."""

from typing import NamedTuple


class TextKind(NamedTuple):
    """What there is to know of a kind."""

    what: str  # the model is
    use: str  # the command that does what it has learnt; {run} stands for its folder, as typed
    does: str  # what the command does
    evaluator: str  # module and function of `evaluate`
    unit: str  # that the loss is of


TEXT_KINDS = {
    "text": TextKind(
        "a language model",
        'generate {run} --prompt "The"',
        "continues a text",
        "evaluate_windows",
        "token",
    ),
    "pairs": TextKind(
        "a text-to-text model",
        "translate {run} < input.txt",
        "puts out a line for every line of standard input",
        "evaluate_pairs",
        "token",
    ),
    "segments": TextKind(
        "a masked language model",
        'fill {run} "The [MASK] statement"',
        "finds the token",
        "evaluate_segments",
        "hidden token",
    ),
    "sentences": TextKind(
        "a sentence VAE",
        "sample {run}",
        "puts out sentences, lmexp interpolate {run} those between two",
        "evaluate_sentences",
        "token",
    ),
    "tags": TextKind(
        "a model that tags words",
        'label {run} --text "A sentence of yours."',
        "reads standard input too, a sentence a line",
        "evaluate_labels",
        "word",
    ),
    "labels": TextKind(
        "a model that labels texts",
        "label {run} < texts.txt",
        "reads a text a line, of pairs with a tab between them",
        "evaluate_labels",
        "text",
    ),
    "questions": TextKind(
        "a model that answers questions",
        'answer {run} --context page.txt --question "Who wrote it?"',
        "finds the answer in a text",
        "evaluate_labels",
        "window",
    ),
    "matches": TextKind(
        "a model that matches texts",
        "match {run} --candidates texts.txt < queries.txt",
        "finds what fits each line",
        "evaluate_matches",
        "pair",
    ),
}


def use_of(kind: str, run: str) -> str:
    """The command that does with a model what it has learnt.

    Args:
        kind: of text; one of the user's own is taken for text.
        run: its folder or checkpoint, as a shell reads it.
    """
    return TEXT_KINDS.get(kind, TEXT_KINDS["text"]).use.format(run=run)
